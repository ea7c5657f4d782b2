//! Whether a manifest makes sense: everything that could only fail later is refused here, with its place and the way out.

mod boot;
mod clash;
mod dataset;
mod hosts;
mod item;
mod runtime;
mod secrets;
mod switch;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::str::FromStr;

use crate::address::HostName;
use crate::digest::Digest;
use crate::secret::SecretName;
use crate::text::turns;

use super::finding::{Finding, Severity, printable};
use super::model::{ItemRef, Manifest, Moved, Secret, Unlock, Vault};
use super::place::{Place, stand_ins};
use super::shape::suggestion;
use super::source::{FingerprintKeySource, MovedSource, Source, UnlockSource, VaultSource};
use super::tree::{Content, Node};

/// The manifest's tree, for places, and what was found.
pub(super) struct Checker<'a> {
    root: &'a Node,
    findings: &'a mut Vec<Finding>,
    /// Values of a wrong kind: they have their finding, and what was made of them needs no other.
    refused: Vec<Range<usize>>,
}

/// Which of key and value a finding underlines.
#[derive(Clone, Copy)]
enum At {
    Key,
    Value,
}

impl<'a> Checker<'a> {
    fn new(root: &'a Node, findings: &'a mut Vec<Finding>) -> Self {
        let of_value = |finding: &&Finding| ["type", "value"].contains(&finding.code);
        let refused = findings.iter().filter(of_value).map(|finding| finding.span.clone()).collect();
        Self { root, findings, refused }
    }

    fn span(&self, path: &[&str], at: At) -> Range<usize> {
        let (mut path, mut at) = (path, at);
        // What is not there is pointed at where it would be.
        loop {
            match (self.root.at(path), path) {
                (Some((node, key)), _) => {
                    return match at {
                        At::Key => key,
                        At::Value => node.span.clone(),
                    };
                }
                (None, [front @ .., _]) => (path, at) = (front, At::Key),
                (None, []) => return 0..0,
            }
        }
    }

    fn push(&mut self, finding: Finding) {
        if finding.severity == Severity::Warning || !self.refused.contains(&finding.span) {
            self.findings.push(finding);
        }
    }

    fn error(&mut self, at: At, path: &[&str], code: &'static str, message: impl Into<String>, help: &str) {
        let finding = Finding::error(code, message, self.span(path, at));
        self.push(if help.is_empty() { finding } else { finding.help(help) });
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
        self.push(finding.with_other(label, other));
    }

    fn warning(&mut self, path: &[&str], code: &'static str, message: impl Into<String>, help: &str) {
        let finding = Finding::warning(code, message, self.span(path, At::Key));
        self.push(finding.help(help));
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

    /// The keys below `path`, also of what has mistakes of its own.
    fn declared(&self, path: &[&str]) -> Vec<&'a str> {
        let root = self.root;
        match root.at(path).map(|(node, _)| &node.content) {
            Some(Content::Map(entries)) => entries.iter().map(|entry| entry.key.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// Something that must be declared below `among`, with the nearest of what is. What is declared, but was refused, has
    /// its finding already.
    fn unknown(&mut self, path: &[&str], code: &'static str, kind: &str, text: &str, among: &[&str]) {
        let declared = self.declared(among);
        if declared.contains(&text) {
            return;
        }
        let help = match suggestion(text, &declared) {
            Some(near) => format!("did you mean `{}`?", printable(near)),
            None if declared.is_empty() => format!("no {kind} is declared"),
            None => format!("there are: {}", printable(&declared.join(", "))),
        };
        self.error(At::Value, path, code, format!("no {kind} is called \"{}\"", printable(text)), &help);
    }

    /// A path on this machine.
    fn place(&mut self, path: &[&str], text: &str) -> Place {
        if text.is_empty() {
            self.error(At::Value, path, "path", "a path is empty", "");
        } else if text.starts_with('~') && text != "~" && !text.starts_with("~/") {
            let message = "only your own home directory is known: ~/…";
            self.error(At::Value, path, "path", message, "write the path out, or ./~… for a file of that name");
        }
        self.variables(path, text);
        self.no_control(path, text);
        Place::new(text)
    }

    /// A path on a host, which is absolute unless the host is this machine.
    fn host_path(&mut self, path: &[&str], text: &str, is_local: bool, example: &str) -> Place {
        if is_local {
            return self.place(path, text);
        }
        self.absolute(path, text, example);
        Place::new(text)
    }

    fn absolute(&mut self, path: &[&str], text: &str, example: &str) {
        let is_plain = text.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
        if !text.starts_with('/') || !is_plain {
            let message = "a path on a host is absolute, without . and ..";
            self.error(At::Value, path, "path", message, &format!("such as {example}"));
        }
        self.no_control(path, text);
    }

    fn variables(&mut self, path: &[&str], text: &str) {
        if stand_ins(text).is_none() {
            let help = "write $NAME or ${NAME}, and $$ for a dollar sign";
            self.error(At::Value, path, "variable", "this names no variable", help);
        }
    }

    fn no_control(&mut self, path: &[&str], text: &str) {
        if text.chars().any(char::is_control) {
            self.error(At::Value, path, "control", "a control character has no place here", "remove it");
        }
        // A reviewer would see another text than the one that is carried out.
        if text.chars().any(turns) {
            self.error(
                At::Value,
                path,
                "control",
                "a character that turns the direction of text stands here",
                "remove it",
            );
        }
    }
}

/// Checks everything, and makes the manifest if it can be made at all.
pub(super) fn all(root: &Node, source: Source, digest: Digest, findings: &mut Vec<Finding>) -> Option<Manifest> {
    let mut check = Checker::new(root, findings);
    let check = &mut check;
    if source.name.as_ref().is_some_and(|name| name.parse::<HostName>().is_err()) {
        let name = printable(source.name.as_deref().unwrap_or_default());
        let help = "use letters, digits and _ . -, and begin with a letter, a digit or _";
        check.error(At::Value, &["name"], "name", format!("\"{name}\" cannot be a name"), help);
    }
    let vault = source.vault.and_then(|vault| vault_of(check, vault));
    let receipt = source.receipt.and_then(|receipt| receipt.path);
    let receipt = receipt.map(|path| check.place(&["receipt", "path"], &path));
    let dataset = source.dataset.map(|dataset| dataset::check(check, dataset));
    let files = dataset.as_ref().map(|dataset| dataset.files.clone()).unwrap_or_default();
    let hosts = hosts::check(check, source.hosts.unwrap_or_default(), &files);
    let secrets = secrets::check(check, source.secrets.unwrap_or_default(), &hosts);
    let fingerprint_key = source.fingerprint_key.and_then(|key| fingerprint_key(check, key, &secrets));
    let moved = moved(check, source.moved.unwrap_or_default());
    hosts::check_rbw_config(check, &hosts, &secrets);
    clash::keys(check, &secrets, &hosts);
    clash::paths(check, &secrets, &hosts);
    clash::binds(check, &secrets);
    clash::items(check, &secrets);
    runtime::apart(check, &secrets);
    if let Some(dataset) = &dataset {
        dataset::keep_apart(check, dataset, vault.as_ref(), receipt.as_ref(), &hosts);
    }
    // A zero has its finding by its shape.
    let parallelism = NonZeroUsize::new(source.parallelism.unwrap_or(1).into())?;
    let (name, vault, dataset) = (source.name?, vault?, dataset?);
    #[rustfmt::skip]
    let manifest = Manifest {
        name, digest, vault, fingerprint_key, receipt, dataset, parallelism, hosts, secrets, moved,
    };
    Some(manifest)
}

fn vault_of(check: &mut Checker<'_>, source: VaultSource) -> Option<Vault> {
    if let Some(rbw) = source.rbw {
        let unlock = match rbw.unlock {
            None | Some(UnlockSource::Pinentry) => Unlock::Pinentry,
            Some(UnlockSource::Terminal) => Unlock::Terminal,
            Some(UnlockSource::Never) => Unlock::Never,
        };
        return Some(Vault::Rbw { unlock });
    }
    if source.bw.is_some() {
        return Some(Vault::Bw);
    }
    let path = source.file?.path?;
    Some(Vault::File { path: check.place(&["vault", "file", "path"], &path) })
}

/// The key of fingerprints must reach no consumer: whoever has it can test guesses of values against the receipt.
fn fingerprint_key(
    check: &mut Checker<'_>,
    source: FingerprintKeySource,
    secrets: &BTreeMap<SecretName, Secret>,
) -> Option<ItemRef> {
    let at = ["fingerprint_key", "item"];
    let item = item::item(check, &at, source.item?)?;
    if let Some((name, _)) = secrets.iter().find(|(_, secret)| secret.item == item) {
        let message = format!("the key of fingerprints is delivered as {name}");
        let help = "make an item of its own for it";
        let there = ["secrets", name.as_str(), "item"];
        check.error_with_other(&at, "fingerprint-key", message, help, ("delivered here", &there));
    }
    Some(item)
}

fn moved(check: &mut Checker<'_>, source: Vec<MovedSource>) -> Vec<Moved> {
    let declared: BTreeSet<&str> = check.declared(&["secrets"]).into_iter().collect();
    let mut moved: Vec<(String, Moved)> = Vec::new();
    for (number, entry) in source.into_iter().enumerate() {
        let number = number.to_string();
        let path = |key| ["moved", number.as_str(), key];
        let from = entry.from.and_then(|from| check.name::<SecretName>(At::Value, &path("from"), &from));
        let to = entry.to.and_then(|to| check.name::<SecretName>(At::Value, &path("to"), &to));
        let (Some(from), Some(to)) = (from, to) else { continue };
        if declared.contains(from.as_str()) {
            let message = format!("\"{from}\" is still declared, so it was not moved");
            check.error(At::Value, &path("from"), "moved", message, "remove the old secret, or this entry");
        }
        if moved.iter().any(|(_, other)| other.from == from || other.to == to) {
            check.error(At::Value, &path("from"), "moved", "a secret moves once, and to one name", "keep one entry");
        }
        moved.push((number, Moved { from, to }));
    }
    for (number, Moved { from, to }) in &moved {
        let path = ["moved", number.as_str(), "to"];
        // A secret may have moved on since; where it ends, it is declared.
        let onwards =
            |name: &SecretName| moved.iter().find(|(_, other)| other.from == *name).map(|(_, other)| &other.to);
        let way = std::iter::successors(Some(to), |name| onwards(name)).take(moved.len());
        if way.into_iter().any(|name| name == from) {
            check.error(At::Value, &path, "moved", format!("\"{from}\" moves in a circle"), "remove an entry");
        } else if onwards(to).is_none() && !declared.contains(to.as_str()) {
            // Of a secret that went after it had moved: nothing follows from it any more.
            let near = suggestion(to.as_str(), &declared.iter().copied().collect::<Vec<_>>());
            let near = near.map(|near| format!(", or did you mean `{near}`?")).unwrap_or_default();
            let message = format!("\"{to}\" is not declared, so this moves nothing");
            check.warning(&path, "moved", message, &format!("remove this entry{near}"));
        }
    }
    moved.into_iter().map(|(_, moved)| moved).collect()
}
