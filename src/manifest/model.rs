//! The manifest's types, complete and checked: whoever holds a [`Manifest`] need not check it again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use serde::Serialize;

use crate::address::{FileName, HostName, KeyPath};
use crate::digest::Digest;
use crate::manifest::{Place, Switch};
use crate::secret::SecretName;
use crate::sops::Recipient;

/// All secrets of a system and how each reaches its consumer.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Names the state directory and shows in output: `[A-Za-z0-9_][A-Za-z0-9_.-]*`.
    pub name: String,
    /// Of the manifest's text, so that Nix can tell an index that is older.
    pub digest: Digest,
    /// Where values come from.
    pub vault: Vault,
    /// The vault item that holds the fingerprint key, for several operators; else it is in the state directory.
    pub fingerprint_key: Option<ItemRef>,
    /// Where the receipt is kept, if not in the state directory.
    pub receipt: Option<Place>,
    /// The directory of generated files.
    pub dataset: Dataset,
    /// How many switches may run at once.
    pub parallelism: NonZeroUsize,
    /// The machines that decrypt.
    pub hosts: BTreeMap<HostName, Host>,
    /// The secrets.
    pub secrets: BTreeMap<SecretName, Secret>,
    /// Renamed secrets: what was `from` is now `to`.
    pub moved: Vec<Moved>,
}

/// Where values come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vault {
    /// Bitwarden through `rbw`.
    Rbw {
        /// How a locked vault may be unlocked.
        unlock: Unlock,
    },
    /// Bitwarden through its own `bw`.
    Bw,
    /// A YAML map from item name to its value or to a map of fields.
    File {
        /// Where it is.
        path: Place,
    },
}

/// How a locked vault may be unlocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlock {
    /// rbw's pinentry may ask, with or without a terminal.
    Pinentry,
    /// Only when we run on a terminal.
    Terminal,
    /// Never: a locked vault is an error.
    Never,
}

/// The directory of generated files.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Where it is.
    pub path: Place,
    /// The public files that others read.
    pub files: BTreeMap<FileName, DatasetFile>,
}

/// Where the content of a public file of the dataset comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatasetFile {
    /// The public half of a host's age key.
    AgeKeyOf(HostName),
    /// A copy of a local file; a private key is refused.
    Copy(Place),
    /// The text itself; a final newline is added.
    Literal(String),
    /// A public file of a host.
    Read {
        /// The host.
        host: HostName,
        /// The absolute path there.
        path: String,
    },
}

/// A machine that decrypts.
#[derive(Debug, Clone)]
pub struct Host {
    /// How it is reached.
    pub access: Access,
    /// Where its age identity is: a path on the host that stays there (for `local: {}`, relative paths begin at the manifest).
    pub age_key_file: Place,
    /// To whom its file is encrypted.
    pub recipient: RecipientSource,
    /// Further recipients of its file, such as a recovery key.
    pub extra_recipients: BTreeSet<Recipient>,
    /// Its sops file in the dataset.
    pub sops_file: FileName,
    /// Where the host sees the dataset directory, if it does.
    pub path_on_host: Option<Place>,
    /// How a new file is brought into effect.
    pub switch: Option<Switch>,
    /// The rbw configuration to write on the host.
    pub rbw_config: Option<RbwConfig>,
    /// What may be used to look deeper.
    pub becomes: Become,
}

/// How a host is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It is this machine.
    Local,
    /// Over the user's own ssh.
    Ssh {
        /// `[user@]host`, after variables are replaced.
        to: Place,
        /// Another port than the configuration's.
        port: Option<u16>,
    },
}

/// Where the recipient of a host comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientSource {
    /// A file of the dataset, itself declared as `age_key_of` or `literal`; trusted only as accepted or as read live from the host.
    File(FileName),
    /// Written in the manifest.
    Literal(Recipient),
    /// The host's ssh ed25519 key, converted as sops-nix does.
    SshHostKey,
}

/// `~/.config/rbw/config.json` of a user on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RbwConfig {
    /// Whose.
    pub user: String,
    /// The boot secret that holds the account's address.
    pub email: SecretName,
    /// Further settings, such as `base_url` or `pinentry`, as rbw writes them.
    pub settings: BTreeMap<String, serde_json::Value>,
}

impl RbwConfig {
    /// What rbw reads of its configuration besides the account's address.
    pub const SETTINGS: [&str; 9] = [
        "base_url",
        "client_cert_path",
        "identity_url",
        "lock_timeout",
        "notifications_url",
        "pinentry",
        "sso_id",
        "sync_interval",
        "ui_url",
    ];
}

/// What may be used on a host to look deeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Become {
    /// Nothing.
    Never,
    /// `sudo -n`.
    Sudo,
}

/// A declared secret.
#[derive(Debug, Clone)]
pub struct Secret {
    /// The vault item its value comes from.
    pub item: ItemRef,
    /// What it is for.
    pub description: Option<String>,
    /// At boot, through sops. At least one of the two is there.
    pub boot: Option<BootDelivery>,
    /// At run time, into one process.
    pub runtime: Option<RuntimeDelivery>,
}

/// Names one field of one vault item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemRef {
    /// The item's id, if given: then no name is looked up.
    pub id: Option<String>,
    /// The item's exact name.
    pub name: Option<String>,
    /// Only the item with this user name.
    pub user: Option<String>,
    /// Only the item in this folder.
    pub folder: Option<String>,
    /// The field.
    pub field: ItemField,
}

impl ItemRef {
    /// Whether it names the item by its id and nothing else: then no name need be known.
    #[must_use]
    pub fn is_id_alone(&self) -> bool {
        self.id.is_some() && self.name.is_none() && self.user.is_none() && self.folder.is_none()
    }
}

/// A field of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum ItemField {
    /// The password of a login, the content of a note, or what a file vault gives as the value.
    Default,
    /// The password.
    Password,
    /// The notes.
    Notes,
    /// The user name.
    Username,
    /// A custom field by its exact name.
    Custom(String),
}

/// Delivery at boot: through the sops file to `/run/secrets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootDelivery {
    /// The hosts it goes to; never empty (all hosts when the manifest is silent).
    pub hosts: BTreeSet<HostName>,
    /// Its key in the sops file; its name when the manifest is silent.
    pub key: KeyPath,
    /// Where the host has it, if not at `/run/secrets/<name>`.
    pub path: Option<String>,
    /// Its owner, a user of the host; not compared when omitted.
    pub owner: Option<String>,
    /// Its group.
    pub group: Option<String>,
    /// Its mode.
    pub mode: Option<Mode>,
    /// Restarted when the content changes.
    pub restart_units: Vec<String>,
    /// Reloaded when the content changes.
    pub reload_units: Vec<String>,
    /// Units of a user's own manager, restarted after a switch.
    pub restart_user_units: BTreeMap<String, Vec<String>>,
    /// Needed before users exist: then it is under `/run/secrets-for-users` and root's.
    pub needed_for_users: bool,
    /// The NixOS option that takes its path, as components.
    pub bind: Option<Vec<String>>,
}

/// The mode of a file, written as four octal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mode(pub u16);

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Serialize for Mode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Delivery at run time: into the environment of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeDelivery {
    /// The variable it is given as.
    pub env: Option<String>,
    /// The commands that get it, each with its variable.
    pub commands: BTreeMap<String, String>,
    /// A command that runs another with it, such as `with-openai`.
    pub with_command: Option<String>,
    /// git hosts for which it is the password.
    pub git_credential: Option<GitCredential>,
}

/// A git credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCredential {
    /// The exact hosts.
    pub hosts: BTreeSet<String>,
    /// The user name that git is told.
    pub username: String,
    /// Whether plain http may carry it.
    pub allow_http: bool,
}

/// A renamed secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its old name, no longer declared.
    pub from: SecretName,
    /// Its new name, declared.
    pub to: SecretName,
}

impl Manifest {
    /// The boot secrets of a sops file, with their delivery.
    pub fn boot_secrets<'m>(
        &'m self,
        file: &'m FileName,
    ) -> impl Iterator<Item = (&'m SecretName, &'m Secret, &'m BootDelivery)> {
        self.secrets.iter().filter_map(move |(name, secret)| {
            let boot = secret.boot.as_ref()?;
            let there = boot.hosts.iter().any(|host| self.hosts.get(host).is_some_and(|h| h.sops_file == *file));
            there.then_some((name, secret, boot))
        })
    }

    /// The sops files, each with the hosts that decrypt it.
    #[must_use]
    pub fn sops_files(&self) -> BTreeMap<&FileName, BTreeSet<&HostName>> {
        let mut files: BTreeMap<&FileName, BTreeSet<&HostName>> = BTreeMap::new();
        for (name, host) in &self.hosts {
            files.entry(&host.sops_file).or_default().insert(name);
        }
        files
    }
}

impl Host {
    /// Where the host has a secret: its declared path, or its place below `/run/secrets` or `/run/secrets-for-users`
    /// (sops-nix), or below the symlink of our own activation.
    #[must_use]
    pub fn installed_path(&self, name: &SecretName, boot: &BootDelivery) -> Place {
        match (&boot.path, &self.switch) {
            (Some(path), _) => Place::new(path.clone()),
            (None, Some(Switch::Activate { symlink_path })) => {
                Place::new(format!("{}/{name}", symlink_path.as_written()))
            }
            (None, _) if boot.needed_for_users => Place::new(format!("/run/secrets-for-users/{name}")),
            (None, _) => Place::new(format!("/run/secrets/{name}")),
        }
    }
}
