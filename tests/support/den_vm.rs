//! The system of manifests/den-vm as it stands: its manifest, the real rbw logged in to a server, a host that is reached by
//! ssh, and the real sops-install-secrets as what its switch runs.

#![allow(dead_code, reason = "each test binary uses its part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Failed;

use super::bitwarden::rbw::Account;
use super::bitwarden::{Id, Item, Kind, Server, rbw};
use super::host::{self, Dataset, Declared, Host, Options};
use super::peers;
use super::program::{Place, Ran};

/// Of a story.
pub type Outcome = Result<(), Failed>;

/// The programs that it is made of.
pub fn needs() -> Vec<&'static str> {
    host::NEEDS.iter().chain(rbw::NEEDS).copied().chain(["sops", "git"]).collect()
}

/// The vault, the user's machine and the host.
pub struct Scene {
    pub place: Place,
    pub dataset: PathBuf,
    // The agent before the server, the host before its dataset.
    pub account: Account,
    pub server: Server,
    pub ids: BTreeMap<&'static str, Id>,
    pub host: Host,
}

pub const ITEMS: [(&str, &str); 8] = [
    ("bitwarden-email", "someone@example.org"),
    ("tailscale-auth-key", "tskey-auth-1"),
    ("uniclip-password", "clip"),
    ("nixos-hashed-password", "$y$j9T$abc$def"),
    ("github-token", "ghp_1"),
    ("claude-oauth-token", "sk-ant-1"),
    ("openai-api-key", "sk-1"),
    ("amp-api-key", "amp-1"),
];

/// Where the four arrive: owner, group, mode and length as the host shows them.
pub const INSTALLED: [(&str, &str, &str); 4] = [
    ("/run/secrets/rbw/email", "m users 400 19", "someone@example.org"),
    ("/run/secrets/tailscale/auth-key", "root root 400 12", "tskey-auth-1"),
    ("/run/secrets/uniclip/password", "m users 400 4", "clip"),
    ("/run/secrets-for-users/user/hashed-password", "root root 400 14", "$y$j9T$abc$def"),
];

pub fn declared() -> Vec<Declared> {
    vec![
        Declared::new("rbw/email").owner("m"),
        Declared::new("tailscale/auth-key").restart_units(&["tailscaled.service"]),
        Declared::new("uniclip/password").owner("m"),
        Declared::new("user/hashed-password").needed_for_users(),
    ]
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        Self::seen(Dataset::Shared, options)
    }

    /// With a host that sees the dataset so.
    pub fn seen(how: impl FnOnce(PathBuf) -> Dataset, options: Options) -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/den-vm/secrets.manifest.yaml");
        let mut place = Place::new(&fs::read_to_string(manifest).expect("the manifest"));
        let dataset = place.home.join(".local/share/nix-config-generated");
        let host = Host::start(Options { dataset: how(dataset.clone()), declared: declared(), sudo: true, ..options });
        let server = Server::start();
        let ids = ITEMS.map(|(name, value)| (name, server.put(Item::login(name, "someone", value)))).into();
        let account = Account::log_in(&server);
        place.variables = account.env().into_iter().filter(|(name, _)| name != "HOME").collect();
        // Both the ssh of the host and the rbw of the account.
        let paths = |path: &std::ffi::OsStr| std::env::split_paths(path).collect::<Vec<_>>();
        let (_, ssh) = host.env().swap_remove(0);
        let both = [paths(&ssh), paths(&place.variables["PATH"])].concat();
        place.variables.insert("PATH".to_owned(), std::env::join_paths(both).expect("a PATH"));
        place.variables.insert("XDG_STATE_HOME".to_owned(), place.home.join("state").into());
        fs::create_dir(place.home.join(".ssh")).expect("a directory");
        fs::write(place.home.join(".ssh/id_ed25519.pub"), "ssh-ed25519 AAAA someone\n").expect("a public key");
        fs::create_dir(place.repository.join("docs")).expect("a directory");
        let switch = host.switch_command()[1].clone();
        fs::write(place.repository.join("docs/vm.sh"), format!("exec bash {switch} \"$@\"\n")).expect("docs/vm.sh");
        Self { place, dataset, account, server, ids, host }
    }

    /// Applied once.
    pub fn applied() -> Result<Self, Failed> {
        let scene = Self::new();
        scene.place.run("apply --auto-approve").ended(0)?.says(&["Apply complete!"])?;
        Ok(scene)
    }

    pub fn set(&self, item: &str, value: &str) {
        self.server.edit(&self.ids[item], |item| {
            if let Kind::Login { password, .. } = &mut item.kind {
                *password = Some(value.to_owned());
            }
        });
    }

    pub fn file(&self) -> PathBuf {
        self.dataset.join("secrets.yaml")
    }

    pub fn receipt(&self) -> PathBuf {
        let directories = fs::read_dir(self.place.home.join("state/reconcile")).expect("the state").flatten();
        directories.map(|entry| entry.path().join("receipt.json")).find(|path| path.exists()).expect("a receipt")
    }

    /// The real sops, with the host's identity, as root has it there.
    pub fn sops(&self, arguments: &[&str]) -> Outcome {
        self.sops_edited(arguments, "true")
    }

    pub fn sops_edited(&self, arguments: &[&str], editor: &str) -> Outcome {
        let mut sops = Command::new(peers::find("sops").ok_or("sops")?);
        sops.current_dir(&self.dataset).env("SOPS_AGE_KEY_FILE", self.host.identity_file()).env("EDITOR", editor);
        succeeded(&sops.args(arguments).output()?)
    }

    /// The host shows all four, and a plan has nothing to do.
    pub fn settled(&self) -> Outcome {
        for (path, attributes, _) in INSTALLED {
            let seen = self.host.stat(path).unwrap_or_default();
            let length = |text: &str| text.rsplit_once(' ').map(|(rest, _)| rest.to_owned());
            same(path, length(&seen), length(attributes))?;
        }
        self.unchanged()
    }

    pub fn unchanged(&self) -> Outcome {
        self.place.run("plan --detailed-exitcode").ended(0)?.says(&["No changes."])?;
        Ok(())
    }

    /// The addresses that change, with their actions and reasons, and the kinds of the steps.
    pub fn planned(&self) -> Result<Planned, Failed> {
        let ran = self.place.run("plan --json");
        let lines = ran.json().map_err(|error| format!("{error:?}\n{}", ran.all()))?;
        let mut planned = Planned::default();
        for line in lines {
            match line["type"].as_str().unwrap_or_default() {
                "planned_change" => {
                    let change = &line["change"];
                    let reasons = change["reasons"].as_array().cloned().unwrap_or_default();
                    let reason = |reason: &serde_json::Value| word(&reason["reason"]);
                    let reasons: Vec<String> = reasons.iter().map(reason).collect();
                    planned.changes.push(format!("{}: {}", word(&change["address"]), reasons.join(" ")));
                }
                "blocked" => {
                    let blocked = &line["blocked"];
                    planned.blocked.push(format!(
                        "{}: {}",
                        word(&blocked["address"]),
                        word(&blocked["by"]["blocked_by"])
                    ));
                }
                _ => {}
            }
        }
        Ok(planned)
    }

    /// Nothing may have been written by `run`.
    pub fn untouched(&self, run: impl FnOnce() -> Result<Ran, Failed>) -> Result<Ran, Failed> {
        let mut before = self.place.files();
        let switches = self.host.switches();
        let ran = run()?;
        let mut after = self.place.files();
        // The lock names its last holder.
        for files in [&mut before, &mut after] {
            files.retain(|path, _| !path.ends_with("lock"));
        }
        let changed: Vec<_> = after.iter().filter(|(path, bytes)| before.get(*path) != Some(bytes)).collect();
        let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
        same("switches", self.host.switches(), switches)?;
        if changed.is_empty() && gone.is_empty() {
            return Ok(ran);
        }
        let changed: Vec<_> = changed.into_iter().map(|(path, _)| path).collect();
        Err(format!("changed: {changed:?}, gone: {gone:?}\n{}", ran.all()).into())
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Planned {
    pub changes: Vec<String>,
    pub blocked: Vec<String>,
}

pub fn word(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub fn succeeded(output: &Output) -> Outcome {
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{}: {}", output.status, said()).into()) }
}

pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}").into()) }
}
