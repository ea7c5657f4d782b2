//! The sops file format: read without any key, written with public keys alone.

mod model;
mod recipient;

pub use model::{Leaf, LeafKind, SopsFile};
pub use recipient::{Recipient, RecipientError};
