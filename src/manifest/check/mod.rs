//! Whether a manifest makes sense: everything that could only fail later is refused here, with its place and the way out.

mod dataset;
mod hosts;
mod runtime;
mod secrets;

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::address::HostName;
use crate::digest::Digest;
use crate::secret::SecretName;

use super::Unlock;
use super::finding::{Finding, printable};
use super::model::{Manifest, Moved, Vault};
use super::place::Place;
use super::shape::suggestion;
use super::source::{Source, UnlockSource, VaultSource};
use super::tree::Node;

/// The manifest's tree, for places, and what was found.
pub(super) struct Checker<'a> {
    root: &'a Node,
    findings: &'a mut Vec<Finding>,
}

/// Which of key and value a finding underlines.
#[derive(Clone, Copy)]
enum At {
    Key,
    Value,
}

impl Checker<'_> {
    fn span(&self, path: &[&str], at: At) -> std::ops::Range<usize> {
        let mut path = path;
        // What is not there is pointed at where it would be.
        loop {
            match (self.root.at(path), path) {
                (Some((node, key)), _) => {
                    return match at {
                        At::Key => key,
                        At::Value => node.span.clone(),
                    };
                }
                (None, [front @ .., _]) => path = front,
                (None, []) => return 0..0,
            }
        }
    }

    fn error(&mut self, at: At, path: &[&str], code: &'static str, message: impl Into<String>, help: &str) {
        let finding = Finding::error(code, message, self.span(path, at));
        self.findings.push(if help.is_empty() { finding } else { finding.help(help) });
    }

    fn error_with_other(
        &mut self,
        path: &[&str],
        code: &'static str,
        message: impl Into<String>,
        help: &str,
        (label, other): (&str, &[&str]),
    ) {
        let finding = Finding::error(code, message, self.span(path, At::Key)).help(help);
        let other = self.span(other, At::Key);
        self.findings.push(finding.with_other(label, other));
    }

    fn warning(&mut self, path: &[&str], code: &'static str, message: impl Into<String>, help: &str) {
        let finding = Finding::warning(code, message, self.span(path, At::Key));
        self.findings.push(finding.help(help));
    }

    /// Parses a name, or says why it is none.
    fn name<T: FromStr<Err: std::fmt::Display>>(&mut self, at: At, path: &[&str], text: &str) -> Option<T> {
        match text.parse() {
            Ok(name) => Some(name),
            Err(error) => {
                let error: T::Err = error;
                self.error(at, path, "name", format!("\"{}\": {error}", printable(text)), "");
                None
            }
        }
    }

    /// Something that must be declared elsewhere, with the nearest of what is.
    fn unknown(&mut self, path: &[&str], code: &'static str, kind: &str, text: &str, declared: &[&str]) {
        let help = match suggestion(text, declared) {
            Some(near) => format!("did you mean `{near}`?"),
            None if declared.is_empty() => format!("no {kind} is declared"),
            None => format!("there are: {}", declared.join(", ")),
        };
        self.error(At::Value, path, code, format!("no {kind} is called \"{}\"", printable(text)), &help);
    }

    fn place(&mut self, path: &[&str], text: &str) -> Place {
        if text.is_empty() {
            self.error(At::Value, path, "path", "a path is empty", "");
        }
        self.no_control(path, text);
        Place::new(text)
    }

    fn no_control(&mut self, path: &[&str], text: &str) {
        if text.chars().any(char::is_control) {
            self.error(At::Value, path, "control", "a control character has no place here", "remove it");
        }
    }
}

/// Checks everything, and makes the manifest if it can be made at all.
pub(super) fn all(root: &Node, source: Source, digest: Digest, findings: &mut Vec<Finding>) -> Option<Manifest> {
    let mut check = Checker { root, findings };
    let name = source.name;
    if name.parse::<HostName>().is_err() {
        let help = "use letters, digits and _ . -, and begin with a letter, a digit or _";
        check.error(At::Value, &["name"], "name", format!("\"{}\" cannot be a name", printable(&name)), help);
    }
    let vault = vault(&mut check, source.vault);
    let fingerprint_key =
        source.fingerprint_key.and_then(|key| secrets::item(&mut check, &["fingerprint_key", "item"], key.item));
    let receipt = source.receipt.map(|receipt| check.place(&["receipt", "path"], &receipt.path));
    let hosts_source = source.hosts.unwrap_or_default();
    let host_names: Vec<String> = hosts_source.keys().cloned().collect();
    let dataset = dataset::check(&mut check, source.dataset, &host_names);
    let hosts = hosts::check(&mut check, hosts_source, &dataset);
    let secrets = secrets::check(&mut check, source.secrets.unwrap_or_default(), &hosts);
    hosts::check_rbw_config(&mut check, &hosts, &secrets);
    let moved = moved(&mut check, source.moved.unwrap_or_default(), &secrets);
    Some(Manifest { name, digest, vault: vault?, fingerprint_key, receipt, dataset, hosts, secrets, moved })
}

fn vault(check: &mut Checker<'_>, source: VaultSource) -> Option<Vault> {
    match source {
        VaultSource { rbw: Some(rbw), .. } => {
            let unlock = match rbw.unlock {
                None | Some(UnlockSource::Pinentry) => Unlock::Pinentry,
                Some(UnlockSource::Terminal) => Unlock::Terminal,
                Some(UnlockSource::Never) => Unlock::Never,
            };
            Some(Vault::Rbw { unlock })
        }
        VaultSource { bw: Some(_), .. } => Some(Vault::Bw),
        VaultSource { file: Some(file), .. } => {
            Some(Vault::File { path: check.place(&["vault", "file", "path"], &file.path) })
        }
        VaultSource { .. } => None,
    }
}

fn moved(
    check: &mut Checker<'_>,
    source: Vec<super::source::MovedSource>,
    secrets: &BTreeMap<SecretName, super::Secret>,
) -> Vec<Moved> {
    let mut moved: Vec<Moved> = Vec::new();
    for (number, entry) in source.into_iter().enumerate() {
        let number = number.to_string();
        let path = |key| ["moved", number.as_str(), key];
        let from = check.name::<SecretName>(At::Value, &path("from"), &entry.from);
        let to = check.name::<SecretName>(At::Value, &path("to"), &entry.to);
        let (Some(from), Some(to)) = (from, to) else { continue };
        if secrets.contains_key(&from) {
            let message = format!("\"{from}\" is still declared, so it was not moved");
            check.error(At::Value, &path("from"), "moved", message, "remove the old secret, or this entry");
        }
        let goes_on = moved.iter().any(|other| other.from == to);
        if !secrets.contains_key(&to) && !goes_on {
            let names: Vec<&str> = secrets.keys().map(SecretName::as_str).collect();
            check.unknown(&path("to"), "unknown-secret", "secret", to.as_str(), &names);
        }
        if moved.iter().any(|other| other.from == from || other.to == to) || from == to {
            check.error(At::Value, &path("from"), "moved", "a secret moves once, and to one name", "keep one entry");
        }
        moved.push(Moved { from, to });
    }
    moved
}
