//! The sops file format: read without any key, written with public keys alone.

mod decrypt;
mod document;
mod identity;
mod model;
mod read;
mod recipient;
mod value;
mod write;
mod yaml;

#[cfg(test)]
mod tests;

pub use decrypt::{DecryptError, decrypt};
pub use document::ReadError;
pub use identity::{Identities, IdentityError};
pub use model::{Leaf, LeafKind, SopsFile};
pub use recipient::{Recipient, RecipientError};
pub use write::{EncryptError, EncryptedFile, Entry, encrypt};
