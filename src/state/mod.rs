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

/// Makes a file of mode 0600 that must not be there yet, in a directory of mode 0700 that is made with its parents when
/// there is none. `false` when the file is there.
///
/// # Errors
/// When it cannot be written.
pub fn create_private(path: &std::path::Path, bytes: &[u8]) -> Result<bool, FileError> {
    let no_file = || whole::system(path, "making it", rustix::io::Errno::INVAL);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(no_file());
    };
    whole::Held::open_or_create(parent, 0o700)?.create(name, bytes, 0o600)
}
