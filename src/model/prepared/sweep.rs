//! What is removed from the cache: drafts that were given up, and models that nobody opens any more
//! or that cannot be loaded.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::FlockArg;

use super::error::{CacheError, system};
use super::record::RECORD;
use super::{Cache, DRAFT, Host};
use crate::model::Bundle;

/// A prepared model that no daemon has opened for so long is removed by the next preparation.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

impl Cache {
    /// Throws a prepared model away whose files are untouched, but cannot be loaded.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn discard(&self, bundle: &Bundle, host: &Host) -> Result<(), CacheError> {
        let _lock = self.lock(FlockArg::LockExclusive)?;
        let place = self.place(bundle, host);
        self.set_aside(&place).map_err(system(&place))
    }

    /// Removes drafts that were given up, unless somebody prepares just now.
    pub fn tidy(&self) {
        if let Ok(_lock) = self.lock(FlockArg::LockExclusiveNonblock) {
            self.sweep();
        }
    }

    /// Removes `place`, which may be mapped: it gets the name of a draft first, so that nobody finds
    /// half of it. Called with the lock held.
    pub(super) fn set_aside(&self, place: &Path) -> io::Result<()> {
        let aside = self.folder.join(format!("{DRAFT}stale"));
        match std::fs::rename(place, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => std::fs::remove_dir_all(&aside),
        }
    }

    /// Removes drafts that were given up, and what nobody has opened for a month. Called with the lock
    /// held.
    pub(super) fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let gone = name.starts_with(DRAFT) || is_old(&path.join(RECORD));
            if gone && std::fs::remove_dir_all(&path).is_ok() {
                tracing::info!(path = %path.display(), "removed an old or half prepared model");
            }
        }
    }
}

fn is_old(record: &Path) -> bool {
    let used = std::fs::metadata(record).and_then(|found| found.modified());
    used.is_ok_and(|used| used.elapsed().is_ok_and(|age| age > KEPT))
}
