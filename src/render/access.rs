//! Who can decrypt and who can read, as the questions that somebody asks.

use std::fmt::Write;

use crate::plan::{Access, Decrypts, FileSeen, Holder, KeyHolder, KeyKnown, Readable, Reader};

use super::{Style, Tone, words};

/// The whole of it; `vault` is what gives values at run time, such as `unlocks rbw`.
#[must_use]
pub fn access_text(access: &Access, vault: &str, style: Style) -> String {
    let mut parts = Vec::new();
    for (file, decrypts) in &access.files {
        parts.push(heading(&format!("Who can decrypt {file}?"), style) + &decrypting(decrypts, style));
    }
    for (host, secrets) in access.hosts.iter().filter(|(_, secrets)| !secrets.is_empty()) {
        parts.push(heading(&format!("Who can read secrets on {host}? root, and:"), style) + &reading(secrets));
    }
    if !access.runtime.is_empty() {
        let rows = access.runtime.iter().map(|(secret, consumers)| vec![secret.to_string(), consumers.join(", ")]);
        let text = columns(&rows.collect::<Vec<_>>());
        parts.push(heading(&format!("Who can have secrets at run time? Whoever {vault}; given to:"), style) + &text);
    }
    parts.join("\n")
}

fn heading(text: &str, style: Style) -> String {
    style.paint(Tone::Bold, text) + "\n"
}

fn decrypting(decrypts: &Decrypts, style: Style) -> String {
    let rows: Vec<Vec<String>> = decrypts.keys.iter().map(key_row).collect();
    let mut out = match &decrypts.file {
        FileSeen::Present => String::new(),
        FileSeen::Absent => "  it is not there yet; it will be encrypted to:\n".to_owned(),
        FileSeen::Broken { problem } => format!("  not known: {}; it should be:\n", problem.printable()),
        FileSeen::Unknown { cause } => format!("  not known: {cause}; it should be:\n"),
    };
    out += &columns(&rows);
    for KeyHolder { holder, .. } in &decrypts.keys {
        if let Holder::Host { host, overshared, .. } = holder
            && !overshared.is_empty()
        {
            let secrets: Vec<&str> = overshared.iter().map(crate::secret::SecretName::as_str).collect();
            let label = super::warning_label(style);
            let _ = writeln!(out, "  {label} {host} can decrypt what is not declared for it: {}", secrets.join(", "));
        }
    }
    if !decrypts.undeclared.is_empty() {
        let names: Vec<String> = decrypts.undeclared.iter().map(crate::text::Untrusted::printable).collect();
        let label = super::warning_label(style);
        let _ = writeln!(out, "  {label} whoever decrypts it also reads what is not declared: {}", names.join(", "));
    }
    if decrypts.keys.iter().any(|key| key.holder == Holder::Undeclared) {
        let _ = writeln!(out, "  {} nobody declares one of its keys (reconcile plan)", super::warning_label(style));
    }
    out
}

fn key_row(KeyHolder { holder, key, in_file }: &KeyHolder) -> Vec<String> {
    let key = key.as_ref().map_or_else(|| "not known here".to_owned(), |key| words::shortened(&key.printable()));
    let (whose, mut how) = match holder {
        Holder::Host { host, key_file, known, .. } => {
            let known = match known {
                KeyKnown::Accepted => "accepted",
                KeyKnown::Declared => "declared",
                KeyKnown::Offered => "offered by the dataset, not accepted",
                KeyKnown::Unknown => "read from it by the next plan",
            };
            (format!("host {host}"), format!("{key_file}; {known}"))
        }
        Holder::Extra { of } => {
            let of: Vec<&str> = of.iter().map(crate::address::HostName::as_str).collect();
            ("recovery key".to_owned(), format!("declared for {}", of.join(", ")))
        }
        Holder::Undeclared => ("somebody".to_owned(), "declared nowhere".to_owned()),
    };
    if *in_file == Some(false) {
        how += "; the file is not encrypted to it";
    }
    vec![whose, key, how]
}

fn reading(secrets: &[Readable]) -> String {
    let row = |secret: &Readable| {
        let group = secret.group.as_ref().map(|group| format!(":{group}")).unwrap_or_default();
        let default = |what: &str| secret.defaults.contains(what);
        let unsaid = match (default("owner"), default("mode")) {
            (true, true) => " (by default)",
            (true, false) => " (its owner by default)",
            (false, true) => " (its mode by default)",
            (false, false) => "",
        };
        let owner = secret.owner.as_deref().unwrap_or("whoever activates");
        let readers: Vec<String> = secret.readers.iter().map(reader).collect();
        let readers = if readers.is_empty() { "nobody else".to_owned() } else { readers.join(", ") };
        let attributes = format!("{owner}{group} {}{unsaid}", secret.mode);
        vec![secret.secret.to_string(), readers, secret.path.clone(), attributes]
    };
    columns(&secrets.iter().map(row).collect::<Vec<_>>())
}

fn reader(reader: &Reader) -> String {
    match reader {
        Reader::User(user) => user.clone(),
        Reader::Activating => "whoever activates".to_owned(),
        Reader::Group(group) => format!("group {group}"),
        Reader::OwnersGroup => "its owner's group".to_owned(),
        Reader::Everybody => "everybody there".to_owned(),
    }
}

/// Indented rows, each column as wide as its widest cell.
fn columns(rows: &[Vec<String>]) -> String {
    let wide = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", wide(column).unwrap_or(0)));
        let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("   ").trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::receipt::Receipt;
    use crate::text::Untrusted;

    const MANIFEST: &str = r#"
version: 1
name: test
vault: {rbw: {unlock: never}}
dataset: {path: dataset, files: {vm-key: {age_key_of: vm}}}
hosts:
  vm: {ssh: m@vm, recipient: {file: vm-key}, extra_recipients: [age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg]}
  web: {ssh: m@web, recipient: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p}
secrets:
  a: {item: a, delivery: {sops: {hosts: [vm], owner: postgres, group: keys, mode: "0440"}}}
  b/c: {item: bc, delivery: {sops: {hosts: [vm]}}}
  token: {item: token, delivery: {runtime: {env: TOKEN, commands: [gh], with_command: with-token}}}
"#;

    fn shown(change: impl FnOnce(&mut Access)) -> String {
        let Ok(checked) = crate::manifest::parse("test", MANIFEST) else { panic!("the manifest is valid") };
        let receipt = Receipt::new(String::new(), "/dataset".into());
        let mut access = crate::plan::access(&checked.manifest, &BTreeMap::new(), &receipt);
        change(&mut access);
        access_text(&access, "unlocks rbw", Style { colour: false, width: 160, verbose: false })
    }

    #[test]
    fn each_question_is_answered_in_columns() {
        let text = shown(|access| {
            for decrypts in access.files.values_mut() {
                decrypts.file = FileSeen::Present;
                let key = Some(Untrusted::new("age1\u{1b}[2Jstranger"));
                decrypts.keys.push(KeyHolder { holder: Holder::Undeclared, key, in_file: Some(true) });
            }
        });
        let expected = "\
Who can decrypt secrets.yaml?
  host vm        not known here          /var/lib/sops-nix/key.txt; read from it by the next plan
  host web       age1ql3…cac8p           /var/lib/sops-nix/key.txt; declared
  recovery key   age1lgg…vfafg           declared for vm
  somebody       age1\\u{1b}[2Jstranger   declared nowhere
  warning: web can decrypt what is not declared for it: a, b/c
  warning: nobody declares one of its keys (reconcile plan)

Who can read secrets on vm? root, and:
  a     postgres, group keys   /run/secrets/a     postgres:keys 0440
  b/c   nobody else            /run/secrets/b/c   root 0400 (by default)

Who can have secrets at run time? Whoever unlocks rbw; given to:
  token   gh, with-token
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_file_that_is_not_there_or_shows_nothing_is_said_to() {
        let absent = shown(|access| access.files.values_mut().for_each(|file| file.file = FileSeen::Absent));
        assert!(
            absent.contains("secrets.yaml?\n  it is not there yet; it will be encrypted to:\n  host vm"),
            "{absent}"
        );
        assert!(shown(|_| {}).contains("  not known: not looked at; it should be:\n"), "{}", shown(|_| {}));
    }
}
