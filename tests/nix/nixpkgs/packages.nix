{ lib, system }:
let
  # A derivation that is never built.
  package =
    name: attributes:
    derivation (
      {
        inherit name system;
        builder = "/bin/sh";
      }
      // removeAttrs attributes [ "meta" ]
    )
    // {
      inherit name;
      meta = attributes.meta or { };
    };

  pkgs = {
    inherit lib;
    buildPackages = pkgs;
    callPackage =
      path: overrides:
      let
        f = import path;
      in
      f (builtins.intersectAttrs (builtins.functionArgs f) pkgs // overrides);
    stdenv.hostPlatform = {
      inherit system;
      emulatorAvailable = _: true;
      emulator = _: "";
    };
    rustPlatform = {
      rustLibSrc = package "rust-lib-src" { };
      buildRustPackage =
        arguments:
        package "${arguments.pname}-${arguments.version}" {
          inherit (arguments)
            src
            postInstall
            cargoTestFlags
            meta
            ;
          lock = arguments.cargoLock.lockFile;
        };
    };
    mkShell =
      arguments: package "shell" { inputs = map toString (arguments.inputsFrom ++ arguments.packages); };
  }
  // lib.genAttrs [
    "age"
    "cargo"
    "clippy"
    "go"
    "installShellFiles"
    "nixfmt-tree"
    "nodejs"
    "openssh"
    "rbw"
    "rust-analyzer"
    "rustc"
    "rustfmt"
    "sops"
  ] (name: package name { });
in
pkgs
