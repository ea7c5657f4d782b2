# As much of nixpkgs as our flake touches, for machines that cannot fetch the real one: its outputs are evaluated with
# real Nix down to the derivation of the package. It shows that the expressions evaluate and that the package is called
# with what it asks for; not that nixpkgs has these names, nor that anything builds.
{
  description = "A stand-in for nixpkgs";

  outputs =
    { self }:
    let
      lib = import ./lib.nix;
      packagesFor = system: import ./packages.nix { inherit lib system; };
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [
        "aarch64-darwin"
        "aarch64-linux"
        "x86_64-darwin"
        "x86_64-linux"
      ] packagesFor;
    };
}
