//! Manifests that are taken, and every kind of mistake.

use std::fmt::Write;

use super::{Finding, parse};
use miette::{GraphicalReportHandler, GraphicalTheme};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
const BAD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/bad");

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
        (sops("").replace("ssh: m@vm", "ssh: -oProxyCommand=x"), vec!["ssh", "no-host"]),
        (sops("").replace("ssh: m@vm", "ssh: \"m@vm x\""), vec!["ssh", "no-host"]),
        (sops("").replace("ssh: m@vm, ", ""), vec!["access", "no-host"]),
        (sops("").replace("{file: k}", "ssh-ed25519 AAAA"), vec!["recipient", "no-host"]),
        (sops("").replace("{file: k}", "{file: kk}"), vec!["unknown-file", "no-host"]),
        (sops("").replace("{age_key_of: vm}", "{copy: k.pub}"), vec!["recipient"]),
        (sops("").replace("{age_key_of: vm}", "{age_key_of: vm}, x: {copy: ~/.ssh/id_ed25519}"), vec!["private-key"]),
        (sops("").replace("{rbw: {}}", "{rbw: {}, bw: {}}"), vec!["several"]),
        (sops("").replace("{rbw: {}}", "{rbw: {unlock: pinentri}}"), vec!["value"]),
        (format!("{}moved: [{{from: a, to: b}}]\n", sops("")), vec!["unknown-secret", "moved"]),
    ] {
        let mut found = codes(&text);
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn everything_is_said_at_once_with_its_place() {
    let mut all = String::new();
    let mut names: Vec<_> = std::fs::read_dir(BAD)
        .unwrap_or_else(|error| panic!("{BAD}: {error}"))
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    for name in names {
        let text = std::fs::read_to_string(format!("{BAD}/{name}")).unwrap_or_default();
        let Err(error) = parse(&name, &text) else { panic!("{name} is taken") };
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100);
        let mut drawn = String::new();
        assert!(handler.render_report(&mut drawn, &error).is_ok(), "{name}");
        assert!(!drawn.contains('\u{1b}') && !drawn.contains('\u{202e}'), "{name} moves the cursor");
        let _ = writeln!(all, "──── {name}\n{drawn}");
    }
    insta::assert_snapshot!("bad", all);
}

#[test]
fn positions_count_lines_and_characters() {
    let text = secret("{item: ä, delivery: {sops: {ownr: m}}}");
    let Err(error) = parse("t", &text) else { panic!("taken") };
    let positions: Vec<_> = error.findings().map(Finding::position).collect();
    assert_eq!(positions, [(8, 34)]);
}
