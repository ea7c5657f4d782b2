//! One value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:str]`, AES-256-GCM with a 32-byte IV under the file's data key.

use std::fmt::Write;

use aes_gcm::aead::consts::U32;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInOut, AesGcm, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::model::LeafKind;

/// The length of a data key and of an IV, in bytes.
pub(super) const KEY: usize = 32;
/// The length of a tag, in bytes.
const TAG: usize = 16;

/// The data key of one file.
pub(super) struct DataKey(AesGcm<Aes256, U32>);

/// The parts of an encrypted value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// As long as the plaintext.
    pub(super) data: Vec<u8>,
    iv: [u8; KEY],
    tag: [u8; TAG],
    pub(super) kind: LeafKind,
}

/// The value does not belong to this key and place.
#[derive(Debug)]
pub(super) struct Unauthentic;

impl DataKey {
    pub(super) fn new(key: &[u8; KEY]) -> Self {
        Self(AesGcm::new(key.into()))
    }

    /// Encrypts `plaintext` for the place `additional`, such as `tailscale:auth-key:`.
    pub(super) fn seal(&self, plaintext: &[u8], additional: &str, iv: [u8; KEY]) -> Sealed {
        // With room for the tag, so that the plaintext is never moved; it is overwritten in place.
        let mut buffer = Vec::with_capacity(plaintext.len() + TAG);
        buffer.extend_from_slice(plaintext);
        // It fails only beyond 64 GiB, which no file of ours can hold.
        let sealed = self.0.encrypt_in_place((&iv).into(), additional.as_bytes(), &mut buffer);
        assert!(sealed.is_ok(), "a value of more than 64 GiB");
        let mut tag = [0; TAG];
        tag.copy_from_slice(&buffer[plaintext.len()..]);
        buffer.truncate(plaintext.len());
        Sealed { data: buffer, iv, tag, kind: LeafKind::Str }
    }

    pub(super) fn open(&self, sealed: &Sealed, additional: &str) -> Result<Zeroizing<Vec<u8>>, Unauthentic> {
        let mut buffer = Zeroizing::new(Vec::with_capacity(sealed.data.len() + TAG));
        buffer.extend_from_slice(&sealed.data);
        buffer.extend_from_slice(&sealed.tag);
        let opened = self.0.decrypt_in_place((&sealed.iv).into(), additional.as_bytes(), &mut *buffer);
        opened.map(|()| buffer).map_err(|_| Unauthentic)
    }
}

impl Sealed {
    pub(super) fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.data.len() * 4 / 3 + 128);
        text.push_str("ENC[AES256_GCM,data:");
        STANDARD.encode_string(&self.data, &mut text);
        text.push_str(",iv:");
        STANDARD.encode_string(self.iv, &mut text);
        text.push_str(",tag:");
        STANDARD.encode_string(self.tag, &mut text);
        let _ = write!(text, ",type:{}]", type_text(self.kind));
        text
    }

    /// Reads one; `None` when the text is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
        let (data, rest) = inner.split_once(",iv:")?;
        let (iv, rest) = rest.split_once(",tag:")?;
        let (tag, kind) = rest.split_once(",type:")?;
        Some(Self {
            data: STANDARD.decode(data).ok()?,
            iv: STANDARD.decode(iv).ok()?.try_into().ok()?,
            tag: STANDARD.decode(tag).ok()?.try_into().ok()?,
            kind: kind_of(kind)?,
        })
    }
}

/// Whether a text is meant as an encrypted value.
pub(super) fn looks_encrypted(text: &str) -> bool {
    text.starts_with("ENC[") && text.ends_with(']')
}

fn type_text(kind: LeafKind) -> &'static str {
    match kind {
        LeafKind::Int => "int",
        LeafKind::Float => "float",
        LeafKind::Bool => "bool",
        LeafKind::Bytes => "bytes",
        LeafKind::Time => "time",
        LeafKind::Comment => "comment",
        LeafKind::Str | LeafKind::Clear => "str",
    }
}

fn kind_of(text: &str) -> Option<LeafKind> {
    Some(match text {
        "str" => LeafKind::Str,
        "int" => LeafKind::Int,
        "float" => LeafKind::Float,
        "bool" => LeafKind::Bool,
        "bytes" => LeafKind::Bytes,
        "time" => LeafKind::Time,
        "comment" => LeafKind::Comment,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of sops's own `aes/cipher_test.go`.
    #[test]
    fn the_known_answer_of_sops_holds() {
        let text = "ENC[AES256_GCM,data:oYyi,iv:MyIDYbT718JRr11QtBkcj3Dwm4k1aCGZBVeZf0EyV8o=,tag:t5z2Z023Up0kxwCgw1gNxg==,type:str]";
        let key = DataKey::new(&[b'f'; KEY]);
        let sealed = Sealed::read(text).unwrap_or_else(|| panic!("not read"));
        assert_eq!(key.open(&sealed, "bar:").map(|value| value.to_vec()).ok().as_deref(), Some(&b"foo"[..]));
        assert_eq!(key.seal(b"foo", "bar:", sealed.iv).to_text(), text);
        assert!(key.open(&sealed, "baz:").is_err());
    }
}
