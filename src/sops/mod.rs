//! The sops file format: read without any key, written with public keys alone, opened on the machine that holds one.

mod decrypt;
mod identity;
mod model;
mod read;
mod recipient;
mod ssh;
mod tree;
mod value;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

pub use decrypt::{DecryptError, decrypt};
pub use identity::{Identities, IdentityError};
pub use model::{Leaf, LeafKind, SopsFile};
pub use read::ReadError;
pub use recipient::{Recipient, RecipientError};
pub use ssh::SshKeyError;
pub use write::{EncryptError, EncryptedFile, Entry, encrypt};
