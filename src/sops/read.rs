//! What a sops file shows without a key: keys, types, lengths, claimed recipients. Layouts of sops 3.8 to 3.13.

use std::collections::BTreeMap;

use crate::digest::Digest;
use crate::text::Untrusted;

use super::document::{Document, Node, RawLeaf, ReadError, Scalar};
use super::model::{Leaf, LeafKind, SopsFile};
use super::value::{Sealed, looks_encrypted};

impl SopsFile {
    /// Reads a sops file without any key.
    ///
    /// # Errors
    /// When it is no complete sops file.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let document = Document::read(bytes)?;
        let mut leaves = BTreeMap::new();
        for leaf in &document.leaves {
            leaves.insert(leaf.path.clone(), read_leaf(leaf)?);
        }
        let metadata = Metadata::of(&document.sops)?;
        Ok(Self {
            digest: Digest::of(bytes),
            leaves,
            recipients: metadata
                .age
                .iter()
                .map(|(recipient, enc)| (Untrusted::new(*recipient), Digest::of(enc.as_bytes())))
                .collect(),
            other_keys: metadata.other_keys.into_iter().map(Untrusted::new).collect(),
            key_groups: metadata.key_groups,
            last_modified: Untrusted::new(metadata.last_modified),
            mac: Digest::of(metadata.mac.as_bytes()),
            version: Untrusted::new(metadata.version),
        })
    }
}

fn read_leaf(leaf: &RawLeaf) -> Result<Leaf, ReadError> {
    let Scalar { text, line, .. } = &leaf.scalar;
    let digest = Digest::of(text.as_bytes());
    if !looks_encrypted(text) {
        return Ok(Leaf { digest, kind: LeafKind::Clear, length: text.len() });
    }
    let sealed = Sealed::read(text).ok_or(ReadError::Value(*line))?;
    Ok(Leaf { digest, kind: sealed.kind, length: sealed.data.len() })
}

/// sops's own block.
pub(super) struct Metadata<'a> {
    /// Recipients and their armored data keys.
    pub(super) age: Vec<(&'a str, &'a str)>,
    other_keys: Vec<&'a str>,
    key_groups: bool,
    pub(super) last_modified: &'a str,
    pub(super) mac: &'a str,
    version: &'a str,
    pub(super) mac_only_encrypted: bool,
}

impl<'a> Metadata<'a> {
    pub(super) fn of(sops: &'a [(String, Node)]) -> Result<Self, ReadError> {
        let text = |name: &'static str| text_of(sops, name).ok_or(ReadError::Metadata(name));
        let mut age = Vec::new();
        for entry in list_of(sops, "age") {
            let Node::Map(entry) = entry else { return Err(ReadError::Metadata("age")) };
            let part = |name| text_of(entry, name).ok_or(ReadError::Metadata("age"));
            age.push((part("recipient")?, part("enc")?));
        }
        let other = ["kms", "gcp_kms", "azure_kv", "hc_vault", "hckms", "pgp"];
        let other_keys: Vec<&str> = other.into_iter().filter(|kind| !list_of(sops, kind).is_empty()).collect();
        let key_groups =
            !list_of(sops, "key_groups").is_empty() || text_of(sops, "shamir_threshold").is_some_and(|n| n != "0");
        if age.is_empty() && other_keys.is_empty() && !key_groups {
            return Err(ReadError::Metadata("age"));
        }
        let mac_only_encrypted = text_of(sops, "mac_only_encrypted") == Some("true");
        let (last_modified, mac, version) = (text("lastmodified")?, text("mac")?, text("version")?);
        if Sealed::read(mac).is_none() {
            return Err(ReadError::Metadata("mac"));
        }
        Ok(Self { age, other_keys, key_groups, last_modified, mac, version, mac_only_encrypted })
    }
}

fn node_of<'a>(map: &'a [(String, Node)], name: &str) -> Option<&'a Node> {
    map.iter().find(|(key, _)| key == name).map(|(_, node)| node)
}

fn text_of<'a>(map: &'a [(String, Node)], name: &str) -> Option<&'a str> {
    match node_of(map, name)? {
        Node::Scalar(scalar) if !scalar.text.is_empty() => Some(&scalar.text),
        _ => None,
    }
}

fn list_of<'a>(map: &'a [(String, Node)], name: &str) -> &'a [Node] {
    match node_of(map, name) {
        Some(Node::List(items)) => items,
        _ => &[],
    }
}
