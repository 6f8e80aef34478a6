//! The folder itself: who may write in it, what is found there, and how something new gets in.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use super::draft::{Draft, SOURCE};
use super::error::{CacheError, system};
use super::record::{
    RECORD, Record, Sealed, mark_used, read_record, remember, replace, write_record,
};
use super::{DRAFT, FORM, GRAPH, Host, short};
use crate::lifecycle::trust;
use crate::model::bundle::check_file;
use crate::model::stamp::Stamp;
use crate::model::{Bundle, BundleError};

const LOCK: &str = "lock";

/// The cache's folder.
#[derive(Clone, Debug)]
pub struct Cache {
    pub(super) folder: PathBuf,
}

impl Cache {
    /// The cache in `folder`, which need not be there yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Cache {
            folder: folder.to_owned(),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Opens the bundle in `folder` and makes sure that its files have their hashes.
    ///
    /// Reading a large model only to compare its hash costs more than loading it. What was prepared
    /// was read then; whoever touched a file since is found by its stamp.
    ///
    /// # Errors
    ///
    /// [`BundleError`].
    pub fn open(&self, folder: &Path) -> Result<Bundle, BundleError> {
        let mut bundle = Bundle::read(folder)?;
        let records = self.records(&bundle);
        if !records.iter().any(|(_, known)| bundle.trust(&known.bundle)) {
            bundle.check()?;
            if let Ok(_lock) = self.lock(FlockArg::LockExclusiveNonblock) {
                for (folder, record) in records {
                    remember(&folder, record, &bundle);
                }
            }
        }
        Ok(bundle)
    }

    /// The graph of `bundle` that was prepared for `host`; `None` when there is none that is whole.
    /// Files that were touched since, or copied with the cache, are read once.
    ///
    /// # Errors
    ///
    /// [`CacheError`] when somebody else may have written what is there.
    pub fn find(&self, bundle: &Bundle, host: &Host) -> Result<Option<PathBuf>, CacheError> {
        let folder = self.place(bundle, host);
        for path in [&self.folder, &folder] {
            match check_folder(path) {
                Err(CacheError::System { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                    return Ok(None);
                }
                checked => checked?,
            }
        }
        let Some(mut record) = read_record(&folder).filter(|record| record.digest == bundle.digest)
        else {
            return Ok(None);
        };
        let noted = record.files.clone();
        for (name, sealed) in &mut record.files {
            let Some(stamp) = look_at(folder.join(name), sealed)? else {
                return Ok(None);
            };
            sealed.stamp = stamp;
        }
        if record.files != noted
            && let Ok(_lock) = self.lock(FlockArg::LockExclusiveNonblock)
        {
            replace(&folder, &record);
        }
        mark_used(&folder);
        let whole = record.files.contains_key(GRAPH);
        Ok(whole.then(|| folder.join(GRAPH)))
    }

    /// Makes the folder when it is missing.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn make(&self) -> Result<(), CacheError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.folder)
            .map_err(system(&self.folder))
    }

    /// A new folder for [`publish`](Self::publish), inside the cache. Waits for whoever else prepares
    /// in this cache; what they made may be what is wanted, so [look](Self::find) again.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn draft(&self) -> Result<Draft, CacheError> {
        self.make()?;
        check_folder(&self.folder)?;
        let lock = self.lock(FlockArg::LockExclusive)?;
        self.sweep();
        let folder = tempfile::Builder::new()
            .prefix(DRAFT)
            .tempdir_in(&self.folder)
            .map_err(system(&self.folder))?;
        Ok(Draft {
            folder,
            _lock: lock,
        })
    }

    /// Puts what was drafted into its place, in one step, and gives the graph's path.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn publish(
        &self,
        draft: &Draft,
        bundle: &Bundle,
        host: &Host,
    ) -> Result<PathBuf, CacheError> {
        let source = draft.folder().join(SOURCE);
        std::fs::remove_dir_all(&source).map_err(system(&source))?;
        // As the umask left it when the cache was made.
        let mode = std::fs::metadata(&self.folder)
            .map_err(system(&self.folder))?
            .permissions()
            .mode();
        let record = Record {
            form: FORM,
            model: format!("{} {}", bundle.manifest.name, bundle.manifest.version),
            digest: bundle.digest.clone(),
            runtime: host.runtime.clone(),
            cpu: host.cpu.clone(),
            bundle: bundle.checked.clone(),
            files: draft.seal(mode)?,
        };
        let path = draft.folder().join(RECORD);
        write_record(&path, &record, mode).map_err(system(&path))?;
        let place = self.place(bundle, host);
        let renamed = || {
            std::fs::set_permissions(draft.folder(), Permissions::from_mode(mode & 0o755))?;
            File::open(draft.folder())?.sync_all()?;
            // A folder cannot be renamed over another that is not empty. What lies there is stale.
            self.set_aside(&place)?;
            std::fs::rename(draft.folder(), &place)?;
            File::open(&self.folder)?.sync_all()
        };
        renamed().map_err(system(&place))?;
        Ok(place.join(GRAPH))
    }

    pub(super) fn place(&self, bundle: &Bundle, host: &Host) -> PathBuf {
        let name = format!("{}-{}", short(&bundle.digest), host.key());
        self.folder.join(name)
    }

    /// Folders and records of `bundle`, prepared for whichever host, that nobody else wrote.
    fn records(&self, bundle: &Bundle) -> Vec<(PathBuf, Record)> {
        let start = format!("{}-", short(&bundle.digest));
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        if check_folder(&self.folder).is_err() {
            return Vec::new();
        }
        entries
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
            .map(|entry| entry.path())
            .filter(|folder| check_folder(folder).is_ok())
            .filter_map(|folder| read_record(&folder).map(|record| (folder, record)))
            .filter(|(_, record)| record.digest == bundle.digest)
            .collect()
    }

    /// The lock that whoever writes into the cache holds. Nobody else may open it: who can open it
    /// can hold it.
    pub(super) fn lock(&self, how: FlockArg) -> Result<Flock<File>, CacheError> {
        let path = self.folder.join(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(system(&path))?;
        Flock::lock(file, how).map_err(|(_, errno)| system(&path)(errno.into()))
    }
}

/// What the file at `path` is now; `None` when it is not what was sealed.
fn look_at(path: PathBuf, sealed: &Sealed) -> Result<Option<Stamp>, CacheError> {
    // Another process may be putting a new one in its place.
    let Ok(found) = std::fs::symlink_metadata(&path) else {
        return Ok(None);
    };
    if let Err(reason) = trust::owned(&found) {
        return Err(CacheError::Untrusted { path, reason });
    }
    if Stamp::of(&found) == sealed.stamp {
        return Ok(Some(sealed.stamp));
    }
    Ok(check_file(&path, &sealed.sha256).ok())
}

fn check_folder(path: &Path) -> Result<(), CacheError> {
    trust::folder(path)
        .map_err(system(path))?
        .map_err(|reason| CacheError::Untrusted {
            path: path.into(),
            reason,
        })
}
