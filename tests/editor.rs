//! The manifest in an editor: what the real yaml-language-server says with the schema of this repository.

#[path = "support/editor.rs"]
mod editor;
#[path = "support/peers.rs"]
mod peers;

use std::collections::BTreeSet;
use std::path::PathBuf;

use editor::Editor;
use libtest_mimic::{Arguments, Failed, Trial};
use reconcile::manifest;
use serde_json::Value;

const PROGRAM: &str = "yaml-language-server";

/// The first line of every manifest, as seen from a directory below `manifests/`.
const MODELINE: &str = "# yaml-language-server: $schema=../../schema/secrets.manifest.schema.json\n";

const BODY: &str = r"version: 1
name: t
vault: {rbw: {}}
dataset: {path: d, files: {k: {age_key_of: vm}}}
hosts:
  vm:
    ssh: m@vm
    recipient: {file: k}
";

type Test = fn(&mut Editor) -> Result<(), Failed>;

fn main() {
    let tests: Vec<(&str, Test)> = vec![
        ("good_manifests_have_no_diagnostics", good_manifests),
        ("a_mistake_of_shape_is_underlined_where_reconcile_underlines_it", mistakes_of_shape),
        ("a_mistyped_key_is_underlined", mistyped_key),
        ("what_belongs_beside_a_key_is_offered", siblings),
        ("the_values_of_a_choice_are_offered", choices),
        ("a_key_is_explained", explained),
    ];
    let trial = |(name, test): (&str, Test)| {
        peers::trial(name, &[PROGRAM], move || {
            let program = peers::find(PROGRAM).ok_or("yaml-language-server is gone")?;
            test(&mut Editor::start(&program)?)
        })
    };
    let tests: Vec<Trial> = tests.into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A manifest of the least that is valid and `more`, as a file that need not exist.
fn open(editor: &mut Editor, more: &str) -> Result<(String, String), Failed> {
    let text = format!("{MODELINE}{BODY}{more}");
    let uri = editor.open(&root().join("manifests/quickstart/test.secrets.manifest.yaml"), &text)?;
    Ok((uri, text))
}

/// The line and character at which `mark` ends in `text`, as the protocol counts them.
fn after(text: &str, mark: &str) -> Result<(usize, usize), Failed> {
    let end = text.rfind(mark).ok_or_else(|| format!("{mark} is not there"))? + mark.len();
    let before = &text[..end];
    let line = before.matches('\n').count();
    Ok((line, before.rsplit('\n').next().unwrap_or_default().encode_utf16().count()))
}

fn labels(items: &Value) -> BTreeSet<String> {
    let items = items.get("items").unwrap_or(items).as_array().cloned().unwrap_or_default();
    items.iter().filter_map(|item| Some(item["label"].as_str()?.to_owned())).collect()
}

fn good_manifests(editor: &mut Editor) -> Result<(), Failed> {
    for name in ["quickstart", "den-vm", "fleet"] {
        let path = root().join("manifests").join(name).join("secrets.manifest.yaml");
        let uri = editor.open(&path, &std::fs::read_to_string(&path)?)?;
        let diagnostics = editor.diagnostics(&uri)?;
        if !diagnostics.is_empty() {
            return Err(format!("{name}: {diagnostics:#?}").into());
        }
    }
    Ok(())
}

/// Both read the same schema, so the editor must find what `reconcile validate` finds, and on the same line.
fn mistakes_of_shape(editor: &mut Editor) -> Result<(), Failed> {
    let of_shape = ["unknown-key", "missing-key", "type", "value", "several", "empty"];
    let directory = root().join("tests/manifests/bad");
    let mut compared = 0;
    for entry in std::fs::read_dir(&directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = format!("{MODELINE}{}", std::fs::read_to_string(&path)?);
        let Err(error) = manifest::parse(&name, &text) else { return Err(format!("{name} is taken").into()) };
        let ours: BTreeSet<u64> = error
            .findings()
            .filter(|finding| of_shape.contains(&finding.code))
            .map(|finding| finding.position().0 as u64 - 1)
            .collect();
        if ours.is_empty() {
            continue;
        }
        let uri = editor.open(&root().join("manifests/quickstart").join(&name), &text)?;
        let theirs = editor.diagnostics(&uri)?;
        for line in ours {
            compared += 1;
            let there = |found: &Value| {
                let (start, end) = (&found["range"]["start"]["line"], &found["range"]["end"]["line"]);
                start.as_u64() <= Some(line) && end.as_u64() >= Some(line)
            };
            if !theirs.iter().any(there) {
                return Err(format!("{name}: nothing on line {}: {theirs:#?}", line + 1).into());
            }
        }
    }
    if compared < 5 { Err(format!("only {compared} mistakes were compared").into()) } else { Ok(()) }
}

fn mistyped_key(editor: &mut Editor) -> Result<(), Failed> {
    let (uri, text) = open(editor, "secrets:\n  a:\n    item: a\n    delivery:\n      sops: {ownr: m}\n")?;
    let diagnostics = editor.diagnostics(&uri)?;
    let [only] = diagnostics.as_slice() else { return Err(format!("{diagnostics:#?}").into()) };
    let (line, end) = after(&text, "ownr")?;
    let range = &only["range"];
    assert_eq!(range["start"], serde_json::json!({"line": line, "character": end - 4}), "{only:#}");
    assert!(only["message"].as_str().is_some_and(|message| message.contains("ownr")), "{only:#}");
    Ok(())
}

fn siblings(editor: &mut Editor) -> Result<(), Failed> {
    let (uri, text) =
        open(editor, "secrets:\n  a:\n    item: a\n    delivery:\n      sops:\n        owner: m\n        \n")?;
    let offered = labels(&editor.complete(&uri, after(&text, "owner: m\n        ")?)?);
    for key in ["mode", "group", "restart_units", "needed_for_users", "bind"] {
        assert!(offered.contains(key), "{key} is not offered: {offered:?}");
    }
    assert!(!offered.contains("owner"), "owner is there already: {offered:?}");
    assert!(!offered.contains("commands"), "commands belongs to the other delivery: {offered:?}");
    Ok(())
}

fn choices(editor: &mut Editor) -> Result<(), Failed> {
    let (uri, text) = open(editor, "    become: \n")?;
    let offered = labels(&editor.complete(&uri, after(&text, "become: ")?)?);
    assert_eq!(offered, BTreeSet::from(["never".to_owned(), "sudo".to_owned()]));
    Ok(())
}

fn explained(editor: &mut Editor) -> Result<(), Failed> {
    let more = "secrets:\n  a:\n    item: a\n    delivery:\n      sops:\n        needed_for_users: true\n";
    let (uri, text) = open(editor, more)?;
    for (key, words) in [("needed_for_users", "before users exist"), ("sops", "At boot"), ("recipient", "encrypted")] {
        let (line, end) = after(&text, key)?;
        let shown = editor.hover(&uri, (line, end - 1))?;
        let shown = shown["contents"]["value"].as_str().unwrap_or_default().to_owned();
        assert!(shown.contains(words), "{key}: {shown:?}");
    }
    Ok(())
}
