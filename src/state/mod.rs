//! What is kept between runs: the receipt, the fingerprint key, the lock and the last ciphertexts; and the dataset
//! directory. Files are written whole or not at all.

mod dataset;
mod directory;
mod lock;
mod whole;

pub use dataset::{Dataset, PUBLIC_FILE_LIMIT, SOPS_FILE_LIMIT};
pub use directory::{Directory, StateError};
pub use lock::{Holder, Lock};
pub use whole::FileError;
