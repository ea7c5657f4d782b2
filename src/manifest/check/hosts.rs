//! The hosts: how each is reached, and to whom its file is encrypted.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{FileName, HostName};
use crate::secret::SecretName;
use crate::sops::Recipient;

use super::super::finding::printable;
use super::super::model::{Access, Become, DatasetFile, Host, RbwConfig, RecipientSource, Secret};
use super::super::place::{Place, is_destination, stand_ins};
use super::super::shape::suggestion;
use super::super::source::{BecomeSource, HostSource, RbwConfigSource, RecipientSource as RecipientWritten, TextOr};
use super::boot::is_account;
use super::{At, Checker, switch};

/// Where sops-nix makes and looks for the host's key, too.
const AGE_KEY_FILE: &str = "/var/lib/sops-nix/key.txt";
const SOPS_FILE: &str = "secrets.yaml";

type Files = BTreeMap<FileName, DatasetFile>;

pub(super) fn check(
    check: &mut Checker<'_>,
    source: BTreeMap<String, HostSource>,
    files: &Files,
) -> BTreeMap<HostName, Host> {
    let mut hosts = BTreeMap::new();
    for (name, host) in source {
        let at = ["hosts", name.as_str()];
        let parsed = check.name::<HostName>(At::Key, &at, &name);
        let host = one(check, &at, &name, host, files);
        hosts.extend(parsed.zip(host));
    }
    hosts
}

fn one(check: &mut Checker<'_>, at: &[&str], name: &str, source: HostSource, files: &Files) -> Option<Host> {
    let below = |key| [at, &[key]].concat();
    let is_local = source.local.is_some();
    let access = access(check, at, &source);
    let recipient = source.recipient.and_then(|written| recipient(check, &below("recipient"), name, written, files));
    let age_key_file = match &source.age_key_file {
        Some(path) => check.host_path(&below("age_key_file"), path, is_local, AGE_KEY_FILE),
        None => Place::new(AGE_KEY_FILE),
    };
    let mut extra_recipients = BTreeSet::new();
    for (number, text) in source.extra_recipients.unwrap_or_default().iter().enumerate() {
        extra_recipients.extend(key(check, &[at, &["extra_recipients", &number.to_string()]].concat(), text));
    }
    let sops_file = source.sops_file.unwrap_or_else(|| SOPS_FILE.to_owned());
    let sops_file = sops_file_of(check, &below("sops_file"), &sops_file, files);
    let path_on_host =
        source.path_on_host.map(|path| check.host_path(&below("path_on_host"), &path, is_local, "/nixos-generated"));
    let switch = source.switch.and_then(|switch| switch::check(check, &below("switch"), switch, is_local));
    let rbw_config = source.rbw_config.and_then(|config| rbw_config(check, &below("rbw_config"), config));
    let becomes = match source.becomes {
        None | Some(BecomeSource::Never) => Become::Never,
        Some(BecomeSource::Sudo) => Become::Sudo,
    };
    let (access, recipient, sops_file) = (access?, recipient?, sops_file?);
    #[rustfmt::skip]
    let host = Host {
        access, age_key_file, recipient, extra_recipients, sops_file, path_on_host, switch, rbw_config, becomes,
    };
    Some(host)
}

fn sops_file_of(check: &mut Checker<'_>, at: &[&str], text: &str, files: &Files) -> Option<FileName> {
    let file: FileName = check.name(At::Value, at, text)?;
    if files.contains_key(&file) || text == crate::address::FileName::INDEX {
        let message = format!("{file} is another file of the dataset");
        check.error(At::Value, at, "file", message, "give the sops file a name of its own");
    }
    let kinds = [".yaml", ".yml"];
    if !kinds.iter().any(|kind| text.ends_with(kind)) {
        let message = format!("{file} is written as YAML, which sops and sops-nix tell by its name");
        check.error(At::Value, at, "file", message, "let it end in .yaml");
    }
    Some(file)
}

fn access(check: &mut Checker<'_>, at: &[&str], source: &HostSource) -> Option<Access> {
    let (text, port, path) = match (&source.ssh, &source.local) {
        (None, None) => {
            // A value of a wrong kind was left out, and has its finding.
            if check.root.at(&[at, &["ssh"]].concat()).or(check.root.at(&[at, &["local"]].concat())).is_none() {
                let help = "say how it is reached: `ssh: user@host`, or `local: {}` for this machine";
                check.error(At::Key, at, "access", "this host cannot be reached", help);
            }
            return None;
        }
        (Some(_), Some(_)) => {
            let at = [at, &["local"]].concat();
            check.error(At::Key, &at, "access", "a host is reached by `ssh` or is `local`, not both", "keep one");
            return None;
        }
        (None, Some(_)) => return Some(Access::Local),
        (Some(TextOr::Text(to)), None) => (to, None, [at, &["ssh"]].concat()),
        (Some(TextOr::Map(ssh)), None) => (ssh.to.as_ref()?, ssh.port, [at, &["ssh", "to"]].concat()),
    };
    let help = "write [user@]host; other settings belong into your ssh configuration, or `{to:, port:}`";
    destination(check, &path, text, help).map(|to| Access::Ssh { to, port })
}

/// `[user@]host`, in which `$VAR` may stand for anything: what it stands for is checked again when it is used.
pub(super) fn destination(check: &mut Checker<'_>, at: &[&str], text: &str, help: &str) -> Option<Place> {
    if stand_ins(text).is_some_and(|text| is_destination(&text)) {
        return Some(Place::new(text));
    }
    check.error(At::Value, at, "ssh", format!("\"{}\" is no ssh destination", printable(text)), help);
    None
}

fn recipient(
    check: &mut Checker<'_>,
    at: &[&str],
    host: &str,
    source: TextOr<RecipientWritten>,
    files: &Files,
) -> Option<RecipientSource> {
    let source = match source {
        TextOr::Text(text) => return key(check, at, &text).map(RecipientSource::Literal),
        TextOr::Map(source) => source,
    };
    let Some(text) = source.file else { return source.ssh_host_key.map(|_| RecipientSource::SshHostKey) };
    let at = [at, &["file"]].concat();
    let file: FileName = check.name(At::Value, &at, &text)?;
    match files.get(&file) {
        None => {
            check.unknown(&at, "unknown-file", "file of the dataset", &text, &["dataset", "files"]);
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
            let error: crate::sops::RecipientError = error;
            check.error(At::Value, at, "recipient", error.to_string(), "");
            None
        }
    }
}

fn rbw_config(check: &mut Checker<'_>, at: &[&str], source: RbwConfigSource) -> Option<RbwConfig> {
    let below = |key| [at, &[key]].concat();
    for key in source.settings.keys().filter(|key| !RbwConfig::SETTINGS.contains(&key.as_str())) {
        let help = match suggestion(key, &RbwConfig::SETTINGS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it knows: {}", RbwConfig::SETTINGS.join(", ")),
        };
        let message = format!("rbw knows no setting \"{}\"", printable(key));
        check.warning(&below(key), "rbw-config", message, &help);
    }
    for (key, value) in &source.settings {
        // rbw reads none of its configuration when one setting is of another kind.
        let (fits, kind) = match key.as_str() {
            "lock_timeout" => (value.as_u64().is_some_and(|seconds| seconds > 0), "a number of seconds"),
            "sync_interval" => (value.is_u64(), "a number of seconds"),
            key if RbwConfig::SETTINGS.contains(&key) => (value.is_string(), "text"),
            _ => (true, ""),
        };
        if !fits {
            check.error(At::Value, &below(key), "rbw-setting", format!("{key} of rbw is {kind}"), "");
        }
    }
    if let Some(user) = source.user.as_ref().filter(|user| !is_account(user)) {
        let message = format!("\"{}\" is no name of a user", printable(user));
        check.error(At::Value, &below("user"), "account", message, "use letters, digits and _ . -");
    }
    let email = check.name::<SecretName>(At::Value, &below("email"), &source.email?)?;
    Some(RbwConfig { user: source.user?, email, settings: source.settings })
}

/// The account's address must be a boot secret of the host that the user can read, else its rbw could not be configured.
pub(super) fn check_rbw_config(
    check: &mut Checker<'_>,
    hosts: &BTreeMap<HostName, Host>,
    secrets: &BTreeMap<SecretName, Secret>,
) {
    for (name, host) in hosts {
        let Some(config) = &host.rbw_config else { continue };
        let (email, user) = (&config.email, &config.user);
        let at = ["hosts", name.as_str(), "rbw_config", "email"];
        let Some(secret) = secrets.get(email) else {
            check.unknown(&at, "unknown-secret", "secret", email.as_str(), &["secrets"]);
            continue;
        };
        let Some(boot) = secret.boot.as_ref().filter(|boot| boot.hosts.contains(name)) else {
            let message = format!("{email} does not reach host {name} at boot");
            check.error(At::Value, &at, "rbw-config", message, "give it `delivery: {sops: {}}`");
            continue;
        };
        let may_read = boot.owner.as_ref() == Some(user) || boot.mode.is_some_and(|mode| mode.0 & 0o044 != 0);
        if boot.needed_for_users || !may_read {
            let message = format!("{user} cannot read {email}, which is not theirs");
            check.warning(&at, "rbw-config", message, &format!("give it `sops: {{owner: {user}}}`"));
        }
    }
}
