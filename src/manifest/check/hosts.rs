//! The hosts: how each is reached, to whom its file is encrypted, and how it is switched.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{FileName, HostName};
use crate::secret::SecretName;
use crate::sops::Recipient;

use super::super::finding::printable;
use super::super::model::{Access, Become, Dataset, DatasetFile, Host, RbwConfig, RecipientSource, Secret, Switch};
use super::super::place::Place;
use super::super::source::{BecomeSource, HostSource, RbwConfigSource, SwitchSource, TextOr};
use super::{At, Checker};

pub(super) fn check(
    check: &mut Checker<'_>,
    source: BTreeMap<String, HostSource>,
    dataset: &Dataset,
) -> BTreeMap<HostName, Host> {
    let mut hosts = BTreeMap::new();
    for (name, host) in source {
        let at = ["hosts", name.as_str()];
        let parsed = check.name::<HostName>(At::Key, &at, &name);
        let host = one(check, &at, &name, host, dataset);
        if let (Some(parsed), Some(host)) = (parsed, host) {
            hosts.insert(parsed, host);
        }
    }
    hosts
}

fn one(check: &mut Checker<'_>, at: &[&str], name: &str, source: HostSource, dataset: &Dataset) -> Option<Host> {
    let below = |key| [at, &[key]].concat();
    let is_local = source.local.is_some();
    let access = access(check, at, &source);
    let recipient = recipient(check, &below("recipient"), name, source.recipient, dataset);
    let age_key_file = match (&source.age_key_file, &recipient) {
        (Some(path), _) => {
            if !is_local && !path.starts_with('/') {
                let help = "begin with /, such as /var/lib/sops-nix/key.txt";
                check.error(At::Value, &below("age_key_file"), "path", "a path on a host is absolute", help);
            }
            check.place(&below("age_key_file"), path)
        }
        // Where sops-nix makes and looks for it, too.
        (None, _) => Place::new("/var/lib/sops-nix/key.txt"),
    };
    let mut extra_recipients = BTreeSet::new();
    for (number, text) in source.extra_recipients.unwrap_or_default().iter().enumerate() {
        let number = number.to_string();
        extra_recipients.extend(key(check, &[at, &["extra_recipients", &number]].concat(), text));
    }
    let sops_file = source.sops_file.unwrap_or_else(|| "secrets.yaml".to_owned());
    let sops_file: FileName = check.name(At::Value, &below("sops_file"), &sops_file)?;
    if dataset.files.contains_key(&sops_file) || sops_file.as_str() == crate::index::FILE {
        let message = format!("{sops_file} is another file of the dataset");
        check.error(At::Value, &below("sops_file"), "file", message, "give the sops file a name of its own");
    }
    let path_on_host = source.path_on_host.map(|path| {
        if !is_local && !path.starts_with('/') {
            check.error(At::Value, &below("path_on_host"), "path", "a path on a host is absolute", "begin with /");
        }
        check.place(&below("path_on_host"), &path)
    });
    let switch = source.switch.and_then(|switch| switch_of(check, &below("switch"), switch, is_local));
    let rbw_config = source.rbw_config.and_then(|config| rbw_config(check, &below("rbw_config"), config));
    let becomes = match source.becomes {
        None | Some(BecomeSource::Never) => Become::Never,
        Some(BecomeSource::Sudo) => Become::Sudo,
    };
    Some(Host {
        access: access?,
        age_key_file,
        recipient: recipient?,
        extra_recipients,
        sops_file,
        path_on_host,
        switch,
        rbw_config,
        becomes,
    })
}

fn access(check: &mut Checker<'_>, at: &[&str], source: &HostSource) -> Option<Access> {
    let (text, port, path) = match (&source.ssh, &source.local) {
        (None, None) => {
            let help = "say how it is reached: `ssh: user@host`, or `local: {}` for this machine";
            check.error(At::Key, at, "access", "this host cannot be reached", help);
            return None;
        }
        (Some(_), Some(_)) => {
            let at = [at, &["local"]].concat();
            check.error(At::Key, &at, "access", "a host is reached by `ssh` or is `local`, not both", "keep one");
            return None;
        }
        (None, Some(_)) => return Some(Access::Local),
        (Some(TextOr::Text(to)), None) => (to, None, [at, &["ssh"]].concat()),
        (Some(TextOr::Map(ssh)), None) => (&ssh.to, ssh.port, [at, &["ssh", "to"]].concat()),
    };
    if !is_destination(text) {
        let help = "write [user@]host; other settings belong into your ssh configuration, or `{to:, port:}`";
        check.error(At::Value, &path, "ssh", format!("\"{}\" is no ssh destination", printable(text)), help);
        return None;
    }
    Some(Access::Ssh { to: Place::new(text.clone()), port })
}

/// `[user@]host`, in which `$VAR` may stand for anything: what it stands for is checked again when it is used.
pub(crate) fn is_destination(text: &str) -> bool {
    let plain = |part: &str, also: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "._-${}".contains(c) || also.contains(c);
        !part.is_empty() && !part.starts_with('-') && part.chars().all(good)
    };
    match text.rsplit_once('@') {
        Some((user, host)) => plain(user, "") && plain(host, ":[]%"),
        None => plain(text, ":[]%"),
    }
}

fn recipient(
    check: &mut Checker<'_>,
    at: &[&str],
    host: &str,
    source: TextOr<super::super::source::RecipientSource>,
    dataset: &Dataset,
) -> Option<RecipientSource> {
    let source = match source {
        TextOr::Text(text) => return key(check, at, &text).map(RecipientSource::Literal),
        TextOr::Map(source) => source,
    };
    let Some(text) = source.file else { return source.ssh_host_key.map(|_| RecipientSource::SshHostKey) };
    let at = [at, &["file"]].concat();
    let file: FileName = check.name(At::Value, &at, &text)?;
    match dataset.files.get(&file) {
        None => {
            let files: Vec<&str> = dataset.files.keys().map(FileName::as_str).collect();
            check.unknown(&at, "unknown-file", "file of the dataset", &text, &files);
            return None;
        }
        Some(DatasetFile::AgeKeyOf(of)) if of.as_str() == host => {}
        Some(DatasetFile::AgeKeyOf(of)) => {
            let message = format!("{text} holds the age key of host {of}");
            check.error(At::Value, &at, "recipient", message, &format!("name the file that is `age_key_of: {host}`"));
        }
        Some(DatasetFile::Literal(literal)) => {
            key(check, &["dataset", "files", &text, "literal"], literal.trim());
        }
        Some(DatasetFile::Copy(_) | DatasetFile::Read { .. }) => {
            let help = format!("declare it as `{{age_key_of: {host}}}`: a file alone is not believed");
            check.error(At::Value, &at, "recipient", format!("{text} is not declared as a host's age key"), &help);
        }
    }
    Some(RecipientSource::File(file))
}

fn key(check: &mut Checker<'_>, at: &[&str], text: &str) -> Option<Recipient> {
    match text.parse() {
        Ok(recipient) => Some(recipient),
        Err(error) => {
            check.error(At::Value, at, "recipient", error.to_string(), "");
            None
        }
    }
}

fn switch_of(check: &mut Checker<'_>, at: &[&str], source: SwitchSource, is_local: bool) -> Option<Switch> {
    let below = |key| [at, &[key]].concat();
    if let Some(argv) = source.command {
        if argv.first().is_none_or(String::is_empty) {
            check.error(
                At::Value,
                &below("command"),
                "command",
                "a command has a program",
                "such as [bash, switch.sh]",
            );
        }
        for (number, argument) in argv.iter().enumerate() {
            placeholders(check, &[at, &["command", &number.to_string()]].concat(), argument);
        }
        return Some(Switch::Command(argv));
    }
    if let Some(rebuild) = source.nixos_rebuild {
        let mut destination = |key: &'static str, text: Option<String>| {
            text.map(|text| {
                if !is_destination(&text) {
                    let at = [at, &["nixos_rebuild", key]].concat();
                    let message = format!("\"{}\" is no ssh destination", printable(&text));
                    check.error(At::Value, &at, "ssh", message, "write [user@]host");
                }
                Place::new(text)
            })
        };
        let target_host = destination("target_host", rebuild.target_host);
        let build_host = destination("build_host", rebuild.build_host);
        if rebuild.flake.is_empty() || rebuild.flake.starts_with('-') {
            let at = [at, &["nixos_rebuild", "flake"]].concat();
            check.error(At::Value, &at, "flake", "this is no flake reference", "such as .#vm");
        }
        let inputs = rebuild.inputs.unwrap_or_default();
        return Some(Switch::NixosRebuild { flake: rebuild.flake, inputs, target_host, build_host });
    }
    let activate = source.activate?;
    if !is_local && !activate.symlink_path.starts_with('/') {
        let at = [at, &["activate", "symlink_path"]].concat();
        check.error(At::Value, &at, "path", "a path on a host is absolute", "such as /run/secrets");
    }
    let symlink_path = check.place(&[at, &["activate", "symlink_path"]].concat(), &activate.symlink_path);
    Some(Switch::Activate { symlink_path })
}

/// `{host}`, `{dataset}` and `{sops_file}` are replaced; another word in braces is most likely mistyped.
fn placeholders(check: &mut Checker<'_>, at: &[&str], argument: &str) {
    if argument.contains('\0') {
        check.error(At::Value, at, "control", "an argument cannot hold NUL", "remove it");
    }
    let known = ["host", "dataset", "sops_file"];
    for word in argument.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word) {
        let near = super::suggestion(word, &known).filter(|_| !known.contains(&word));
        if let Some(near) = near {
            let message = format!("{{{}}} is not replaced by anything", printable(word));
            check.error(At::Value, at, "placeholder", message, &format!("did you mean {{{near}}}?"));
        }
    }
}

fn rbw_config(check: &mut Checker<'_>, at: &[&str], source: RbwConfigSource) -> Option<RbwConfig> {
    let email = check.name::<SecretName>(At::Value, &[at, &["email"]].concat(), &source.email)?;
    Some(RbwConfig { user: source.user, email, settings: source.settings })
}

/// The account's address must be a boot secret of the host, else its rbw could not be configured at boot.
pub(super) fn check_rbw_config(
    check: &mut Checker<'_>,
    hosts: &BTreeMap<HostName, Host>,
    secrets: &BTreeMap<SecretName, Secret>,
) {
    for (name, host) in hosts {
        let Some(config) = &host.rbw_config else { continue };
        let at = ["hosts", name.as_str(), "rbw_config", "email"];
        match secrets.get(&config.email).map(|secret| &secret.boot) {
            None => {
                let names: Vec<&str> = secrets.keys().map(SecretName::as_str).collect();
                check.unknown(&at, "unknown-secret", "secret", config.email.as_str(), &names);
            }
            Some(Some(boot)) if boot.hosts.contains(name) => {}
            Some(_) => {
                let message = format!("{} does not reach host {name} at boot", config.email);
                check.error(At::Value, &at, "rbw-config", message, "give it `delivery: {sops: {}}`");
            }
        }
    }
}
