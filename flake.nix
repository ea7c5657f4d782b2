{
  description = "One manifest for every secret of a NixOS machine, planned and applied from Bitwarden to where it is used";

  # The only input, so that a flake.lock that takes this one in grows by two entries at most.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      systems = [
        "aarch64-darwin"
        "aarch64-linux"
        "x86_64-darwin"
        "x86_64-linux"
      ];
      eachSystem = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = eachSystem (pkgs: rec {
        reconcile = pkgs.callPackage ./nix/package.nix { };
        default = reconcile;
      });

      apps = eachSystem (pkgs: rec {
        reconcile = {
          type = "app";
          program = "${self.packages.${pkgs.stdenv.hostPlatform.system}.reconcile}/bin/reconcile";
          meta.description = "Plan and apply the secrets that a manifest declares";
        };
        default = reconcile;
      });

      overlays.default = final: _prev: { reconcile = final.callPackage ./nix/package.nix { }; };

      devShells = eachSystem (pkgs: {
        default = pkgs.callPackage ./nix/shell.nix {
          reconcile = self.packages.${pkgs.stdenv.hostPlatform.system}.reconcile;
        };
      });

      # The build runs the tests that need no other program; the whole suite is .ci/run.
      checks = eachSystem (pkgs: {
        package = self.packages.${pkgs.stdenv.hostPlatform.system}.reconcile;
      });

      formatter = eachSystem (pkgs: pkgs.nixfmt-tree);
    };
}
