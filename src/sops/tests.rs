//! What is written is read back the same, decrypts to the same, and nothing can be moved in it unnoticed.

use proptest::prelude::*;

use super::*;
use crate::address::KeyPath;
use crate::secret::SecretValue;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn random() -> impl FnMut(&mut [u8]) {
    |bytes: &mut [u8]| assert!(getrandom::fill(bytes).is_ok())
}

fn made(values: &[(&str, &[u8])]) -> Result<(EncryptedFile, Identities), Box<dyn std::error::Error>> {
    let (text, recipient) = Identities::generate();
    let recipient = recipient.ok_or("no recipient")?;
    let values: Vec<_> = values.iter().map(|(key, value)| (*key, SecretValue::new(value.to_vec()))).collect();
    let entries: Vec<_> =
        values.iter().map(|(key, value)| Entry { key: KeyPath::new(key.split('/')), value }).collect();
    let file = encrypt(&entries, &[recipient], "2026-01-01T00:00:00Z", &mut random())?;
    Ok((file, Identities::read(text.as_bytes())?))
}

#[test]
fn what_is_written_shows_what_was_said() -> Outcome {
    let (file, _) = made(&[("a", b"x"), ("b/c", b"yy"), ("b/empty", b""), ("123", b"n"), ("true", b"t")])?;
    assert_eq!(SopsFile::read(&file.bytes)?, file.metadata);
    let text = String::from_utf8(file.bytes)?;
    assert!(
        text.contains("\n    empty: \"\"\n") && text.contains("\n\"123\": ENC[") && text.contains("\n\"true\": ENC[")
    );
    assert!(text.ends_with("    unencrypted_suffix: _unencrypted\n    version: 3.13.2\n"), "{text}");
    Ok(())
}

#[test]
fn nothing_can_be_altered_unnoticed() -> Outcome {
    let (file, keys) = made(&[("a", b"one"), ("b", b"two")])?;
    let text = String::from_utf8(file.bytes)?;
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    let (a, b) = (line("a: "), line("b: "));
    let refused = |text: &str| decrypt(text.as_bytes(), &keys).map(drop);
    assert!(matches!(refused(&text.replace("a: ENC", "c: ENC")), Err(DecryptError::Value(_))));
    assert_eq!(refused(&text.replace(&format!("{b}\n"), "")), Err(DecryptError::Mac));
    assert_eq!(refused(&text.replace(&format!("{a}\n{b}\n"), &format!("{b}\n{a}\n"))), Err(DecryptError::Mac));
    assert_eq!(refused(&text.replace("2026-01-01", "2026-01-02")), Err(DecryptError::Mac));
    let (_, others) = made(&[])?;
    assert_eq!(decrypt(text.as_bytes(), &others).map(drop), Err(DecryptError::NoIdentity));
    Ok(())
}

#[test]
fn what_is_no_sops_file_is_told_apart() -> Outcome {
    let (file, _) = made(&[("a", b"one")])?;
    let text = String::from_utf8(file.bytes)?;
    let read = |text: &str| SopsFile::read(text.as_bytes()).map(drop);
    assert_eq!(read(""), Err(ReadError::NotAMap));
    assert_eq!(read("a: plain\n"), Err(ReadError::NoMetadata));
    assert_eq!(read(&format!("<<<<<<< ours\n{text}")), Err(ReadError::Conflict(1)));
    assert!(matches!(read(&format!("a: x\n{text}")), Err(ReadError::Twice(_))));
    assert!(read(&text[..text.len() / 2]).is_err(), "cut off");
    assert!(matches!(read(&text.replace("type:str", "type:odd")), Err(ReadError::Value(_) | ReadError::Metadata(_))));
    assert_eq!(read(&text.replace("lastmodified", "changed")), Err(ReadError::Metadata("lastmodified")));
    Ok(())
}

#[test]
fn keys_that_sops_would_misread_are_refused() {
    let value = SecretValue::new(b"x".to_vec());
    let (_, recipient) = Identities::generate();
    let recipients: Vec<_> = recipient.into_iter().collect();
    for keys in [&["a_unencrypted"][..], &["sops"], &["a", "a"], &["a", "a/b"], &["a/b", "a"]] {
        let entries: Vec<_> =
            keys.iter().map(|key| Entry { key: KeyPath::new(key.split('/')), value: &value }).collect();
        let refused = encrypt(&entries, &recipients, "2026-01-01T00:00:00Z", &mut random());
        assert!(matches!(refused, Err(EncryptError::Key { .. })), "{keys:?}");
    }
    let none = encrypt(&[], &[], "2026-01-01T00:00:00Z", &mut random()).map(drop);
    assert_eq!(none, Err(EncryptError::NoRecipient));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_value_comes_back(values in proptest::collection::btree_map(
        proptest::collection::vec("[^/]{1,8}", 1..4), proptest::collection::vec(any::<u8>(), 0..40), 0..12)
    ) {
        let (text, recipient) = Identities::generate();
        let recipients: Vec<_> = recipient.into_iter().collect();
        let values: Vec<_> = values.into_iter().map(|(key, value)| (KeyPath::new(key), SecretValue::new(value))).collect();
        let entries: Vec<_> = values.iter().map(|(key, value)| Entry { key: key.clone(), value }).collect();
        // Random keys may lie inside of each other.
        let Ok(file) = encrypt(&entries, &recipients, "2026-01-01T00:00:00Z", &mut random()) else { return Ok(()) };
        prop_assert_eq!(SopsFile::read(&file.bytes), Ok(file.metadata));
        let keys = Identities::read(text.as_bytes()).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let read = decrypt(&file.bytes, &keys).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let mut read: Vec<_> = read.iter().map(|(key, value)| (key.clone(), value.expose(<[u8]>::to_vec))).collect();
        read.sort();
        let mut given: Vec<_> = values.iter().map(|(key, value)| (key.clone(), value.expose(<[u8]>::to_vec))).collect();
        given.sort();
        prop_assert_eq!(read, given);
    }
}
