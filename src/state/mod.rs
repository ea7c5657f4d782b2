//! What is kept between runs: the receipt, the fingerprint key, the lock and the last ciphertexts; and the dataset
//! directory. Files are written whole or not at all.

mod dataset;
mod directory;
mod lock;
mod receipt;
mod shared;
mod whole;

pub use dataset::{Dataset, PUBLIC_FILE_LIMIT, SOPS_FILE_LIMIT};
pub use directory::{Directory, StateError};
pub use lock::{Holder, Lock};
pub use shared::Conflict;
pub use whole::FileError;

use std::path::Path;

use zeroize::Zeroizing;

/// Makes a file of mode 0600 that must not be there yet, in a directory of mode 0700 that is made with its parents when
/// there is none. `false` when the file is there.
///
/// # Errors
/// When it cannot be written.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<bool, FileError> {
    let (directory, name) = directory_of(path)?;
    directory.create(name, bytes, 0o600)
}

/// Replaces a file by what `new` makes of it, as a whole and of mode 0600; its directory is made when there is none. It
/// is never reached through a symlink. `false` when it is the same already.
///
/// # Errors
/// When it is no regular file, changes in the meantime, or cannot be written; or what `new` says.
pub fn replace_private<E: From<FileError>>(
    path: &Path,
    limit: u64,
    new: impl FnOnce(Option<&[u8]>) -> Result<Zeroizing<Vec<u8>>, E>,
) -> Result<bool, E> {
    let (directory, name) = directory_of(path)?;
    let there = directory.read(name, limit)?.map(Zeroizing::new);
    let bytes = new(there.as_deref().map(Vec::as_slice))?;
    if there.as_ref() == Some(&bytes) {
        return Ok(false);
    }
    let as_read = || match directory.read(name, limit)?.map(Zeroizing::new) == there {
        true => Ok(()),
        false => Err(FileError::Moved { path: path.to_path_buf() }),
    };
    directory.replace(name, &bytes, 0o600, as_read)?;
    Ok(true)
}

fn directory_of(path: &Path) -> Result<(whole::Held, &str), FileError> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(parent), Some(name)) => Ok((whole::Held::open_or_create(parent, 0o700)?, name)),
        _ => Err(whole::system(path, "making it", rustix::io::Errno::INVAL)),
    }
}
