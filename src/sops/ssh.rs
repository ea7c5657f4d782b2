//! The age recipient of an ssh host key, converted as sops-nix converts the private half: the same point of the curve,
//! from its Edwards form to its Montgomery form, u = (1+y)/(1−y).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bech32::{Bech32, Hrp};
use curve25519_dalek::edwards::CompressedEdwardsY;

use super::recipient::Recipient;

/// Why a line is no ssh key that can be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SshKeyError {
    /// Another kind of ssh key.
    #[error("only ssh-ed25519 keys have an age recipient, and this is {0}: look for ssh_host_ed25519_key.pub")]
    Kind(String),
    /// A private key.
    #[error("this is a private ssh key: give the file that ends in .pub")]
    Private,
    /// Not a public key.
    #[error("not a public ssh key: it must be `ssh-ed25519`, base64 and a comment")]
    Malformed,
}

impl Recipient {
    /// The recipient of a public ssh key as it stands in its `.pub` file: `ssh-ed25519 AAAA… comment`.
    ///
    /// # Errors
    /// When the line is no such key, or its point is of no use for encryption.
    pub fn from_ssh_ed25519(line: &str) -> Result<Self, SshKeyError> {
        let point = CompressedEdwardsY(point(line)?);
        let point = point.decompress().filter(|point| !point.is_small_order()).ok_or(SshKeyError::Malformed)?;
        let text = bech32::encode::<Bech32>(Hrp::parse_unchecked("age"), &point.to_montgomery().to_bytes());
        text.ok().and_then(|text| text.parse().ok()).ok_or(SshKeyError::Malformed)
    }
}

/// The 32 bytes of the key.
fn point(line: &str) -> Result<[u8; 32], SshKeyError> {
    const NAME: &[u8] = b"ssh-ed25519";
    if line.starts_with("-----BEGIN") {
        return Err(SshKeyError::Private);
    }
    let mut words = line.split_ascii_whitespace();
    match words.next() {
        Some("ssh-ed25519") => {}
        Some(kind) if is_kind(kind) => return Err(SshKeyError::Kind(kind.to_owned())),
        _ => return Err(SshKeyError::Malformed),
    }
    let blob = words.next().and_then(|word| STANDARD.decode(word).ok()).ok_or(SshKeyError::Malformed)?;
    // Two strings, each behind its length: the kind once more, and the key.
    let rest = blob.strip_prefix(&[0, 0, 0, 11]).and_then(|rest| rest.strip_prefix(NAME));
    let key = rest.and_then(|rest| rest.strip_prefix(&[0, 0, 0, 32]));
    key.and_then(|key| key.try_into().ok()).ok_or(SshKeyError::Malformed)
}

fn is_kind(word: &str) -> bool {
    let known = ["ssh-", "ecdsa-", "sk-"].iter().any(|start| word.starts_with(start));
    known && word.len() < 64 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-@.".contains(&b))
}
