//! The format as a whole: what is written is read and opened again, what sops wrote is read, what is broken is named.

use std::error::Error;

use proptest::prelude::*;

use super::*;
use crate::address::KeyPath;
use crate::secret::SecretValue;

type Outcome = Result<(), Box<dyn Error>>;

const NOW: &str = "2026-01-01T00:00:00Z";

/// Bytes that differ from call to call, so that nothing is mistaken for something else.
fn counting() -> impl FnMut(&mut [u8]) {
    let mut next = 0_u64;
    move |bytes| {
        for chunk in bytes.chunks_mut(8) {
            next = next.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&next.to_le_bytes()[..chunk.len()]);
        }
    }
}

fn path(text: &str) -> KeyPath {
    KeyPath::new(text.split('/'))
}

fn someone() -> Result<(Identities, Recipient), IdentityError> {
    let (text, recipient) = Identities::generate();
    Ok((Identities::read(text.as_bytes())?, recipient))
}

/// Encrypts `values` to `recipients` at [`NOW`].
fn written(values: &[(KeyPath, SecretValue)], recipients: &[Recipient]) -> Result<EncryptedFile, EncryptError> {
    let entries: Vec<Entry<'_>> = values.iter().map(|(key, value)| Entry { key: key.clone(), value }).collect();
    encrypt(&entries, recipients, NOW, &mut counting())
}

fn values(pairs: &[(&str, &[u8])]) -> Vec<(KeyPath, SecretValue)> {
    pairs.iter().map(|(key, value)| (path(key), SecretValue::new(value.to_vec()))).collect()
}

fn plain(values: &[(KeyPath, SecretValue)]) -> Vec<(KeyPath, Vec<u8>)> {
    values.iter().map(|(key, value)| (key.clone(), value.expose(<[u8]>::to_vec))).collect()
}

#[test]
fn what_is_written_is_read_and_opened() -> Outcome {
    let (identities, recipient) = someone()?;
    let given = values(&[
        ("tailscale/auth-key", b"tskey"),
        ("user/hashed", b"$y$"),
        ("123", b"\0\r\n\xef\xbb\xbf\xff"),
        ("tailscale/other", b"x"),
        ("empty", b""),
    ]);
    let file = written(&given, std::slice::from_ref(&recipient))?;
    assert_eq!(SopsFile::read(&file.bytes)?, file.metadata);
    assert_eq!(file.metadata.leaves[&path("tailscale/auth-key")].length, 5);
    assert_eq!(file.metadata.leaves[&path("empty")].kind, LeafKind::Clear);
    let mut opened = plain(&decrypt(&file.bytes, &identities)?);
    opened.sort();
    let mut expected = plain(&given);
    expected.sort();
    assert_eq!(opened, expected);
    Ok(())
}

#[test]
fn the_layout_is_that_of_sops() -> Outcome {
    let (_, recipient) = someone()?;
    let long = "k".repeat(129);
    let given = values(&[
        ("b/n", b"1"),
        ("a", b""),
        ("b/123", b"2"),
        (&format!("{long}/x"), b"3"),
        (&format!("{long}/y"), b"4"),
        (&format!("c/{long}"), b"5"),
    ]);
    let file = String::from_utf8(written(&given, std::slice::from_ref(&recipient))?.bytes)?;
    let masked: Vec<&str> = file
        .lines()
        .filter(|line| !line.starts_with("            ") || line.contains("-----"))
        .map(|line| line.split_once("ENC[").map_or(line, |(before, _)| before))
        .collect();
    let recipient = format!("          recipient: {recipient}");
    let expected = [
        "b:",
        "    \"n\": ",
        "    \"123\": ",
        "a: \"\"",
        &format!("? {long}"),
        ":   x: ",
        "    \"y\": ",
        "c:",
        &format!("    ? {long}"),
        "    : ",
        "sops:",
        "    age:",
        "        - enc: |",
        "            -----BEGIN AGE ENCRYPTED FILE-----",
        "            -----END AGE ENCRYPTED FILE-----",
        &recipient,
        "    lastmodified: \"2026-01-01T00:00:00Z\"",
        "    mac: ",
        "    unencrypted_suffix: _unencrypted",
        "    version: 3.13.2",
    ];
    assert_eq!(masked, expected);
    assert!(file.ends_with("version: 3.13.2\n"));
    Ok(())
}

#[test]
fn two_files_of_the_same_values_share_nothing() -> Outcome {
    let (_, recipient) = someone()?;
    let given = values(&[("a", b"x"), ("b", b"x")]);
    let mut random = counting();
    let entries: Vec<Entry<'_>> = given.iter().map(|(key, value)| Entry { key: key.clone(), value }).collect();
    let one = encrypt(&entries, std::slice::from_ref(&recipient), NOW, &mut random)?.metadata;
    let two = encrypt(&entries, &[recipient], NOW, &mut random)?.metadata;
    let all = [&one, &two].map(|file| file.leaves.values().map(|leaf| leaf.digest).chain([file.mac]));
    let all: std::collections::BTreeSet<_> = all.into_iter().flatten().collect();
    assert_eq!(all.len(), 6);
    Ok(())
}

#[test]
fn every_recipient_can_open_it_and_no_other() -> Outcome {
    let ((one, a), (two, b), (other, _)) = (someone()?, someone()?, someone()?);
    let file = written(&values(&[("a", b"x")]), &[a.clone(), b, a])?;
    assert_eq!(file.metadata.recipients.len(), 2);
    for identities in [&one, &two] {
        assert_eq!(decrypt(&file.bytes, identities)?.len(), 1);
    }
    assert!(
        matches!(decrypt(&file.bytes, &other), Err(DecryptError::NoIdentity { recipients }) if recipients.len() == 2)
    );
    Ok(())
}

#[test]
fn a_file_without_values_is_one() -> Outcome {
    let (identities, recipient) = someone()?;
    let file = written(&[], &[recipient])?;
    assert_eq!(SopsFile::read(&file.bytes)?, file.metadata);
    assert!(decrypt(&file.bytes, &identities)?.is_empty());
    Ok(())
}

#[test]
fn what_must_not_be_written_is_refused() -> Outcome {
    let (_, recipient) = someone()?;
    let to = [recipient];
    let refused = |keys: &[&str]| {
        let pairs: Vec<(&str, &[u8])> = keys.iter().map(|key| (*key, b"x".as_slice())).collect();
        written(&values(&pairs), &to).err()
    };
    let shown = |key: &str| path(key).joined();
    assert_eq!(refused(&["a/b_unencrypted/c"]), Some(EncryptError::Unencrypted(shown("a/b_unencrypted/c"))));
    assert_eq!(refused(&["sops/a"]), Some(EncryptError::Reserved(shown("sops/a"))));
    assert_eq!(refused(&["a/sops"]), None);
    assert_eq!(refused(&["a", "a"]), Some(EncryptError::Conflict(shown("a"))));
    assert_eq!(refused(&["a", "a/b"]), Some(EncryptError::Conflict(shown("a/b"))));
    assert_eq!(refused(&["a/b", "a"]), Some(EncryptError::Conflict(shown("a"))));
    assert_eq!(refused(&["a//b"]), Some(EncryptError::Key(shown("a//b"))));
    assert_eq!(refused(&["a\nb"]), Some(EncryptError::Key(shown("a\nb"))));
    assert_eq!(refused(&["k".repeat(1001).as_str()]), Some(EncryptError::Key(shown(&"k".repeat(1001)))));
    assert_eq!(refused(&["a/".repeat(129).as_str()]), Some(EncryptError::Key(shown(&"a/".repeat(129)))));
    assert_eq!(written(&values(&[("a", b"x")]), &[]).err(), Some(EncryptError::NoRecipients));
    for time in
        ["2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00+00:00", "2026-13-01T00:00:00Z", "2026-01-01 00:00:00Z", ""]
    {
        assert_eq!(encrypt(&[], &to, time, &mut counting()).err(), Some(EncryptError::Time), "{time}");
    }
    Ok(())
}

#[test]
fn tampering_is_caught() -> Outcome {
    let (identities, recipient) = someone()?;
    let given = values(&[("a", b"one"), ("b", b"two"), ("c", b""), ("d", b"four")]);
    let file = String::from_utf8(written(&given, &[recipient])?.bytes)?;
    let line = |key: &str| file.lines().find(|line| line.starts_with(key)).ok_or("no such line");
    let (a, b) = (line("a:")?, line("b:")?);
    let swapped =
        file.replace(a, "SWAP").replace(b, &format!("b{}", &a[1..])).replace("SWAP", &format!("a{}", &b[1..]));
    let value = |line| move |error| matches!(error, DecryptError::Value { line: at, .. } if at == line);
    type Check<'a> = Box<dyn Fn(DecryptError) -> bool + 'a>;
    let cases: Vec<(String, Check<'_>)> = vec![
        (swapped, Box::new(value(1))),
        (file.replace("b: ENC", "bb: ENC"), Box::new(value(2))),
        (file.replace(&format!("{b}\n"), ""), Box::new(|e| e == DecryptError::Mac)),
        (file.replace(&format!("{a}\n{b}\n"), &format!("{b}\n{a}\n")), Box::new(|e| e == DecryptError::Mac)),
        (file.replace(b, "b: \"\""), Box::new(|e| e == DecryptError::Mac)),
        (file.replace(b, "b: two"), Box::new(|e| matches!(e, DecryptError::NotEncrypted { line: 2, .. }))),
        (file.replace(NOW, "2026-01-01T00:00:01Z"), Box::new(|e| e == DecryptError::Mac)),
        (file.replace("c: \"\"", "c_unencrypted: x"), Box::new(|e| e == DecryptError::Mac)),
        (file.replace("version:", "mac_only_encrypted: true\n    version:"), Box::new(|e| e == DecryptError::Mac)),
    ];
    for (n, (text, expected)) in cases.into_iter().enumerate() {
        let error = decrypt(text.as_bytes(), &identities).err().ok_or_else(|| format!("case {n} was opened"))?;
        assert!(expected(error.clone()), "case {n}: {error:?}");
    }
    // Nothing stands outside of what is authenticated but null and empty collections.
    let opened = decrypt(file.replace("d: ENC", "e: null\nf: {}\ng: []\nd: ENC").as_bytes(), &identities)?;
    assert_eq!(opened.len(), 4);
    Ok(())
}

#[test]
fn what_is_no_whole_sops_file_is_named() -> Outcome {
    let (_, recipient) = someone()?;
    let file = String::from_utf8(written(&values(&[("a", b"one"), ("b/c", b"two")]), &[recipient])?.bytes)?;
    let cut = |at: &str| file.find(at).map(|end| file[..end].to_owned()).ok_or("no such place");
    let read = |text: &str| SopsFile::read(text.as_bytes()).err();
    let line = |line| {
        move |error: &ReadError| match error {
            ReadError::DuplicateKey { line: at, .. }
            | ReadError::KeyNotText { line: at, .. }
            | ReadError::Alias { line: at }
            | ReadError::Value { line: at, .. }
            | ReadError::TooDeep { line: at }
            | ReadError::NotAMapping { line: at } => *at == line,
            _ => false,
        }
    };
    assert_eq!(read(""), Some(ReadError::Empty));
    assert_eq!(read("a: b\n"), Some(ReadError::NotEncrypted));
    assert_eq!(read("$ANSIBLE_VAULT;1.1;AES256\n"), Some(ReadError::OtherTool("a file of Ansible Vault")));
    assert_eq!(SopsFile::read(b"a: \xff").err(), Some(ReadError::NotText { offset: 3 }));
    for at in ["sops:\n", "    lastmodified", "    mac", "    version"] {
        assert_eq!(read(&cut(at)?), Some(ReadError::CutOff), "cut before {at}");
    }
    assert_eq!(read(&format!("{}<<<<<<< HEAD\n", cut("b:")?)), Some(ReadError::Conflict { line: 2 }));
    assert!(read(&file.replace(",type:str]\nb", ",typ\nb")).is_some_and(|e| line(1)(&e)));
    assert!(read(&format!("a: x\n{file}")).is_some_and(|e| line(2)(&e)));
    assert!(read(&format!("{file}sops: {{}}\n")).is_some_and(|e| matches!(e, ReadError::DuplicateKey { .. })));
    assert!(read(&format!("1: x\n{file}")).is_some_and(|e| line(1)(&e)));
    assert!(read(&format!("x: &x y\nz: *x\n{file}")).is_some_and(|e| line(2)(&e)));
    assert!(read(&format!("x: {}{}\n{file}", "[".repeat(200), "]".repeat(200))).is_some_and(|e| line(1)(&e)));
    assert!(read("- a\n").is_some_and(|e| line(1)(&e)));
    assert!(matches!(read("sops: x\n"), Some(ReadError::MetadataNotAMapping { line: 1 })));
    assert!(matches!(read("a: 'x\n"), Some(ReadError::Syntax { .. })));
    assert_eq!(
        read(&file.replace("    version", "    encrypted_regex: x\n    version")),
        Some(ReadError::TwoRules("unencrypted_suffix", "encrypted_regex"))
    );
    Ok(())
}

/// A file that sops 3.13 wrote for a data key of 32 `f` that was given to it.
#[test]
fn a_value_that_sops_sealed_is_opened_and_sealed_alike() -> Outcome {
    const SEALED: &str = "ENC[AES256_GCM,data:YHzp,iv:Ab6bkcRD12TBh1ve6CJpvnZgg+duwRx116h4vvLX+9o=,\
                          tag:7ccsMx5cXFnqbJKnl+SdvA==,type:str]";
    let cipher = value::Cipher::new(&value::DataKey::new([b'f'; 32]));
    let sealed = value::Sealed::parse(SEALED).ok_or("not taken apart")?;
    assert_eq!(sealed.open(&cipher, "bar:").as_deref().map(Vec::as_slice), Some(b"foo".as_slice()));
    assert!(sealed.open(&cipher, "baz:").is_none());
    let mut iv = |bytes: &mut [u8]| {
        use base64::Engine as _;
        let decoded = base64::engine::general_purpose::STANDARD.decode("Ab6bkcRD12TBh1ve6CJpvnZgg+duwRx116h4vvLX+9o=");
        bytes.copy_from_slice(&decoded.unwrap_or_default());
    };
    let mut out = String::new();
    let mut buffer = zeroize::Zeroizing::new(b"foo".to_vec());
    cipher.seal(&mut buffer, "bar:", &mut iv, &mut out).map_err(|_| "too long")?;
    assert_eq!(out, SEALED);
    Ok(())
}

#[test]
fn foreign_keys_lists_and_documents_are_seen() -> Outcome {
    let (_, recipient) = someone()?;
    let file = String::from_utf8(written(&values(&[("a", b"one")]), &[recipient])?.bytes)?;
    let text = file.replace(
        "    lastmodified",
        "    pgp:\n        - fp: AB\n          enc: x\n    kms: []\n    shamir_threshold: 2\n    lastmodified",
    );
    let seen = SopsFile::read(format!("l:\n  - null\n  - k: {{}}\n    j: v\ne:\n{text}---\na: second\n").as_bytes())?;
    assert_eq!(seen.other_keys.iter().map(|kind| kind.printable()).collect::<Vec<_>>(), ["pgp"]);
    assert!(seen.key_groups);
    let paths: Vec<_> = seen.leaves.keys().map(|key| key.joined().printable()).collect();
    assert_eq!(paths, ["(document 2)/a", "a", "e", "l/0", "l/1/j", "l/1/k"]);
    assert_eq!(seen.leaves[&path("e")].length, 4, "null is no empty value");
    assert_eq!(seen.leaves[&path("e")].kind, LeafKind::Nothing);
    Ok(())
}

#[test]
fn ssh_host_keys_become_recipients() {
    // The recipient was computed from the private half by another implementation.
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGhblT0oGKVhs/DytdpJbs/OIB85LqS4qCK9yKtaUHKz host@example\n";
    let expected = "age1uaqe6lvmnnttxsy42g8yn37xxugjuqekfcf0dpmjf7wym49js9lsh5lkrs";
    assert_eq!(Recipient::from_ssh_ed25519(line).map(|r| r.to_string()), Ok(expected.to_owned()));
    for (line, why) in [
        ("ssh-rsa AAAA x", SshKeyError::Kind("ssh-rsa".to_owned())),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", SshKeyError::Private),
        ("", SshKeyError::Malformed),
        ("ssh-ed25519", SshKeyError::Malformed),
        ("ssh-ed25519 AAAA", SshKeyError::Malformed),
        // The neutral element, and a y that is on no point of the curve.
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", SshKeyError::Malformed),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", SshKeyError::Malformed),
    ] {
        assert_eq!(Recipient::from_ssh_ed25519(line), Err(why), "{line}");
    }
}

/// Keys that YAML could take for something else, and any other.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_.-]{1,12}",
        "[-+]?[0-9][0-9_.:eExob-]{0,8}",
        "(true|no|Off|y|~|null|NULL|<<|\\.inf|0x1f|2026-01-01|=|---|\\?|- a|a: b|#|a #b|\\*a|&a|!a|%a|@a|`)",
        "\\PC{1,10}",
        any::<char>().prop_map(String::from),
    ]
    .prop_filter("refused", |key| {
        key != "sops" && !key.ends_with("_unencrypted") && !key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'])
    })
}

proptest! {
    #[test]
    fn any_values_come_back(tree in prop::collection::btree_map(
        prop::collection::vec(key(), 1..4), prop::collection::vec(any::<u8>(), 0..40), 0..12,
    )) {
        let (identities, recipient) = someone()?;
        let given: Vec<_> = tree.into_iter().map(|(key, value)| (KeyPath::new(key), SecretValue::new(value))).collect();
        match written(&given, &[recipient]) {
            Err(EncryptError::Conflict(_)) => {}
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok(file) => {
                prop_assert_eq!(SopsFile::read(&file.bytes)?, file.metadata);
                let mut opened = plain(&decrypt(&file.bytes, &identities)?);
                opened.sort();
                prop_assert_eq!(opened, plain(&given));
            }
        }
    }

    #[test]
    fn reading_anything_ends(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "(sops|[a-z]|: |\n|- |    |ENC\\[AES256_GCM,|[\\[\\]{}'\"&*?|])*") {
        prop_assert!(SopsFile::read(&bytes).is_err());
        prop_assert!(SopsFile::read(text.as_bytes()).is_err());
    }
}
