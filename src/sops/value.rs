//! One encrypted value, `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`: its parts, and how it is sealed and opened.

use aes_gcm::aead::consts::U32;
use aes_gcm::aes::Aes256;
use aes_gcm::{AeadInOut as _, AesGcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::model::LeafKind;

/// What every encrypted value begins with.
pub(super) const PREFIX: &str = "ENC[AES256_GCM,";
/// The length of an initialization vector in bytes: sops's own choice, not the usual 12.
const IV: usize = 32;
/// The length of an authentication tag in bytes.
const TAG: usize = 16;

/// The key of one file: 32 random bytes, made anew at every write.
pub(super) type DataKey = Zeroizing<[u8; 32]>;

/// An encrypted value taken apart; nothing is decoded yet.
pub(super) struct Sealed<'a> {
    data: &'a str,
    iv: &'a str,
    tag: &'a str,
    /// The type of the plaintext.
    pub kind: LeafKind,
    /// The plaintext's length in bytes.
    pub length: usize,
}

impl<'a> Sealed<'a> {
    /// Takes `text` apart, or `None` when it is not whole.
    pub fn parse(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix("data:")?.strip_suffix(']')?;
        let (data, rest) = rest.split_once(",iv:")?;
        let (iv, rest) = rest.split_once(",tag:")?;
        let (tag, kind) = rest.split_once(",type:")?;
        let length = decoded_length(data).filter(|length| *length > 0)?;
        if decoded_length(iv)? != IV || decoded_length(tag)? != TAG {
            return None;
        }
        Some(Self { data, iv, tag, kind: kind_of(kind)?, length })
    }

    /// The plaintext, if `cipher` and `additional` are those it was sealed with.
    pub fn open(&self, cipher: &Cipher, additional: &str) -> Option<Zeroizing<Vec<u8>>> {
        let iv: [u8; IV] = STANDARD.decode(self.iv).ok()?.try_into().ok()?;
        let tag: [u8; TAG] = STANDARD.decode(self.tag).ok()?.try_into().ok()?;
        let mut bytes = Zeroizing::new(STANDARD.decode(self.data).ok()?);
        let opened = cipher.0.decrypt_inout_detached(
            &iv.into(),
            additional.as_bytes(),
            bytes.as_mut_slice().into(),
            &tag.into(),
        );
        opened.ok().map(|()| bytes)
    }
}

/// The number of bytes that padded base64 stands for, or `None` when it is no base64.
fn decoded_length(text: &str) -> Option<usize> {
    let digits = text.strip_suffix("==").or_else(|| text.strip_suffix('=')).unwrap_or(text);
    let whole = text.len().is_multiple_of(4);
    let plain = digits.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    (whole && plain).then(|| text.len() / 4 * 3 - (text.len() - digits.len()))
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

/// AES-256-GCM under one data key.
pub(super) struct Cipher(AesGcm<Aes256, U32>);

/// AES-GCM refuses what is longer than 64 GiB.
#[derive(Debug)]
pub(super) struct TooLong;

impl Cipher {
    /// The cipher of the file whose data key this is.
    pub fn new(key: &DataKey) -> Self {
        Self(AesGcm::new((&**key).into()))
    }

    /// Appends the encrypted form of `buffer` to `out`. The buffer holds ciphertext afterwards.
    pub fn seal(
        &self,
        buffer: &mut Zeroizing<Vec<u8>>,
        additional: &str,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut String,
    ) -> Result<(), TooLong> {
        let mut iv = [0; IV];
        random(&mut iv);
        let sealed = self.0.encrypt_inout_detached(&iv.into(), additional.as_bytes(), buffer.as_mut_slice().into());
        let tag = sealed.map_err(|_| TooLong)?;
        out.push_str(PREFIX);
        for (name, bytes) in [("data:", buffer.as_slice()), (",iv:", &iv), (",tag:", &tag)] {
            out.push_str(name);
            STANDARD.encode_string(bytes, out);
        }
        out.push_str(",type:str]");
        Ok(())
    }
}

/// The hash over every plaintext of a file in document order, which the file carries encrypted as its MAC.
#[derive(Default)]
pub(super) struct Mac(Sha512);

impl Mac {
    /// One for a file with `mac_only_encrypted`, which begins with bytes of its own so that no MAC fits both kinds.
    pub fn of_encrypted_only() -> Self {
        let mut mac = Self::default();
        mac.update(&sha2::Sha256::digest(b"sops"));
        mac
    }

    /// Adds the plaintext of the next leaf.
    pub fn update(&mut self, plaintext: &[u8]) {
        self.0.update(plaintext);
    }

    /// 128 upper-case hexadecimal characters. They tell something of the plaintexts, so they are wiped, too.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        let mut hash = self.0.finalize();
        let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble & 15)];
        let mut text = Zeroizing::new(Vec::with_capacity(2 * hash.len()));
        for byte in &hash {
            text.extend([digit(byte >> 4), digit(*byte)]);
        }
        zeroize::Zeroize::zeroize(hash.as_mut_slice());
        text
    }
}
