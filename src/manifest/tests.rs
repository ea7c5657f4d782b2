//! Manifests that are taken, and every kind of mistake.

use super::{Finding, parse};
use miette::{GraphicalReportHandler, GraphicalTheme};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
const BAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/bad");
const WARNED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/warned");
const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/snapshots");

fn codes(text: &str) -> Vec<&'static str> {
    match parse("test.yaml", text) {
        Ok(checked) => checked.warnings.iter().map(|finding| finding.code).collect(),
        Err(error) => error.findings().map(|finding| finding.code).collect(),
    }
}

/// The least that is valid, with something more in one place.
fn with(more: &str) -> String {
    format!(
        "version: 1\nname: t\nvault: {{rbw: {{}}}}\ndataset: {{path: d, files: {{k: {{age_key_of: vm}}}}}}\nhosts:\n  vm: {{ssh: m@vm, recipient: {{file: k}}}}\n{more}"
    )
}

fn secret(body: &str) -> String {
    with(&format!("secrets:\n  a: {body}\n"))
}

#[test]
fn the_manifests_of_the_repository_are_valid() {
    for name in ["quickstart", "den-vm", "fleet"] {
        let path = format!("{MANIFESTS}/{name}/secrets.manifest.yaml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        match parse(&path, &text) {
            Ok(checked) => assert!(checked.warnings.is_empty(), "{name}: {:?}", checked.warnings),
            Err(error) => panic!("{name}: {:#?}", error.findings().map(ToString::to_string).collect::<Vec<_>>()),
        }
    }
}

#[test]
fn every_mistake_has_its_rule() {
    let sops = |inner: &str| secret(&format!("{{item: a, delivery: {{sops: {{{inner}}}}}}}"));
    let runtime = |inner: &str| secret(&format!("{{item: a, delivery: {{runtime: {{{inner}}}}}}}"));
    let two = |one: &str, other: &str| with(&format!("secrets:\n  {one}\n  {other}\n"));
    for (text, expected) in [
        (sops(""), vec![]),
        (String::new(), vec!["empty"]),
        ("version: 2\nfuture: x\n".to_owned(), vec!["version"]),
        (sops("").replace("name: t", "nam: t"), vec!["missing-key", "unknown-key"]),
        (sops("ownr: m"), vec!["unknown-key"]),
        (sops("mode: 0400"), vec!["type"]),
        (sops("mode: \"0999\""), vec!["mode"]),
        (sops("mode: \"0444\""), vec!["mode"]),
        (sops("owner: 1000"), vec!["type"]),
        (sops("needed_for_users: true, owner: m"), vec!["needed-for-users"]),
        (sops("hosts: [vn]"), vec!["unknown-host"]),
        (sops("hosts: []"), vec!["no-host"]),
        (sops("key: x_unencrypted"), vec!["name"]),
        (sops("key: ../x"), vec!["name"]),
        (sops("path: run/x"), vec!["path"]),
        (sops("path: /run/../x"), vec!["path"]),
        (sops("restart_units: [tailscaled]"), vec!["unit"]),
        (sops("bind: \"services..x\""), vec!["bind"]),
        (secret("{item: a, delivery: {}}"), vec!["empty"]),
        (secret("{item: a, delivery: {sops: }}"), vec!["type"]),
        (secret("{item: , delivery: {sops: {}}}"), vec!["type"]),
        (secret("{item: \"\", delivery: {sops: {}}}"), vec!["item"]),
        (secret("{item: {name: a, field: totp}, delivery: {sops: {}}}"), vec!["field"]),
        (runtime("env: PATH, commands: [gh]"), vec!["variable"]),
        (runtime("env: LD_PRELOAD, commands: [gh]"), vec!["variable"]),
        (runtime("env: \"A;B\", commands: [gh]"), vec!["variable"]),
        (runtime("env: A, commands: [cd]"), vec!["command"]),
        (runtime("env: A, commands: [\"g h\"]"), vec!["command"]),
        (runtime("env: A, commands: [\"$(x)\"]"), vec!["command"]),
        (runtime("commands: [gh]"), vec!["variable"]),
        (runtime("git_credential: {hosts: [\"*\"], username: x}"), vec!["git-host"]),
        (two("a: {item: a, delivery: {sops: {}}}", "b: {item: b, delivery: {sops: {key: a}}}"), vec!["key"]),
        (two("a: {item: a, delivery: {sops: {}}}", "a/b: {item: b, delivery: {sops: {}}}"), vec!["key"]),
        (
            two(
                "a: {item: a, delivery: {runtime: {env: T, commands: [gh]}}}",
                "b: {item: b, delivery: {runtime: {env: T, commands: [gh]}}}",
            ),
            vec!["variable"],
        ),
        (two("a: {item: a, delivery: {sops: {}}}", "a: {item: b, delivery: {sops: {}}}"), vec!["duplicate"]),
        (sops("").replace("ssh: m@vm", "ssh: -oProxyCommand=x"), vec!["ssh"]),
        (sops("").replace("ssh: m@vm", "ssh: \"m@vm x\""), vec!["ssh"]),
        (sops("").replace("ssh: m@vm, ", ""), vec!["access"]),
        (sops("").replace("{file: k}", "ssh-ed25519 AAAA"), vec!["recipient"]),
        (sops("").replace("{file: k}", "{file: kk}"), vec!["unknown-file"]),
        (sops("").replace("{age_key_of: vm}", "{copy: k.pub}"), vec!["recipient"]),
        (sops("").replace("{age_key_of: vm}", "{age_key_of: vm}, x: {copy: ~/.ssh/id_ed25519}"), vec!["private-key"]),
        (sops("").replace("{rbw: {}}", "{rbw: {}, bw: {}}"), vec!["several"]),
        (sops("").replace("{rbw: {}}", "{rbw: {unlock: pinentri}}"), vec!["value"]),
        (format!("{}moved: [{{from: a, to: b}}]\n", sops("")), vec!["moved", "moved"]),
    ] {
        let mut found = codes(&text);
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

/// The manifests in a directory, by name, without their extension.
fn manifests(directory: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory}: {error}"));
    let mut all: Vec<_> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{directory}: {error}")).path())
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), text)
        })
        .collect();
    all.sort();
    all
}

fn drawn(error: &super::ManifestError) -> String {
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
    let mut drawn = String::new();
    assert!(handler.render_report(&mut drawn, error).is_ok());
    drawn
}

#[test]
fn everything_is_said_at_once_with_its_place() {
    for (name, text) in manifests(BAD) {
        let Err(error) = parse(&format!("{name}.yaml"), &text) else { panic!("{name} is taken") };
        let drawn = drawn(&error);
        assert!(!drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'), "{name} moves the cursor");
        insta::with_settings!({snapshot_path => SNAPSHOTS, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(name, drawn);
        });
    }
}

#[test]
fn a_manifest_with_one_kind_of_mistake_has_findings_of_that_kind_alone() {
    let of_several = ["many", "references", "escapes"];
    let pure = |name: &str, found: &[&str]| !found.is_empty() && found.iter().all(|code| *code == name);
    let mixed: Vec<_> = manifests(BAD)
        .into_iter()
        .filter(|(name, _)| !of_several.contains(&name.as_str()))
        .map(|(name, text)| (codes(&text), name))
        .filter(|(found, name)| !pure(name, found))
        .collect();
    assert!(mixed.is_empty(), "{mixed:#?}");
}

#[test]
fn what_is_probably_not_meant_is_taken_with_a_warning() {
    for (name, text) in manifests(WARNED) {
        let warnings = match parse(&format!("{name}.yaml"), &text) {
            Ok(checked) => checked.warnings,
            Err(error) => panic!("{name}: {}", drawn(&error)),
        };
        assert!(warnings.iter().all(|warning| warning.code == name), "{name}: {warnings:#?}");
        let said: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        insta::with_settings!({snapshot_path => SNAPSHOTS, prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!(format!("warned-{name}"), said.join("\n"));
        });
    }
}

#[test]
fn a_secret_may_have_moved_more_than_once() {
    let moves = |entries: &str| format!("{}moved: [{entries}]\n", secret("{item: a, delivery: {sops: {}}}"));
    assert_eq!(codes(&moves("{from: x, to: y}, {from: y, to: a}")), [] as [&str; 0]);
    assert_eq!(codes(&moves("{from: y, to: a}, {from: x, to: y}")), [] as [&str; 0]);
    assert_eq!(codes(&moves("{from: x, to: y}, {from: y, to: x}")), ["moved", "moved"]);
    assert_eq!(codes(&moves("{from: x, to: y}, {from: y, to: b}")), ["moved"]);
    assert!(parse("test", &moves("{from: x, to: y}, {from: y, to: b}")).is_ok(), "where it ended is gone since");
}

/// Cuts, doubles and exchanges lines and characters of a valid manifest: whatever comes of it is taken, or refused with
/// findings that stand in the text.
#[test]
fn a_spoiled_manifest_is_refused_with_a_reason() {
    let whole = std::fs::read_to_string(format!("{MANIFESTS}/den-vm/secrets.manifest.yaml")).unwrap_or_default();
    let lines: Vec<&str> = whole.lines().collect();
    let mut spoiled: Vec<String> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let with = |other: &[&str]| [&lines[..number], other, &lines[number + 1..]].concat().join("\n");
        spoiled.push(with(&[]));
        spoiled.push(with(&[line, line]));
        spoiled.push(lines[..number].join("\n"));
        let cut = line.len() / 2;
        spoiled.extend(line.get(..cut).map(|half| with(&[half])));
        for (from, to) in
            [(": ", ":"), (": ", ": ~ #"), ("{", "["), ("}", ""), ("m", "ä\u{202e}"), ("e", "\u{0}"), (":", ": 1 #")]
        {
            spoiled.push(with(&[&line.replacen(from, to, 1)]));
        }
    }
    for text in spoiled {
        let Err(error) = parse("spoiled", &text) else { continue };
        assert!(error.findings().any(|finding| finding.severity == super::Severity::Error), "no reason:\n{text}");
        for finding in error.findings() {
            assert!(text.get(finding.span.clone()).is_some(), "{finding:?} is not in the text:\n{text}");
        }
        let drawn = drawn(&error);
        assert!(!drawn.contains('\u{202e}'), "{drawn}");
    }
}

#[test]
fn positions_count_lines_and_characters() {
    let text = secret("{item: ä, delivery: {sops: {ownr: m}}}");
    let Err(error) = parse("t", &text) else { panic!("taken") };
    let positions: Vec<_> = error.findings().map(Finding::position).collect();
    assert_eq!(positions, [(8, 34)]);
}
