//! The dataset and its public files. Everyone can read it once Nix has copied it into its store, so nothing private is
//! let in.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use crate::address::{FileName, HostName};

use super::super::finding::printable;
use super::super::model::{Access, Dataset, DatasetFile, Host, Vault};
use super::super::place::Place;
use super::super::source::{DatasetFileSource, DatasetSource, ReadSource};
use super::super::switch::Switch;
use super::{At, Checker};

pub(super) fn check(check: &mut Checker<'_>, source: DatasetSource) -> Dataset {
    let path = match source.path {
        Some(path) => check.place(&["dataset", "path"], &path),
        // Its finding is there already.
        None => Place::new(""),
    };
    let mut files = BTreeMap::new();
    for (name, file) in source.files.unwrap_or_default() {
        let at = ["dataset", "files", name.as_str()];
        let Some(file_name) = check.name::<FileName>(At::Key, &at, &name) else { continue };
        if name == crate::address::FileName::INDEX {
            let message = format!("{name} is the index that reconcile writes itself");
            check.error(At::Key, &at, "file", message, "use another name");
        }
        if let Some(file) = one(check, &at, file) {
            files.insert(file_name, file);
        }
    }
    Dataset { path, files }
}

fn one(check: &mut Checker<'_>, at: &[&str], source: DatasetFileSource) -> Option<DatasetFile> {
    let below = |key| [at, &[key]].concat();
    if let Some(of) = source.age_key_of {
        return host(check, &below("age_key_of"), &of).map(DatasetFile::AgeKeyOf);
    }
    if let Some(copy) = source.copy {
        return Some(DatasetFile::Copy(copy_of(check, &below("copy"), &copy)));
    }
    if let Some(literal) = source.literal {
        text(check, &below("literal"), &literal);
        return Some(DatasetFile::Literal(literal));
    }
    read(check, &below("read"), source.read?)
}

fn copy_of(check: &mut Checker<'_>, at: &[&str], copy: &str) -> Place {
    let place = check.place(at, copy);
    let file = copy.rsplit('/').next().unwrap_or_default();
    let is_key = ["id_rsa", "id_ed25519", "id_ed25519_sk", "id_ecdsa", "id_ecdsa_sk", "id_dsa"].contains(&file)
        || (file.starts_with("ssh_host_") && file.ends_with("_key"));
    if is_key || ["key.txt", "keys.txt"].contains(&file) {
        let help = match is_key {
            true => format!("the dataset is public: copy the public half, {}.pub", printable(copy)),
            false => "the dataset is public: declare `age_key_of: HOST`, which takes the public half".to_owned(),
        };
        check.error(At::Value, at, "private-key", format!("{} is a private key", printable(copy)), &help);
    }
    place
}

fn text(check: &mut Checker<'_>, at: &[&str], literal: &str) {
    if literal.contains("PRIVATE KEY") || literal.to_ascii_uppercase().contains("AGE-SECRET-KEY-") {
        let help = "the dataset is public: give the public half";
        check.error(At::Value, at, "private-key", "this is a private key", help);
    }
    if literal.trim().is_empty() {
        check.error(At::Value, at, "literal", "this file would be empty", "give its text, or remove it");
    }
    check.no_control(at, &literal.replace(['\n', '\t'], ""));
}

fn read(check: &mut Checker<'_>, at: &[&str], source: ReadSource) -> Option<DatasetFile> {
    let (at_host, at_path) = ([at, &["host"]].concat(), [at, &["path"]].concat());
    if let Some(path) = &source.path {
        check.absolute(&at_path, path, "/etc/ssh/ssh_host_ed25519_key.pub");
        let file = path.rsplit('/').next().unwrap_or_default();
        if (file.starts_with("ssh_host_") && file.ends_with("_key")) || ["key.txt", "keys.txt"].contains(&file) {
            let message = format!("{} is a private key, and never leaves the host", printable(path));
            check.error(At::Value, &at_path, "private-key", message, "read its public half");
        }
    }
    let host = host(check, &at_host, &source.host?)?;
    Some(DatasetFile::Read { host, path: source.path? })
}

fn host(check: &mut Checker<'_>, at: &[&str], name: &str) -> Option<HostName> {
    check.unknown(at, "unknown-host", "host", name, &["hosts"]);
    name.parse().ok()
}

/// Refuses what is private and lies in the dataset.
pub(super) fn keep_apart(
    check: &mut Checker<'_>,
    dataset: &Dataset,
    vault: Option<&Vault>,
    receipt: Option<&Place>,
    hosts: &BTreeMap<HostName, Host>,
) {
    let mut refuse = |path: &[&str], place: &Place, what: &str| {
        if lies_in(place, &dataset.path) {
            let message = format!("{what} would lie in the dataset, which others read and Nix copies into its store");
            check.error(At::Value, path, "in-dataset", message, "give it a place outside of the dataset");
        }
    };
    if let Some(Vault::File { path }) = vault {
        refuse(&["vault", "file", "path"], path, "the vault");
    }
    if let Some(receipt) = receipt {
        refuse(&["receipt", "path"], receipt, "the receipt");
    }
    for (name, host) in hosts.iter().filter(|(_, host)| host.access == Access::Local) {
        refuse(&["hosts", name.as_str(), "age_key_file"], &host.age_key_file, "the private key");
        if let Some(Switch::Activate { symlink_path }) = &host.switch {
            let at = ["hosts", name.as_str(), "switch", "activate", "symlink_path"];
            refuse(&at, symlink_path, "the decrypted secrets");
        }
    }
}

/// Whether one path is below another as they are written; links and variables are not known here.
fn lies_in(place: &Place, directory: &Place) -> bool {
    let parts = |place: &Place| -> Vec<String> {
        let components = Path::new(place.as_written()).components();
        let shown = |part: Component<'_>| part.as_os_str().to_string_lossy().into_owned();
        components.filter(|part| *part != Component::CurDir).map(shown).collect()
    };
    let directory = parts(directory);
    !directory.is_empty() && parts(place).starts_with(&directory)
}
