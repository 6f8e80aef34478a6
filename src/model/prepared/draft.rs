//! A prepared model that is being written: inside the cache, but under a name that nobody opens.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;
use tempfile::TempDir;

use super::error::{CacheError, room, system};
use super::record::{Files, Sealed};
use crate::model::bundle::{CopyError, hash_file};
use crate::model::{Bundle, BundleError};

/// The copy of the bundle inside a draft.
pub(super) const SOURCE: &str = "source";

/// A disk with less room than this counts as full: writers fail before the last block is taken.
const LITTLE_ROOM: u64 = 1 << 20;

/// A prepared model that is being written. Dropping it removes what was not published.
#[derive(Debug)]
pub struct Draft {
    pub(super) folder: TempDir,
    /// Released last.
    pub(super) _lock: Flock<File>,
}

impl Draft {
    /// Where the files are to be written.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Copies the files of `bundle` into the draft, checking their hashes on the way, and gives the
    /// folder. What is optimised is this copy: it has no file that the manifest does not name, and
    /// nobody exchanges one between the check and the use.
    ///
    /// # Errors
    ///
    /// The inner one is the bundle's fault, the outer one the cache's.
    pub fn copy(&self, bundle: &Bundle) -> Result<Result<PathBuf, BundleError>, CacheError> {
        let folder = self.folder().join(SOURCE);
        std::fs::create_dir(&folder).map_err(system(&folder))?;
        for name in bundle.manifest.files.keys() {
            let path = folder.join(name);
            let mut file = File::create(&path).map_err(system(&path))?;
            match bundle.copy(name, &mut file) {
                Ok(()) => {}
                Err(CopyError::Source(error)) => return Ok(Err(error)),
                Err(CopyError::Target(cause)) => return Err(system(&path)(cause)),
            }
        }
        Ok(Ok(folder))
    }

    /// An error when the disk has no room left: what failed to be written, or was cut short, is then
    /// nobody else's fault.
    ///
    /// # Errors
    ///
    /// [`CacheError::Full`].
    pub fn has_room(&self) -> Result<(), CacheError> {
        let left = room(self.folder());
        if left < LITTLE_ROOM {
            let path = self.folder().into();
            return Err(CacheError::Full { path, left });
        }
        Ok(())
    }

    /// Makes every file read-only, for those that `mode` lets into the cache, and takes its hash and its
    /// stamp.
    pub(super) fn seal(&self, mode: u32) -> Result<Files, CacheError> {
        let mut files = Files::new();
        for entry in std::fs::read_dir(self.folder()).map_err(system(self.folder()))? {
            let path = entry.map_err(system(self.folder()))?.path();
            let seal = || {
                File::open(&path)?.sync_all()?;
                std::fs::set_permissions(&path, Permissions::from_mode(mode & 0o444))?;
                hash_file(&path)
            };
            let (sha256, stamp) = seal().map_err(system(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.insert(name.into_owned(), Sealed { sha256, stamp });
        }
        Ok(files)
    }
}
