//! The dataset and its public files.

use std::collections::BTreeMap;

use crate::address::{FileName, HostName};

use super::super::model::{Dataset, DatasetFile};
use super::super::source::{DatasetFileSource, DatasetSource};
use super::{At, Checker};

pub(super) fn check(check: &mut Checker<'_>, source: DatasetSource, hosts: &[String]) -> Dataset {
    let path = check.place(&["dataset", "path"], &source.path);
    let mut files = BTreeMap::new();
    for (name, file) in source.files.unwrap_or_default() {
        let at = ["dataset", "files", name.as_str()];
        let Some(file_name) = check.name::<FileName>(At::Key, &at, &name) else { continue };
        if name == crate::index::FILE {
            check.error(
                At::Key,
                &at,
                "file",
                format!("{name} is the index that reconcile writes itself"),
                "use another name",
            );
        }
        if let Some(file) = one(check, &at, file, hosts) {
            files.insert(file_name, file);
        }
    }
    Dataset { path, files }
}

fn one(check: &mut Checker<'_>, at: &[&str], source: DatasetFileSource, hosts: &[String]) -> Option<DatasetFile> {
    let below = |key| [at, &[key]].concat();
    if let Some(of) = source.age_key_of {
        return host(check, &below("age_key_of"), &of, hosts).map(DatasetFile::AgeKeyOf);
    }
    if let Some(copy) = source.copy {
        let place = check.place(&below("copy"), &copy);
        let file = copy.rsplit('/').next().unwrap_or_default();
        let private = ["id_rsa", "id_ed25519", "id_ecdsa", "id_dsa", "key.txt", "keys.txt"];
        if private.contains(&file) || (file.starts_with("ssh_host_") && file.ends_with("_key")) {
            let help = format!("the dataset is public: copy the public half, {copy}.pub");
            check.error(At::Value, &below("copy"), "private-key", format!("{copy} is a private key"), &help);
        }
        return Some(DatasetFile::Copy(place));
    }
    if let Some(literal) = source.literal {
        if literal.contains("PRIVATE KEY") || literal.to_uppercase().contains("AGE-SECRET-KEY-") {
            let help = "the dataset is public: give the public half";
            check.error(At::Value, &below("literal"), "private-key", "this is a private key", help);
        }
        return Some(DatasetFile::Literal(literal));
    }
    let read = source.read?;
    if !read.path.starts_with('/') {
        check.error(
            At::Value,
            &[at, &["read", "path"]].concat(),
            "path",
            "a path on a host is absolute",
            "begin with /",
        );
    }
    check.no_control(&[at, &["read", "path"]].concat(), &read.path);
    let host = host(check, &[at, &["read", "host"]].concat(), &read.host, hosts)?;
    Some(DatasetFile::Read { host, path: read.path })
}

fn host(check: &mut Checker<'_>, at: &[&str], name: &str, hosts: &[String]) -> Option<HostName> {
    if hosts.iter().all(|host| host != name) {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        check.unknown(at, "unknown-host", "host", name, &hosts);
        return None;
    }
    name.parse().ok()
}
