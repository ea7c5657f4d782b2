//! What a sops file shows without a key.

use std::collections::BTreeMap;

use crate::address::KeyPath;
use crate::digest::Digest;
use crate::text::Untrusted;

/// The metadata of a sops file. Recipients are *claimed*: nobody without a key can tell whether they really decrypt it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SopsFile {
    /// Of the whole file.
    pub digest: Digest,
    /// Every scalar leaf by its path; list elements share the path of their list with their index appended.
    pub leaves: BTreeMap<KeyPath, Leaf>,
    /// age recipients as they stand there, each with the digest of its encrypted data key.
    pub recipients: BTreeMap<Untrusted, Digest>,
    /// Other kinds of key that can open the file, such as `pgp` or `kms`: somebody else put them there.
    pub other_keys: Vec<Untrusted>,
    /// Shamir key groups: such a file is not ours to write.
    pub key_groups: bool,
    /// When sops or we last wrote it, RFC 3339 as it stands there.
    pub last_modified: Untrusted,
    /// Of the encrypted MAC.
    pub mac: Digest,
    /// The version of sops that the file names.
    pub version: Untrusted,
}

/// One leaf of a sops file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Of the `ENC[…]` text, or of the scalar where it stands in the clear.
    pub digest: Digest,
    /// The type that sops recorded.
    pub kind: LeafKind,
    /// The plaintext's length in bytes, which the ciphertext shows; it is never displayed.
    pub length: usize,
}

/// The type of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafKind {
    /// `type:str`, the only one that sops-nix installs.
    Str,
    /// `type:int`
    Int,
    /// `type:float`
    Float,
    /// `type:bool`
    Bool,
    /// `type:bytes`
    Bytes,
    /// `type:time`
    Time,
    /// `type:comment`
    Comment,
    /// `null`, `{}` or `[]`, never encrypted: it holds nothing.
    Nothing,
    /// Not encrypted. The empty string is written so, too.
    Clear,
}
