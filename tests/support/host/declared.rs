//! What the NixOS configuration of a test host declares under `sops.secrets`, and the manifests that sops-nix makes of
//! it.

use serde_json::{Value, json};

/// One `sops.secrets.<name>`, with sops-nix's defaults.
#[derive(Debug, Clone)]
pub struct Declared {
    name: String,
    key: String,
    path: Option<String>,
    owner: Option<String>,
    group: Option<String>,
    mode: String,
    needed_for_users: bool,
    restart_units: Vec<String>,
    reload_units: Vec<String>,
}

impl Declared {
    /// `sops.secrets.<name> = {}`.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            key: name.to_owned(),
            path: None,
            owner: None,
            group: None,
            mode: "0400".to_owned(),
            needed_for_users: false,
            restart_units: Vec::new(),
            reload_units: Vec::new(),
        }
    }

    /// Another key in the sops file than its name.
    pub fn key(self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self }
    }

    /// Another path than `/run/secrets/<name>`: it becomes a symlink.
    pub fn path(self, path: &str) -> Self {
        Self { path: Some(path.to_owned()), ..self }
    }

    /// A user of the host: `m`, `root`, or one of `Options::users`.
    pub fn owner(self, owner: &str) -> Self {
        Self { owner: Some(owner.to_owned()), ..self }
    }

    /// A group of the host; without one, that of the owner.
    pub fn group(self, group: &str) -> Self {
        Self { group: Some(group.to_owned()), ..self }
    }

    /// Octal digits, such as `"0440"`.
    pub fn mode(self, mode: &str) -> Self {
        Self { mode: mode.to_owned(), ..self }
    }

    /// `neededForUsers`: under `/run/secrets-for-users`, owned by root.
    pub fn needed_for_users(self) -> Self {
        Self { needed_for_users: true, ..self }
    }

    /// `restartUnits`.
    pub fn restart_units(self, units: &[&str]) -> Self {
        Self { restart_units: units.iter().map(ToString::to_string).collect(), ..self }
    }

    /// `reloadUnits`.
    pub fn reload_units(self, units: &[&str]) -> Self {
        Self { reload_units: units.iter().map(ToString::to_string).collect(), ..self }
    }

    fn to_json(&self) -> Value {
        let directory = if self.needed_for_users { "/run/secrets-for-users" } else { "/run/secrets" };
        // A user of NixOS is in `users`, one of a service in the group of its name.
        let of_owner = |owner: &String| if owner == "m" { "users".to_owned() } else { owner.clone() };
        json!({
            "name": self.name, "key": self.key, "format": "yaml", "mode": self.mode,
            "path": self.path.clone().unwrap_or_else(|| format!("{directory}/{}", self.name)),
            "owner": self.owner, "uid": 0,
            "group": self.group.clone().or_else(|| self.owner.as_ref().map(of_owner)), "gid": 0,
            "sopsFile": "@FILE@", "sopsFileHash": "@HASH@", "neededForUsers": self.needed_for_users,
            "restartUnits": self.restart_units, "reloadUnits": self.reload_units,
        })
    }
}

/// The text of the manifest of those that are (or are not) needed for users, with `@FILE@` and `@HASH@` for the sops
/// file in the store; `None` when there are none: then sops-nix installs nothing.
pub fn manifest(declared: &[Declared], for_users: bool) -> Option<String> {
    let secrets: Vec<_> =
        declared.iter().filter(|secret| secret.needed_for_users == for_users).map(Declared::to_json).collect();
    let suffix = if for_users { "-for-users" } else { "" };
    let manifest = json!({
        "secrets": secrets, "templates": [], "placeholderBySecretName": {},
        "secretsMountPoint": format!("/run/secrets{suffix}.d"), "symlinkPath": format!("/run/secrets{suffix}"),
        "keepGenerations": 1, "gnupgHome": null, "sshKeyPaths": [], "ageKeyFile": "/var/lib/sops-nix/key.txt",
        "ageSshKeyPaths": ["/etc/ssh/ssh_host_ed25519_key"], "useTmpfs": false, "userMode": false,
        "logging": {"keyImport": true, "secretChanges": true},
    });
    (!secrets.is_empty()).then(|| manifest.to_string())
}
