//! The cache of prepared models: graphs that were optimised once for one CPU and one ONNX Runtime.
//!
//! Optimising at load takes more memory than the model itself, and its result fits this CPU only. So
//! it is done once, in another process, into a folder of the cache:
//!
//! ```text
//! CACHE/                          ours or root's, writable by nobody else
//!   lock                          held by whoever prepares
//!   DIGEST-HOST/                  16 digits each: the bundle's, and that of runtime and CPU
//!     model.onnx  weights.bin     read-only, mapped by every daemon that serves the model
//!     prepared.toml               stamps of these files, and of the bundle's when it was checked
//!   draft-XXXXXX/                 what is being written, with a copy of the bundle
//! ```
//!
//! A folder is complete or not there: it is written as a draft and renamed. What is mapped is never a
//! file that somebody may write to in place. Everything but the lock may be read by everybody, as far
//! as the umask allows it: what root prepared when an image was built is served by another user.
//!
//! One process prepares at a time. Two optimisers at once would take twice the memory, and the second
//! mostly finds what the first one made. The lock ends with its holder, however that ends, so a draft
//! that is found by the next holder was given up and is removed.
//!
//! This room knows files, not how a graph is optimised.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::bundle::{CopyError, Stamps, hexadecimal};
use super::stamp::Stamp;
use super::{Bundle, BundleError};
use crate::lifecycle::trust;

/// Changes when what is written into the cache changes its meaning.
const FORM: u32 = 1;

/// Name of the graph inside a prepared model.
pub const GRAPH: &str = "model.onnx";

/// Name of its weights.
pub const WEIGHTS: &str = "weights.bin";

const RECORD: &str = "prepared.toml";
const LOCK: &str = "lock";
const DRAFT: &str = "draft-";

/// The copy of the bundle inside a draft.
const SOURCE: &str = "source";

/// A prepared model that no daemon has opened for so long is removed by the next preparation.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// A disk with less room than this counts as full: writers fail before the last block is taken.
const LITTLE_ROOM: u64 = 1 << 20;

/// What a CPU can do that ONNX Runtime chooses its kernels by, as the kernel spells it. Other words of
/// the list change with a microcode update.
const FEATURES: [&str; 11] = [
    "amx", "asimd", "avx", "bf16", "f16c", "fma", "fphp", "i8mm", "sse", "ssse", "sve",
];

/// What a prepared graph is good for.
#[derive(Clone, Debug)]
pub struct Host {
    /// Names ONNX Runtime's build.
    pub runtime: String,
    /// What the CPU can do.
    pub cpu: String,
}

impl Host {
    /// This CPU with the ONNX Runtime of that build.
    #[must_use]
    pub fn with_runtime(runtime: &str) -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Host {
            runtime: runtime.to_owned(),
            cpu: format!("{} {}", std::env::consts::ARCH, features(&cpu)),
        }
    }

    /// Whether the CPU multiplies 8-bit integers without saturating; ARM's always do.
    #[must_use]
    pub fn sums_int8_exactly(&self) -> bool {
        !self.cpu.starts_with("x86") || self.cpu.contains("_vnni")
    }

    fn key(&self) -> String {
        let text = format!("{FORM}\n{}\n{}\n", self.runtime, self.cpu);
        short(&hexadecimal(&Sha256::digest(text)))
    }
}

/// The [`FEATURES`] of the first CPU in the text of `/proc/cpuinfo`.
fn features(cpuinfo: &str) -> String {
    let listed = cpuinfo
        .lines()
        .find(|line| line.starts_with("flags") || line.starts_with("Features"))
        .and_then(|line| line.split_once(':'))
        .map_or("", |(_, listed)| listed);
    let matters = |word: &&str| FEATURES.iter().any(|start| word.starts_with(start));
    let words: Vec<_> = listed.split_whitespace().filter(matters).collect();
    words.join(" ")
}

/// The cache's folder.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// What stands in `prepared.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    form: u32,
    /// For people.
    model: String,
    digest: String,
    runtime: String,
    cpu: String,
    /// The bundle's files when their hashes were checked.
    bundle: Stamps,
    files: Stamps,
}

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

fn system(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |cause| match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => CacheError::Full {
            left: room(&path),
            path,
        },
        _ => CacheError::System { path, cause },
    }
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

    /// The graph of `bundle` that was prepared for `host`; `None` when there is none that is whole
    /// and untouched.
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
        let Some(record) = read_record(&folder).filter(|record| record.digest == bundle.digest)
        else {
            return Ok(None);
        };
        for (name, stamp) in &record.files {
            let path = folder.join(name);
            // Another process may be putting a new one in its place.
            let Ok(found) = std::fs::symlink_metadata(&path) else {
                return Ok(None);
            };
            trust::owned(&found).map_err(|reason| CacheError::Untrusted { path, reason })?;
            if Stamp::of(&found) != *stamp {
                return Ok(None);
            }
        }
        mark_used(&folder);
        let whole = record.files.contains_key(GRAPH);
        Ok(whole.then(|| folder.join(GRAPH)))
    }

    /// A new folder for [`publish`](Self::publish), inside the cache. Waits for whoever else prepares
    /// in this cache; what they made may be what is wanted, so [look](Self::find) again.
    ///
    /// # Errors
    ///
    /// [`CacheError`].
    pub fn draft(&self) -> Result<Draft, CacheError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.folder)
            .map_err(system(&self.folder))?;
        check_folder(&self.folder)?;
        let lock = self.lock(FlockArg::LockExclusive)?;
        self.sweep();
        let template = self.folder.join(format!("{DRAFT}XXXXXX"));
        let folder =
            nix::unistd::mkdtemp(&template).map_err(|errno| system(&self.folder)(errno.into()))?;
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
        let source = draft.folder.join(SOURCE);
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
        let path = draft.folder.join(RECORD);
        write_record(&path, &record, mode).map_err(system(&path))?;
        let place = self.place(bundle, host);
        let renamed = || {
            std::fs::set_permissions(&draft.folder, Permissions::from_mode(mode & 0o755))?;
            File::open(&draft.folder)?.sync_all()?;
            // A folder cannot be renamed over another that is not empty. What lies there is stale.
            self.set_aside(&place)?;
            std::fs::rename(&draft.folder, &place)?;
            File::open(&self.folder)?.sync_all()
        };
        renamed().map_err(system(&place))?;
        Ok(place.join(GRAPH))
    }

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

    fn place(&self, bundle: &Bundle, host: &Host) -> PathBuf {
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
    fn lock(&self, how: FlockArg) -> Result<Flock<File>, CacheError> {
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

    /// Removes `place`, which may be mapped: it gets the name of a draft first, so that nobody finds
    /// half of it. Called with the lock held.
    fn set_aside(&self, place: &Path) -> io::Result<()> {
        let aside = self.folder.join(format!("{DRAFT}stale"));
        match std::fs::rename(place, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => std::fs::remove_dir_all(&aside),
        }
    }

    /// Removes drafts that were given up, and what nobody has opened for a month. Called with the lock
    /// held.
    fn sweep(&self) {
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

/// Bytes that are left for us on the disk of `path`; as many as there can be when that is not told.
fn room(path: &Path) -> u64 {
    let folder = path.ancestors().find(|folder| folder.is_dir());
    folder
        .and_then(|folder| nix::sys::statvfs::statvfs(folder).ok())
        .filter(|disk| disk.blocks() > 0)
        .map_or(u64::MAX, |disk| {
            disk.blocks_available().saturating_mul(disk.fragment_size())
        })
}

fn is_old(record: &Path) -> bool {
    let used = std::fs::metadata(record).and_then(|found| found.modified());
    used.is_ok_and(|used| used.elapsed().is_ok_and(|age| age > KEPT))
}

/// A prepared model that is being written. Dropping it removes what was not published.
#[derive(Debug)]
pub struct Draft {
    /// Where the files are to be written.
    pub folder: PathBuf,
    /// Released last.
    _lock: Flock<File>,
}

impl Draft {
    /// Copies the files of `bundle` into the draft, checking their hashes on the way, and gives the
    /// folder. What is optimised is this copy: it has no file that the manifest does not name, and
    /// nobody exchanges one between the check and the use.
    ///
    /// # Errors
    ///
    /// The inner one is the bundle's fault, the outer one the cache's.
    pub fn copy(&self, bundle: &Bundle) -> Result<Result<PathBuf, BundleError>, CacheError> {
        let folder = self.folder.join(SOURCE);
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
        let (path, left) = (self.folder.clone(), room(&self.folder));
        if left < LITTLE_ROOM {
            return Err(CacheError::Full { path, left });
        }
        Ok(())
    }

    /// Makes every file read-only, for those that `mode` lets into the cache, and takes its stamp.
    fn seal(&self, mode: u32) -> Result<Stamps, CacheError> {
        let mut stamps = BTreeMap::new();
        for entry in std::fs::read_dir(&self.folder).map_err(system(&self.folder))? {
            let path = entry.map_err(system(&self.folder))?.path();
            let seal = || {
                File::open(&path)?.sync_all()?;
                std::fs::set_permissions(&path, Permissions::from_mode(mode & 0o444))?;
                std::fs::metadata(&path)
            };
            let sealed = seal().map_err(system(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            stamps.insert(name.into_owned(), Stamp::of(&sealed));
        }
        Ok(stamps)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn check_folder(path: &Path) -> Result<(), CacheError> {
    trust::folder(path)
        .map_err(system(path))?
        .map_err(|reason| CacheError::Untrusted {
            path: path.into(),
            reason,
        })
}

/// The record in `folder`, when there is one of our form that nobody else can have written.
fn read_record(folder: &Path) -> Option<Record> {
    let path = folder.join(RECORD);
    let found = std::fs::symlink_metadata(&path).ok()?;
    trust::owned(&found).ok()?;
    let record: Record = toml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    (record.form == FORM).then_some(record)
}

fn write_record(path: &Path, record: &Record, mode: u32) -> io::Result<()> {
    let text = toml::to_string(record).expect("plain tables and numbers");
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode & 0o644))?;
    file.sync_all()
}

/// Notes the stamps of a bundle that was copied anew, so that it need not be hashed at every start.
/// Whoever may only read the cache cannot, and does without. Called with the lock held.
fn remember(folder: &Path, record: Record, bundle: &Bundle) {
    let record = Record {
        bundle: bundle.checked.clone(),
        ..record
    };
    let beside = folder.join(format!("{RECORD}.new"));
    let written = std::fs::metadata(folder)
        .and_then(|found| write_record(&beside, &record, found.permissions().mode()))
        .and_then(|()| std::fs::rename(&beside, folder.join(RECORD)));
    if let Err(error) = written {
        tracing::debug!(%error, "the bundle's files could not be noted as checked");
    }
}

/// The record's time tells when the model was last opened.
fn mark_used(folder: &Path) {
    let touched =
        File::open(folder.join(RECORD)).and_then(|record| record.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(%error, "a prepared model could not be marked as used");
    }
}

fn short(digest: &str) -> String {
    digest.chars().take(16).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_kernels_are_chosen_by_names_the_cpu() {
        let cpuinfo =
            "processor\t: 0\nflags\t\t: fpu ibrs ssse3 fma avx2 ssbd avx512_vnni amx_int8\n";
        assert_eq!(features(cpuinfo), "ssse3 fma avx2 avx512_vnni amx_int8");
        assert_eq!(
            features("Features\t: fp asimd crc32 i8mm sve2\n"),
            "asimd i8mm sve2"
        );
        assert_eq!(features("nothing"), "");
    }

    #[test]
    fn saturation_is_known_from_the_features() {
        let with = |cpu: &str| Host {
            runtime: String::new(),
            cpu: cpu.into(),
        };
        assert!(!with("x86_64 sse4_2 avx2").sums_int8_exactly());
        assert!(with("x86_64 avx2 avx_vnni").sums_int8_exactly());
        assert!(with("aarch64 asimd").sums_int8_exactly());
    }
}
