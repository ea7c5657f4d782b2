//! The manifest as it is written: the shapes that serde reads and from which the schema is made. Whether it makes sense
//! is checked afterwards. Whatever may be missing from a manifest is an `Option`, also where the schema requires it: what
//! is there is checked even when something else is not.

mod either;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::schema;

pub(super) use either::{Commands, TextOr};

/// Nothing more to say: `{}`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(inline)]
pub(super) struct Nothing {}

/// One manifest for every secret of a machine: what is declared here, `reconcile plan` compares and `reconcile apply`
/// carries out.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(title = "secrets.manifest.yaml")]
pub(super) struct Source {
    /// The version of this format: 1.
    #[schemars(extend("const" = 1))]
    #[allow(dead_code, reason = "read before the rest, as it decides what the rest means")]
    #[schemars(required)]
    pub(super) version: Option<u32>,
    /// A name for this system. It names the state directory and shows in output.
    #[schemars(regex(pattern = schema::NAME), extend("patternErrorMessage" = schema::NAME_MESSAGE))]
    #[schemars(required)]
    pub(super) name: Option<String>,
    /// Where the values of secrets come from.
    #[schemars(required)]
    pub(super) vault: Option<VaultSource>,
    /// The vault item that holds the key of fingerprints, for several operators who share a receipt. `reconcile fingerprint-key`
    /// makes it.
    pub(super) fingerprint_key: Option<FingerprintKeySource>,
    /// Where the receipt of the last apply is kept, if not in the state directory: a path that several machines share, such
    /// as one in a synced folder. Not in the dataset.
    pub(super) receipt: Option<PathSource>,
    /// The directory of generated files: outside of the repository, and readable by the build.
    #[schemars(required)]
    pub(super) dataset: Option<DatasetSource>,
    /// How many switches may run at once; 1 when not said, since only one can have the terminal.
    #[schemars(range(min = 1))]
    pub(super) parallelism: Option<u16>,
    /// The machines that decrypt, by name.
    #[schemars(extend("propertyNames" = schema::names(), "defaultSnippets" = schema::host_snippets()))]
    pub(super) hosts: Option<BTreeMap<String, HostSource>>,
    /// The secrets, by name. A name such as `tailscale/auth-key` is also the key in the sops file and the path below
    /// `/run/secrets`.
    #[schemars(extend("propertyNames" = schema::secret_names(), "defaultSnippets" = schema::secret_snippets()))]
    pub(super) secrets: Option<BTreeMap<String, SecretSource>>,
    /// Secrets that were renamed, so that they are not taken for one that goes and one that comes.
    pub(super) moved: Option<Vec<MovedSource>>,
    /// Where editors find the schema; ignored otherwise.
    #[serde(rename = "$schema")]
    #[allow(dead_code, reason = "for editors alone")]
    pub(super) schema: Option<String>,
}

/// Where values come from: exactly one kind.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "vault")]
#[schemars(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1, "errorMessage" = "exactly one of: rbw, bw, file"))]
pub(super) struct VaultSource {
    /// Bitwarden through `rbw`.
    pub(super) rbw: Option<RbwSource>,
    /// Bitwarden through its own `bw`, opened by the session in `BW_SESSION` (`bw unlock --raw`).
    pub(super) bw: Option<Nothing>,
    /// A YAML file with values in the clear: for trying things out and for CI.
    pub(super) file: Option<PathSource>,
}

/// Bitwarden through `rbw`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RbwSource {
    /// How a locked vault may be unlocked; `pinentry` when not said.
    pub(super) unlock: Option<UnlockSource>,
}

/// How a locked vault may be unlocked.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UnlockSource {
    /// rbw's pinentry asks, with or without a terminal.
    Pinentry,
    /// rbw's pinentry asks, if there is a terminal.
    Terminal,
    /// A locked vault is an error.
    Never,
}

/// A path: `~` and `$VAR` are resolved, and relative paths begin at the manifest.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct PathSource {
    /// `~` and `$VAR` are resolved, and relative paths begin at the manifest.
    #[schemars(required)]
    pub(super) path: Option<String>,
}

/// The vault item that holds the key of fingerprints.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct FingerprintKeySource {
    /// The item.
    #[schemars(required)]
    pub(super) item: Option<TextOr<ItemSource>>,
}

/// The directory of generated files.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "dataset")]
#[schemars(deny_unknown_fields)]
pub(super) struct DatasetSource {
    /// Where it is. `~` and `$VAR` are resolved, and relative paths begin at the manifest.
    #[schemars(required)]
    pub(super) path: Option<String>,
    /// Public files in it that others read, by name.
    #[schemars(extend("propertyNames" = schema::names()))]
    pub(super) files: Option<BTreeMap<String, DatasetFileSource>>,
}

/// Where a public file comes from: exactly one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1, "errorMessage" = "exactly one of: age_key_of, copy, literal, read"))]
pub(super) struct DatasetFileSource {
    /// The public half of this host's age key. The private half never leaves the host.
    pub(super) age_key_of: Option<String>,
    /// A copy of this local file, such as `~/.ssh/id_ed25519.pub`.
    pub(super) copy: Option<String>,
    /// This text.
    pub(super) literal: Option<String>,
    /// A public file of a host.
    pub(super) read: Option<ReadSource>,
}

/// A public file of a host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ReadSource {
    /// The host.
    #[schemars(required)]
    pub(super) host: Option<String>,
    /// The absolute path there.
    #[schemars(required)]
    pub(super) path: Option<String>,
}

/// A machine that decrypts. Either `ssh` or `local` says how it is reached.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct HostSource {
    /// How it is reached over ssh: `[user@]host`, or `{to:, port:}`. `$VAR` is resolved.
    pub(super) ssh: Option<TextOr<SshSource>>,
    /// It is this machine: `{}`.
    pub(super) local: Option<Nothing>,
    /// Where its age identity is. It stays on the host; only its public half is ever read.
    #[schemars(example = &"/var/lib/sops-nix/key.txt")]
    pub(super) age_key_file: Option<String>,
    /// To whom its file is encrypted: `{file: NAME}` of the dataset, `{ssh_host_key: {}}`, or `age1…`.
    #[schemars(required)]
    pub(super) recipient: Option<TextOr<RecipientSource>>,
    /// Further recipients of its file, such as a recovery key.
    pub(super) extra_recipients: Option<Vec<String>>,
    /// Its sops file in the dataset; `secrets.yaml` when not said.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.ya?ml$"))]
    #[schemars(extend("patternErrorMessage" = "a file name that ends in .yaml"))]
    pub(super) sops_file: Option<String>,
    /// Where the host sees the dataset directory, such as a shared folder.
    pub(super) path_on_host: Option<String>,
    /// How a new file is brought into effect. Without it that is left to you.
    pub(super) switch: Option<SwitchSource>,
    /// The rbw configuration of a user of the host.
    pub(super) rbw_config: Option<RbwConfigSource>,
    /// What may be used on the host to look deeper; `never` when not said.
    #[serde(rename = "become")]
    pub(super) becomes: Option<BecomeSource>,
}

/// How a host is reached over ssh.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct SshSource {
    /// `[user@]host`
    #[schemars(required)]
    pub(super) to: Option<String>,
    /// Another port than your ssh configuration's.
    #[schemars(range(min = 1))]
    pub(super) port: Option<u16>,
}

/// Where a host's recipient comes from: exactly one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1, "errorMessage" = "exactly one of: file, ssh_host_key"))]
pub(super) struct RecipientSource {
    /// A file of the dataset that is declared as `age_key_of` this host, or `literal`.
    pub(super) file: Option<String>,
    /// The host's ssh ed25519 key, converted as sops-nix does.
    pub(super) ssh_host_key: Option<Nothing>,
}

/// How a new file is brought into effect: exactly one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1, "errorMessage" = "exactly one of: command, nixos_rebuild, activate"))]
pub(super) struct SwitchSource {
    /// A command on this machine, in the manifest's directory. `{host}`, `{dataset}` and `{sops_file}` are replaced. With
    /// `{hosts}` (`a,b`) or `{each_host}` (its word once for each) one command switches all hosts that have the same.
    pub(super) command: Option<Vec<String>>,
    /// `nixos-rebuild switch`
    pub(super) nixos_rebuild: Option<NixosRebuildSource>,
    /// Our own activation, for machines without sops-nix.
    pub(super) activate: Option<ActivateSource>,
}

/// `nixos-rebuild switch`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct NixosRebuildSource {
    /// The flake reference, such as `.#vm`.
    #[schemars(required)]
    pub(super) flake: Option<String>,
    /// Inputs as they are now: name → flake reference or path, or `dataset`. They are overridden, or handed to `wrap`.
    pub(super) inputs: Option<BTreeMap<String, String>>,
    /// The function of the flake that takes the inputs and makes its outputs: then a wrapper flake is built.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*$"))]
    #[schemars(extend("patternErrorMessage" = "the path of an attribute, such as lib.mkOutputs"))]
    #[schemars(example = &"lib.mkOutputs")]
    pub(super) wrap: Option<String>,
    /// `--target-host`
    pub(super) target_host: Option<String>,
    /// `--build-host`
    pub(super) build_host: Option<String>,
    /// Further options of `nixos-rebuild`, such as `--no-reexec`.
    pub(super) options: Option<Vec<String>>,
}

/// Our own activation: generations beside a symlink that is switched at once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ActivateSource {
    /// The symlink, such as `/run/secrets`.
    #[schemars(required)]
    #[schemars(example = &"/run/secrets")]
    pub(super) symlink_path: Option<String>,
}

/// `~/.config/rbw/config.json` of a user of the host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub(super) struct RbwConfigSource {
    /// Whose.
    #[schemars(required)]
    pub(super) user: Option<String>,
    /// The boot secret that holds the account's address.
    #[schemars(required)]
    pub(super) email: Option<String>,
    /// Further settings as rbw writes them, such as `base_url` and `pinentry`.
    #[serde(flatten)]
    pub(super) settings: BTreeMap<String, serde_json::Value>,
}

/// What may be used on a host to look deeper.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BecomeSource {
    /// Nothing: what any user sees has to do.
    Never,
    /// `sudo -n`, which never asks.
    Sudo,
}

/// A secret: the vault item its value comes from, and how it is delivered.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct SecretSource {
    /// The exact name of the vault item, or a map that tells more.
    #[schemars(required)]
    pub(super) item: Option<TextOr<ItemSource>>,
    /// What it is for.
    pub(super) description: Option<String>,
    /// How it reaches its consumer: at boot, at run time, or both.
    #[schemars(required)]
    pub(super) delivery: Option<DeliverySource>,
}

/// Names one field of one vault item: by `id`, or by exact `name` and what tells it from others of that name.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct ItemSource {
    /// The item's id: then no name is looked up.
    pub(super) id: Option<String>,
    /// The item's exact name.
    pub(super) name: Option<String>,
    /// Only the item with this user name.
    pub(super) user: Option<String>,
    /// Only the item in this folder.
    pub(super) folder: Option<String>,
    /// Which field: `password`, `notes`, `username` or `custom:NAME`. When not said, the password of a login and the
    /// text of a note.
    #[schemars(regex(pattern = r"^(password|notes|username|custom:.+)$"))]
    #[schemars(extend("patternErrorMessage" = "a field is password, notes, username or custom:NAME"))]
    #[schemars(example = &"password", example = &"notes", example = &"username", example = &"custom:")]
    pub(super) field: Option<String>,
}

/// How a secret reaches its consumer: at least one of these.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(title = "delivery")]
#[schemars(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "errorMessage" = "at least one of: sops, runtime"))]
pub(super) struct DeliverySource {
    /// At boot: through the sops file to a path on the host. `{}` is enough.
    pub(super) sops: Option<SopsSource>,
    /// At run time: fetched from the vault into one process.
    pub(super) runtime: Option<RuntimeSource>,
}

/// Delivery at boot. What is omitted is not compared on the host.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct SopsSource {
    /// The hosts it goes to; all when not said.
    pub(super) hosts: Option<Vec<String>>,
    /// Its key in the sops file, `/` between levels; the secret's name when not said.
    pub(super) key: Option<String>,
    /// Where the host has it, if not at `/run/secrets/NAME`.
    pub(super) path: Option<String>,
    /// Its owner, a user of the host.
    pub(super) owner: Option<String>,
    /// Its group.
    pub(super) group: Option<String>,
    /// Its mode, quoted and octal, such as `"0400"`.
    #[schemars(regex(pattern = r"^0?[0-7]{3}$"))]
    #[schemars(extend("patternErrorMessage" = "a mode is quoted, octal and at most \"0777\", such as \"0400\""))]
    #[schemars(example = &"0400", example = &"0440")]
    pub(super) mode: Option<String>,
    /// Units that restart when it changes.
    pub(super) restart_units: Option<Vec<String>>,
    /// Units that reload when it changes.
    pub(super) reload_units: Option<Vec<String>>,
    /// Units of users' own managers that restart after a switch: user → units.
    pub(super) restart_user_units: Option<BTreeMap<String, Vec<String>>>,
    /// Needed before users exist, such as a hashed password: then it is under `/run/secrets-for-users` and root's.
    pub(super) needed_for_users: Option<bool>,
    /// The NixOS option that takes its path, such as `services.tailscale.authKeyFile`.
    pub(super) bind: Option<String>,
}

/// Delivery at run time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct RuntimeSource {
    /// The variable it is given as.
    #[schemars(regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    #[schemars(extend("patternErrorMessage" = "letters, digits and _, not beginning with a digit"))]
    pub(super) env: Option<String>,
    /// The commands that get it: a list, or a map from command to variable.
    pub(super) commands: Option<Commands>,
    /// A command that runs another one with it, such as `with-openai`.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$"))]
    #[schemars(extend("patternErrorMessage" = "a plain name: letters, digits and _ . + -"))]
    pub(super) with_command: Option<String>,
    /// git hosts for which it is the password.
    pub(super) git_credential: Option<GitCredentialSource>,
}

/// A git credential.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct GitCredentialSource {
    /// The exact hosts.
    #[schemars(required)]
    pub(super) hosts: Option<Vec<String>>,
    /// The user name that git is told.
    #[schemars(required)]
    pub(super) username: Option<String>,
    /// Whether plain http may carry it; not when not said.
    pub(super) allow_http: Option<bool>,
}

/// A renamed secret.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct MovedSource {
    /// Its old name, which is no longer declared.
    #[schemars(required)]
    pub(super) from: Option<String>,
    /// Its new name, which is declared.
    #[schemars(required)]
    pub(super) to: Option<String>,
}
