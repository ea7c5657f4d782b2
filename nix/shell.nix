# A shell to work on the project in: what the package is built with, and the programs that the tests run against.
# tests/peers/install pins other versions of some of them, which the tests take first.
{
  mkShell,
  reconcile,
  rustc,
  cargo,
  clippy,
  rustfmt,
  rust-analyzer,
  rustPlatform,
  age,
  sops,
  rbw,
  go,
  nodejs,
  openssh,
}:
mkShell {
  inputsFrom = [ reconcile ];
  packages = [
    rustc
    cargo
    clippy
    rustfmt
    rust-analyzer
    age
    sops
    rbw
    go
    nodejs
    openssh
  ];
  RUST_SRC_PATH = "${rustPlatform.rustLibSrc}";
}
