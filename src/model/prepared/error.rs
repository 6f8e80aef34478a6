//! Why the cache cannot be used, and what to do about it.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why the cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder, or something in it, may be changed by others.
    #[error("{}: {reason}; remove it, or name a cache folder of your own with --cache or \
             DERMALD_CACHE", path.display())]
    Untrusted {
        /// What.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The operating system refused.
    #[error("{}: {cause}; the cache needs a folder that dermald can write to, named with --cache or \
             DERMALD_CACHE", path.display())]
    System {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// No room is left.
    #[error("{}: the disk is full ({} are left); make room, or name a cache folder on another disk \
             with --cache or DERMALD_CACHE", path.display(), bytesize::ByteSize(*left))]
    Full {
        /// What could not be written.
        path: PathBuf,
        /// In bytes.
        left: u64,
    },
}

/// What an error of the operating system at `path` means.
pub(super) fn system(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |cause| match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CacheError::Full {
            left: room(&path),
            path,
        },
        _ => CacheError::System { path, cause },
    }
}

/// Bytes that are left for us on the disk of `path`; as many as there can be when that is not told.
pub(super) fn room(path: &Path) -> u64 {
    let folder = path.ancestors().find(|folder| folder.is_dir());
    folder
        .and_then(|folder| nix::sys::statvfs::statvfs(folder).ok())
        .filter(|disk| disk.blocks() > 0)
        .map_or(u64::MAX, |disk| {
            disk.blocks_available().saturating_mul(disk.fragment_size())
        })
}
