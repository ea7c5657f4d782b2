rec {
  genAttrs =
    names: f:
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = f name;
      }) names
    );
  optionalString = condition: text: if condition then text else "";
  importTOML = path: builtins.fromTOML (builtins.readFile path);

  licenses = {
    mit = "mit";
    asl20 = "asl20";
  };
  platforms.unix = [ "unix" ];

  # Paths are checked to be there as nixpkgs checks them; the source is the root with nothing left out.
  fileset =
    let
      present = path: if builtins.pathExists path then path else throw "fileset: ${toString path} does not exist";
    in
    {
      toSource = { root, fileset }: builtins.deepSeq fileset root;
      unions = map (part: if builtins.isPath part then present part else part);
      maybeMissing = path: [ path ];
      fileFilter = predicate: path: builtins.seq (predicate { hasExt = _: true; }) [ (present path) ];
    };
}
