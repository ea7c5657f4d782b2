//! Everything that is read comes from somebody: files that are cut, merged, mistyped or made to harm. Reading ends, with a
//! value or with an error that can be printed; and no ciphertext opens to something else than was sealed.

use std::collections::BTreeMap;

use proptest::prelude::*;
use reconcile::address::{Address, KeyPath};
use reconcile::launch::Asked;
use reconcile::manifest;
use reconcile::receipt;
use reconcile::secret::SecretValue;
use reconcile::sops::{Entry, Identities, SopsFile, decrypt, encrypt};
use reconcile::tools::file_vault::FileVault;

/// A text that something happened to.
#[derive(Debug, Clone)]
enum Change {
    Cut(usize),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    Replace(usize, u8),
    /// A line is there twice, or stands where another did.
    Copy(usize, usize),
    Swap(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<usize>;
    // What YAML and JSON take for something.
    let piece = prop_oneof![
        "[ \\-:?,\\[\\]{}#&*!|>'\"%@`~<\n\t]{1,4}".prop_map(String::into_bytes),
        "(null|true|1e9|0x1f|&a|\\*a|!!int|<<: \\*a|---\n|\\.\\.\\.\n|sops:|\"a\": |ENC\\[AES256_GCM,)"
            .prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..6),
        "\\PC{1,3}".prop_map(String::into_bytes),
    ];
    prop_oneof![
        place().prop_map(Change::Cut),
        (place(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (place(), piece).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (place(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
        (place(), place()).prop_map(|(from, to)| Change::Copy(from, to)),
        (place(), place()).prop_map(|(one, other)| Change::Swap(one, other)),
    ]
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 1..4)
}

fn changed(text: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = text.to_vec();
    for change in changes {
        let within = |at: &usize| at % (bytes.len() + 1);
        match change {
            Change::Cut(at) => bytes.truncate(within(at)),
            Change::Remove(at, length) => {
                let at = within(at);
                let end = bytes.len().min(at + length);
                bytes.drain(at..end);
            }
            Change::Insert(at, more) => {
                let at = within(at);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Replace(at, byte) => {
                let at = within(at);
                if let Some(there) = bytes.get_mut(at) {
                    *there = *byte;
                }
            }
            Change::Copy(one, other) | Change::Swap(one, other) => {
                let mut lines: Vec<Vec<u8>> =
                    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                if lines.is_empty() {
                    continue;
                }
                let (one, other) = (one % lines.len(), other % lines.len());
                if matches!(change, Change::Swap(..)) {
                    lines.swap(one, other)
                } else {
                    lines.insert(other, lines[one].clone())
                }
                bytes = lines.concat();
            }
        }
    }
    bytes
}

type Plain = BTreeMap<KeyPath, Vec<u8>>;

/// What is in the file. Of an empty value the format authenticates nothing, neither where it stands nor that it is there:
/// it is left out.
fn opened(bytes: &[u8], identities: &Identities) -> Option<Plain> {
    let mut values = decrypt(bytes, identities).ok()?;
    values.retain(|(_, value)| !value.is_empty());
    Some(values.into_iter().map(|(key, value)| (key, value.expose(<[u8]>::to_vec))).collect())
}

/// A file of ours, the identity that opens it, and what it holds.
fn sealed() -> (Vec<u8>, Identities, Plain) {
    let (text, recipient) = Identities::generate();
    let identities = Identities::read(text.as_bytes()).expect("an identity");
    let plain: Plain = [("a", "one"), ("b/c", "two"), ("b/d", ""), ("e", "a longer value\n"), ("123", "5")]
        .into_iter()
        .map(|(key, value)| (KeyPath::new(key.split('/')), value.as_bytes().to_vec()))
        .collect();
    let values: Vec<_> = plain.iter().map(|(key, value)| (key.clone(), SecretValue::new(value.clone()))).collect();
    let entries: Vec<Entry<'_>> = values.iter().map(|(key, value)| Entry { key: key.clone(), value }).collect();
    let mut random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("random bytes");
    let file = encrypt(&entries, &[recipient], "2026-01-01T00:00:00Z", &mut random).expect("a file");
    let plain = plain.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    (file.bytes, identities, plain)
}

/// No error moves a cursor, whatever it quotes.
fn is_printable(said: &str) -> bool {
    !said.chars().any(|c| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c))
}

fn quickstart(file: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A receipt with something in each of its places.
fn a_receipt() -> Vec<u8> {
    let digest = reconcile::digest::Digest::of(b"x").to_string();
    let key = reconcile::secret::FingerprintKey::new(&mut [7; 32]);
    let name = "a/b".parse().expect("a name");
    let fingerprint = reconcile::secret::Fingerprint::of(&key, &name, &SecretValue::new(b"x".to_vec()));
    let (_, recipient) = Identities::generate();
    serde_json::json!({
        "version": 1, "lineage": "l", "serial": 3, "dataset": "/d",
        "files": {"secrets.yaml": {"written": {"digest": digest, "at": "then", "recipients": [recipient], "keys": [{
            "key": ["a", "b"], "secret": name, "leaf": digest, "fingerprint": fingerprint,
            "item": {"scheme": "rbw", "account": "x", "id": "y", "field": "default"}, "revision": "rbw:1"}]},
            "pending": {"digest": digest, "at": "now"}}},
        "hosts": {"vm": {"accepted": recipient, "switched": {"file": digest, "generation": 4, "at": "then"}}},
    })
    .to_string()
    .into_bytes()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sops_file_opens_to_what_was_sealed_or_not_at_all(changes in changes()) {
        let (file, identities, plain) = sealed();
        let changed = changed(&file, &changes);
        let read = SopsFile::read(&changed);
        if let Err(error) = &read {
            prop_assert!(is_printable(&error.to_string()), "{error}");
        }
        match decrypt(&changed, &identities) {
            Err(error) => prop_assert!(is_printable(&error.to_string()), "{error}"),
            Ok(_) => {
                prop_assert_eq!(opened(&changed, &identities), Some(plain));
                // What opens is what is seen without a key: each leaf at its place, with its length.
                let read = read.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let there = SopsFile::read(&file).map_err(|error| TestCaseError::fail(error.to_string()))?;
                for (key, leaf) in there.leaves.iter().filter(|(_, leaf)| leaf.length > 0) {
                    prop_assert_eq!(read.leaves.get(key), Some(leaf));
                }
            }
        }
    }

    #[test]
    fn a_manifest_is_taken_or_every_mistake_is_told(changes in changes(), which in 0..3_usize) {
        let names = ["den-vm/secrets.manifest.yaml", "quickstart/secrets.manifest.yaml", "fleet/secrets.manifest.yaml"];
        let text = String::from_utf8_lossy(&changed(&quickstart(names[which]), &changes)).into_owned();
        if let Err(error) = manifest::parse("m.yaml", &text) {
            let mut drawn = String::new();
            let theme = miette::GraphicalTheme::unicode_nocolor();
            let handler = miette::GraphicalReportHandler::new_themed(theme);
            prop_assert!(handler.render_report(&mut drawn, &error).is_ok());
            prop_assert!(is_printable(&drawn), "{drawn:?}");
            prop_assert!(error.findings().next().is_some());
        }
    }

    #[test]
    fn a_receipt_is_read_as_it_was_written_or_refused(changes in changes()) {
        let good = a_receipt();
        let read = receipt::read(&good).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let again = receipt::read(&read.to_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(&again, &read);
        if let Ok(other) = receipt::read(&changed(&good, &changes)) {
            let again = receipt::read(&other.to_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(again, other);
        }
    }

    /// What the parser says may quote the file: only a place in it is told.
    #[test]
    fn a_vault_that_is_no_map_tells_none_of_its_values(changes in changes()) {
        const VALUE: &str = "Kq7vXw2ZpL";
        let text = format!("one: {VALUE}1\ntwo:\n  password: {VALUE}2\n  notes: |\n    {VALUE}3\n");
        let file = tempfile::NamedTempFile::new().map_err(|error| TestCaseError::fail(error.to_string()))?;
        std::fs::write(file.path(), changed(text.as_bytes(), &changes)).map_err(|e| TestCaseError::fail(e.to_string()))?;
        if let Err(cause) = FileVault::open(file.path(), None) {
            let said = format!("{cause} {:?} {cause:?}", cause.next());
            prop_assert!(!said.contains("Kq7vX") && !said.contains("2ZpL"), "{said}");
        }
    }

    #[test]
    fn what_git_sends_is_understood_or_refused(changes in changes()) {
        let good = b"protocol=https\nhost=github.com\npath=a/b.git\nusername=x\nwwwauth[]=Basic realm=\"x\"\n\n";
        let _ = Asked::read(&changed(good, &changes));
    }

    #[test]
    fn an_address_is_what_it_prints(text in "(secret|file|host|key)\\.[a-z./@+=_-]{1,12}") {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string(), text);
        }
    }
}
