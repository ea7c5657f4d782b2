# The package: the binary with its shell completions and manual page.
{
  lib,
  stdenv,
  buildPackages,
  rustPlatform,
  installShellFiles,
}:
let
  root = ../.;
  cargo = (lib.importTOML (root + "/Cargo.toml")).package;
  fs = lib.fileset;
in
rustPlatform.buildRustPackage {
  pname = cargo.name;
  version = cargo.version;

  # What the build reads and nothing else: a change of CI builds nothing again, and what applying manifests/ wrote into
  # a checkout, decrypted secrets among it, never gets into the store.
  src = fs.toSource {
    inherit root;
    fileset = fs.unions (
      [
        (root + "/Cargo.toml")
        (root + "/Cargo.lock")
        (root + "/src")
        # cargo wants the files of the tests that Cargo.toml names
        (fs.fileFilter (file: file.hasExt "rs") (root + "/tests"))
      ]
      ++ map (path: fs.maybeMissing (root + path)) [
        "/benches"
        "/examples"
        "/schema"
        "/README.md"
      ]
    );
  };
  cargoLock.lockFile = root + "/Cargo.lock";

  # The unit tests. Those under tests/ start sshd, rbw and namespaces, which the build sandbox has not got.
  cargoTestFlags = [ "--lib" ];

  nativeBuildInputs = [ installShellFiles ];

  # The completions and the manual page come from the program itself, which can be run only where it was built for.
  postInstall = lib.optionalString (stdenv.hostPlatform.emulatorAvailable buildPackages) (
    let
      reconcile = "${stdenv.hostPlatform.emulator buildPackages} $out/bin/reconcile";
    in
    ''
      installShellCompletion --cmd reconcile \
        --bash <(${reconcile} completions bash) \
        --zsh <(${reconcile} completions zsh) \
        --fish <(${reconcile} completions fish)
      ${reconcile} man > reconcile.1
      installManPage reconcile.1
    ''
  );

  meta = {
    description = cargo.description;
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "reconcile";
    platforms = lib.platforms.unix;
  };
}
