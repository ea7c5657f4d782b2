//! Our sops files held against the real sops, the current one and the oldest that is promised: what we write they
//! decrypt to the same bytes and with the same MAC, and what they write we read and open. The leaves are made at random
//! from everything that YAML, JSON or sops could mistake for something else, alike in every run;
//! `RECONCILE_TEST_SEED=random` makes others, and the seed that it prints repeats them.

#[path = "support/peers.rs"]
mod peers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use reconcile::address::KeyPath;
use reconcile::secret::SecretValue;
use reconcile::sops::{Entry, Identities, LeafKind, Recipient, SopsFile, decrypt, encrypt};

/// How many files are written, and the leaves in all of them: at least.
const FILES: usize = 200;
const LEAVES: usize = 10_000;

/// A tree of values by the components of their keys.
type Leaves = BTreeMap<Vec<String>, Vec<u8>>;

fn main() {
    let mut trials = Vec::new();
    for sops in ["sops", "sops-3.11"] {
        let it = move |name: &str, test: fn(&Sops) -> Result<(), Failed>| {
            peers::trial(&format!("{sops}::{name}"), &[sops], move || test(&Sops::new(sops)?))
        };
        trials.push(it("opens_what_we_write", opens_what_we_write));
        trials.push(it("any_bytes_come_out", any_bytes_come_out));
        trials.push(it("a_changed_file_is_refused_by_both", a_changed_file_is_refused_by_both));
        trials.push(it("writes_what_we_open", writes_what_we_open));
        trials.push(it("lays_out_as_we_do", lays_out_as_we_do));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// One of the two programs, with a key to open with.
struct Sops {
    program: PathBuf,
    directory: tempfile::TempDir,
    identities: Identities,
    recipient: Recipient,
}

impl Sops {
    fn new(name: &str) -> Result<Self, Failed> {
        let directory = tempfile::tempdir()?;
        let (text, recipient) = Identities::generate();
        std::fs::write(directory.path().join("key.txt"), text.as_bytes())?;
        let program = peers::find(name).ok_or("it was there before")?;
        Ok(Self { program, directory, identities: Identities::read(text.as_bytes())?, recipient })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What sops prints for these arguments.
    fn run(&self, arguments: &[&str], file: &Path) -> Result<Vec<u8>, Failed> {
        let mut command = Command::new(&self.program);
        command.arg("--disable-version-check").args(arguments).arg(file).current_dir(self.directory.path());
        command.env_clear().env("HOME", self.directory.path()).env("SOPS_AGE_KEY_FILE", self.path("key.txt"));
        let ended = command.output()?;
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        Err(format!("sops {}: {}: {said}", arguments.join(" "), ended.status).into())
    }

    /// The leaves of a file of ours as sops decrypts them, having checked the MAC.
    fn opened(&self, file: &Path) -> Result<Leaves, Failed> {
        let json = self.run(&["decrypt", "--output-type", "json"], file)?;
        let mut leaves = Leaves::new();
        flatten(&serde_json::from_slice(&json)?, &mut Vec::new(), &mut leaves)?;
        Ok(leaves)
    }

    fn write(&self, name: &str, leaves: &Leaves) -> Result<PathBuf, Failed> {
        let bytes = written(leaves, std::slice::from_ref(&self.recipient))?;
        std::fs::write(self.path(name), bytes)?;
        Ok(self.path(name))
    }
}

/// The file that we write of these leaves.
fn written(leaves: &Leaves, recipients: &[Recipient]) -> Result<Vec<u8>, Failed> {
    let values: Vec<_> = leaves.iter().map(|(key, value)| (key, SecretValue::new(value.clone()))).collect();
    let entries: Vec<_> = values.iter().map(|(key, value)| Entry { key: KeyPath::new(*key), value }).collect();
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("random bytes");
    Ok(encrypt(&entries, recipients, "2026-01-01T00:00:00Z", &mut random)?.bytes)
}

fn flatten(value: &serde_json::Value, at: &mut Vec<String>, leaves: &mut Leaves) -> Result<(), Failed> {
    match value {
        serde_json::Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            at.push(key.clone());
            flatten(value, at, leaves)?;
            at.pop();
            Ok(())
        }),
        serde_json::Value::String(text) => {
            leaves.insert(at.clone(), text.clone().into_bytes());
            Ok(())
        }
        other => Err(format!("{at:?} came out as {other}, which is no string").into()),
    }
}

/// The first leaf that differs, without its megabytes.
fn compare(found: &Leaves, expected: &Leaves, what: &str) -> Result<(), Failed> {
    let short = |value: Option<&Vec<u8>>| value.map(|value| value[..value.len().min(80)].escape_ascii().to_string());
    for key in found.keys().chain(expected.keys()) {
        if found.get(key) != expected.get(key) {
            let (found, expected) = (short(found.get(key)), short(expected.get(key)));
            return Err(format!("{what}: {key:?} is {found:?} and should be {expected:?}").into());
        }
    }
    Ok(())
}

// ---- what is generated --------------------------------------------------------------------------------------------

/// Keys that YAML, JSON or sops could take for something else, and any other.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-zA-Z0-9_.-]{1,16}",
        1 => "[-+]?[0-9][0-9_.:eExob-]{0,8}",
        1 => "(true|no|Off|y|~|null|NULL|<<|\\.inf|\\.NaN|0x1f|1e3|2026-01-01|=|---|\\.\\.\\.|\\?|- a|a: b|#|a #b|\\*a|&a|!a|%a|@a|`| a|a |\\[|\\{)",
        1 => "\\PC{1,12}",
    ]
    .prop_filter("refused by us", |key| {
        key != "sops" && !key.ends_with("_unencrypted") && !key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
    })
}

/// Values as texts: JSON, in which sops hands them out, holds no others.
fn value() -> impl Strategy<Value = String> {
    let pem = "[A-Za-z0-9+/]{64}\n[A-Za-z0-9+/]{20}==";
    prop_oneof![
        6 => "[!-~]{1,40}",
        2 => "\\PC{0,40}",
        1 => Just(String::new()),
        1 => "(true|false|null|~|[0-9]{1,20}|-?[0-9]\\.[0-9]{1,3}|0o17|1e9|2026-01-01T00:00:00Z|yes|ENC\\[AES256_GCM,data:x\\])",
        1 => "( |\t|\n|\r\n|\u{0}|\u{feff}|\u{85}|\u{2028}|a|:|#|-){1,20}",
        1 => pem.prop_map(|body| format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")),
        1 => prop::collection::vec(any::<char>(), 0..30).prop_map(String::from_iter),
    ]
}

/// As many files as are needed, each with its leaves; some hold a mebibyte, some are nested deeply.
fn generated() -> Result<Vec<Leaves>, Failed> {
    let mut seed = [0_u8; 32];
    match std::env::var("RECONCILE_TEST_SEED").as_deref() {
        Err(_) => {}
        Ok("random") => getrandom::fill(&mut seed[..8]).map_err(|error| error.to_string())?,
        Ok(text) => seed[..8].copy_from_slice(&u64::from_str_radix(text, 16)?.to_be_bytes()),
    }
    println!("RECONCILE_TEST_SEED={:016x}", u64::from_be_bytes(seed[..8].try_into()?));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let flat = prop::collection::vec(key(), 1..5);
    let deep = prop::collection::vec(key(), 30..60);
    let entry = (prop_oneof![40 => flat, 1 => deep], value());
    let file = prop::collection::vec(entry, 40..100);
    let mut files = Vec::new();
    for number in 0..FILES {
        let entries = file.new_tree(&mut runner)?.current();
        let mut leaves = Leaves::new();
        for (key, value) in entries {
            if !inside_another(&leaves, &key) {
                leaves.insert(key, value.into_bytes());
            }
        }
        if number % 40 == 0 {
            leaves.insert(vec![format!("a mebibyte {number}")], "Müll\r\n\t\"'\\".repeat(80_660).into_bytes());
        }
        files.push(leaves);
    }
    let total: usize = files.iter().map(BTreeMap::len).sum();
    println!("{total} leaves in {} files", files.len());
    if total < LEAVES { Err(format!("only {total} leaves").into()) } else { Ok(files) }
}

/// Whether a value and a mapping would have one place.
fn inside_another(leaves: &Leaves, key: &[String]) -> bool {
    leaves.keys().any(|other| other.starts_with(key) || key.starts_with(other))
}

// ---- what is held against it --------------------------------------------------------------------------------------

fn opens_what_we_write(sops: &Sops) -> Result<(), Failed> {
    for (number, leaves) in generated()?.iter().enumerate() {
        let file = sops.write("secrets.yaml", leaves)?;
        let what = format!("file {number}");
        compare(&sops.opened(&file).map_err(|error| format!("{what}: {error:?}"))?, leaves, &what)?;
    }
    Ok(())
}

/// JSON has no bytes that are no text: they are asked for one by one.
fn any_bytes_come_out(sops: &Sops) -> Result<(), Failed> {
    let all: Vec<u8> = (0..=255).collect();
    let cases: [&[u8]; 6] = [&all, b"\xff\xfe", b"\0", b"ends in newlines\n\n", b"\r\n", b"\xef\xbb\xbfwith a mark"];
    let leaves = cases.iter().enumerate().map(|(at, bytes)| (vec!["in".into(), format!("n{at}")], bytes.to_vec()));
    let leaves: Leaves = leaves.collect();
    let file = sops.write("secrets.yaml", &leaves)?;
    for (key, bytes) in &leaves {
        let place = format!("[\"in\"][\"{}\"]", key[1]);
        let found = sops.run(&["decrypt", "--extract", &place], &file)?;
        compare(&[(key.clone(), found)].into(), &[(key.clone(), bytes.clone())].into(), "extracted")?;
    }
    Ok(())
}

/// A character of a ciphertext, a value moved to another key, one left out: neither of us hands out anything.
fn a_changed_file_is_refused_by_both(sops: &Sops) -> Result<(), Failed> {
    let value = |text: &str| text.as_bytes().to_vec();
    let leaves = [(vec!["first".into()], value("one")), (vec!["second".into()], value("two"))].into();
    let file = sops.write("secrets.yaml", &leaves)?;
    let good = std::fs::read_to_string(&file)?;
    let line = |name: &str| good.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let (first, second) = (line("first: "), line("second: "));
    let swapped = [first.replace("first", "second"), second.replace("second", "first")];
    let changed = [
        good.replace(&first, &first.replacen("data:", "data:A", 1)),
        good.replace(&format!("{first}\n{second}"), &swapped.join("\n")),
        good.replace(&format!("{second}\n"), ""),
        good.replace("lastmodified: \"2026", "lastmodified: \"2025"),
    ];
    for (number, text) in changed.iter().enumerate() {
        if *text == good {
            return Err(format!("change {number} changed nothing").into());
        }
        std::fs::write(&file, text)?;
        if sops.opened(&file).is_ok() {
            return Err(format!("sops opened change {number}:\n{text}").into());
        }
        if decrypt(text.as_bytes(), &sops.identities).is_ok() {
            return Err(format!("we opened change {number}:\n{text}").into());
        }
    }
    Ok(())
}

fn writes_what_we_open(sops: &Sops) -> Result<(), Failed> {
    for (number, leaves) in generated()?.iter().step_by(4).enumerate() {
        let what = format!("file {number}");
        let mut root = serde_json::Map::new();
        for (key, value) in leaves {
            insert(&mut root, key, &String::from_utf8(value.clone())?)?;
        }
        std::fs::write(sops.path("plain.json"), serde_json::to_vec(&root)?)?;
        let recipient = sops.recipient.as_str();
        let arguments = ["encrypt", "--age", recipient, "--input-type", "json", "--output-type", "yaml"];
        let bytes = sops.run(&arguments, &sops.path("plain.json"))?;
        let shown = SopsFile::read(&bytes)?;
        let strings = shown.leaves.values().filter(|leaf| leaf.kind == LeafKind::Str).count();
        let filled = leaves.values().filter(|value| !value.is_empty()).count();
        if strings != filled {
            return Err(format!("{what}: {strings} of {filled} leaves were seen without a key").into());
        }
        let mut found = Leaves::new();
        for (key, value) in decrypt(&bytes, &sops.identities)? {
            found.insert(key.components().to_vec(), value.expose(<[u8]>::to_vec));
        }
        compare(&found, leaves, &what)?;
    }
    Ok(())
}

fn insert(into: &mut serde_json::Map<String, serde_json::Value>, key: &[String], value: &str) -> Result<(), Failed> {
    match key {
        [] => Err("a key without a part".into()),
        [last] => {
            into.insert(last.clone(), value.into());
            Ok(())
        }
        [first, rest @ ..] => {
            let below = into.entry(first.clone()).or_insert_with(|| serde_json::json!({}));
            insert(below.as_object_mut().ok_or("a value inside another")?, rest, value)
        }
    }
}

/// The current sops rewrites a file of ours without moving anything but what it encrypts anew.
fn lays_out_as_we_do(sops: &Sops) -> Result<(), Failed> {
    let value = |text: &str| text.as_bytes().to_vec();
    let leaves: Leaves = [
        (vec!["tailscale".into(), "auth-key".into()], value("tskey")),
        (vec!["uniclip".into(), "password".into()], value("long ".repeat(100).as_str())),
        (vec!["123".into()], value("a number")),
        (vec!["yes".into()], value("a boolean")),
    ]
    .into();
    let file = sops.write("secrets.yaml", &leaves)?;
    let ours = std::fs::read_to_string(&file)?;
    sops.run(&["rotate", "--in-place"], &file)?;
    let theirs = std::fs::read_to_string(&file)?;
    let shape = |text: &str| -> Vec<String> {
        // An armoured data key may have a line more or less.
        let armour = |line: &&str| line.starts_with("            ") && !line.contains("-----");
        let lines = text.lines().filter(|line| !armour(line) && !line.trim_start().starts_with("version:"));
        let hidden = lines.map(|line| match line.split_once(": ") {
            Some((key, value)) if value.starts_with("ENC[") || value.starts_with('"') => format!("{key}: …"),
            _ => line.to_owned(),
        });
        hidden.collect()
    };
    let (mut ours, mut theirs) = (shape(&ours), shape(&theirs));
    if sops.program.ends_with("sops-3.11") {
        // An older one has another order in its own block.
        let bare = |line: &mut String| *line = line.trim_start_matches([' ', '-']).to_owned();
        ours.iter_mut().chain(theirs.iter_mut()).for_each(bare);
        ours.sort();
        theirs.sort();
    }
    let differences = similar::TextDiff::from_lines(ours.join("\n"), theirs.join("\n")).unified_diff().to_string();
    if differences.is_empty() { Ok(()) } else { Err(format!("sops lays it out otherwise:\n{differences}").into()) }
}
