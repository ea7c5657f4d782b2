//! How Bitwarden seals: keys from a master password, and the cipherstrings of type 2 (AES-256-CBC, then HMAC-SHA256).

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const BLOCK: usize = 16;

/// What seals: a key to encrypt with and one to authenticate with.
#[derive(Clone)]
pub struct Key {
    encryption: [u8; 32],
    authentication: [u8; 32],
}

impl Key {
    /// A new one.
    pub fn random() -> Self {
        Self::from_bytes(&random::<64>()).expect("64 bytes")
    }

    /// From the 64 bytes that another key seals.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (encryption, authentication) = bytes.split_at_checked(32)?;
        Some(Self { encryption: encryption.try_into().ok()?, authentication: authentication.try_into().ok()? })
    }

    /// The 64 bytes.
    pub fn bytes(&self) -> Vec<u8> {
        [self.encryption, self.authentication].concat()
    }

    /// `plain` as a cipherstring, with an IV of its own: twice the same text gives two cipherstrings.
    pub fn seal(&self, plain: &[u8]) -> String {
        let iv: [u8; BLOCK] = random();
        let padding = BLOCK - plain.len() % BLOCK;
        let padded = [plain, &vec![u8::try_from(padding).expect("at most a block"); padding]].concat();
        let cipher = Aes256::new(&self.encryption.into());
        let mut sealed: Vec<u8> = Vec::with_capacity(padded.len());
        let mut before = iv;
        for chunk in padded.chunks_exact(BLOCK) {
            let mut block = xor(chunk, &before).into();
            cipher.encrypt_block(&mut block);
            before = block.into();
            sealed.extend(before);
        }
        let mac = hmac(&self.authentication, &[&iv, &sealed]);
        format!("2.{}|{}|{}", STANDARD.encode(iv), STANDARD.encode(sealed), STANDARD.encode(mac))
    }

    /// What `cipherstring` holds, if this key sealed it.
    pub fn open(&self, cipherstring: &str) -> Option<Vec<u8>> {
        let parts: Vec<Vec<u8>> = cipherstring
            .strip_prefix("2.")?
            .split('|')
            .map(|part| STANDARD.decode(part))
            .collect::<Result<_, _>>()
            .ok()?;
        let [iv, sealed, mac] = parts.try_into().ok()?;
        if hmac(&self.authentication, &[&iv, &sealed]).as_slice() != mac || !sealed.len().is_multiple_of(BLOCK) {
            return None;
        }
        let cipher = Aes256::new(&self.encryption.into());
        let mut plain: Vec<u8> = Vec::with_capacity(sealed.len());
        let mut before: [u8; BLOCK] = iv.try_into().ok()?;
        for chunk in sealed.chunks_exact(BLOCK) {
            let chunk: [u8; BLOCK] = chunk.try_into().ok()?;
            let mut block = chunk.into();
            cipher.decrypt_block(&mut block);
            plain.extend(xor(&block, &before));
            before = chunk;
        }
        let padding = usize::from(*plain.last()?);
        plain.truncate(plain.len().checked_sub(padding)?);
        Some(plain)
    }
}

/// What a master password gives.
pub struct Master {
    /// Seals the account's own key.
    pub key: Key,
    /// What is sent to log in.
    pub login: String,
}

impl Master {
    /// With `rounds` of PBKDF2.
    pub fn derive(email: &str, password: &str, rounds: u32) -> Self {
        let master = pbkdf2(password.as_bytes(), email.as_bytes(), rounds);
        let login = STANDARD.encode(pbkdf2(&master, password.as_bytes(), 1));
        // HKDF-Expand of one block
        let stretched = |purpose: &[u8]| hmac(&master, &[purpose, &[1]]);
        Self { key: Key { encryption: stretched(b"enc"), authentication: stretched(b"mac") }, login }
    }
}

/// PBKDF2-HMAC-SHA256 of one block.
fn pbkdf2(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(password).expect("any length");
    let mut last: [u8; 32] =
        keyed.clone().chain_update(salt).chain_update(1_u32.to_be_bytes()).finalize().into_bytes().into();
    let mut sum = last;
    for _ in 1..rounds {
        last = keyed.clone().chain_update(last).finalize().into_bytes().into();
        sum.iter_mut().zip(last).for_each(|(sum, last)| *sum ^= last);
    }
    sum
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let keyed = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("any length");
    parts.iter().fold(keyed, |mac, part| mac.chain_update(part)).finalize().into_bytes().into()
}

fn xor(left: &[u8], right: &[u8; BLOCK]) -> [u8; BLOCK] {
    std::array::from_fn(|at| left[at] ^ right[at])
}

/// `N` bytes that nobody knows.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("randomness");
    bytes
}

/// A random UUID.
pub fn uuid() -> String {
    let mut bytes: [u8; 16] = random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
