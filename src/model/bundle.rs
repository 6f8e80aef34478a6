//! The folder of a model: its manifest, its files, their hashes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Manifest;
use super::selftest::{SELF_TEST, SelfTest};
use super::stamp::Stamp;

/// Name of the manifest inside a bundle.
pub const MANIFEST: &str = "manifest.toml";

/// The stamp of each file of a bundle, by name.
pub type Stamps = BTreeMap<String, Stamp>;

/// A bundle whose manifest is sound; once it was [checked](Self::check), every file has its hash.
///
/// What only ONNX Runtime can tell (tensor names, types, shapes, the output's width against the
/// labels) is checked when the model is loaded.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The folder.
    pub folder: PathBuf,
    /// What the model promises.
    pub manifest: Manifest,
    /// SHA-256 of the manifest, 64 hexadecimal digits. The manifest holds the hashes of all other
    /// files, so this names the model.
    pub digest: String,
    /// What each file was when its hash was found right; empty until it was.
    pub checked: Stamps,
    /// The manifest as it was read.
    text: String,
}

/// Why a folder is no usable bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file cannot be read.
    #[error("{}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The manifest is wrong.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// Which key, and what is wrong.
        message: String,
    },
    /// A file is not the one that the manifest was written for.
    #[error("{}: SHA-256 is {found}, the manifest expects {expected}; \
             the file was changed or not copied whole", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// As in the manifest.
        expected: String,
        /// As it is.
        found: String,
    },
    /// The self-test is wrong.
    #[error("{}: {message}", path.display())]
    SelfTest {
        /// The file.
        path: PathBuf,
        /// Which key, and what is wrong.
        message: String,
    },
    /// The bundle must hold exactly one ONNX file.
    #[error("{}: files names {count} ONNX files, expected one", path.display())]
    Graphs {
        /// The manifest.
        path: PathBuf,
        /// How many.
        count: usize,
    },
}

impl Bundle {
    /// Reads the manifest in `folder`.
    ///
    /// # Errors
    ///
    /// [`BundleError`], with the key and what is wrong with it.
    pub fn read(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|cause| BundleError::Unreadable {
            path: path.clone(),
            cause,
        })?;
        Bundle::of(folder, text, Stamps::new())
    }

    /// The bundle in `folder` whose manifest has this `text` and whose files were `checked`, whatever
    /// lies there now: what was [carried](Self::text) over from an image before.
    ///
    /// # Errors
    ///
    /// [`BundleError`], with the key and what is wrong with it.
    pub fn of(folder: &Path, text: String, checked: Stamps) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let manifest = Manifest::parse(&text).map_err(|message| BundleError::Manifest {
            path: path.clone(),
            message,
        })?;
        let bundle = Bundle {
            folder: folder.to_owned(),
            manifest,
            digest: hexadecimal(&Sha256::digest(&text)),
            checked,
            text,
        };
        match bundle.graphs().count() {
            1 => Ok(bundle),
            count => Err(BundleError::Graphs { path, count }),
        }
    }

    /// The manifest as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads the manifest in `folder` and checks the hash of every file that it names.
    ///
    /// # Errors
    ///
    /// [`BundleError`], with the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let mut bundle = Bundle::read(folder)?;
        bundle.check()?;
        Ok(bundle)
    }

    /// Checks the hash of every file. Files are read in pieces; memory does not grow with the model.
    ///
    /// # Errors
    ///
    /// [`BundleError`], with the file and what is wrong with it.
    pub fn check(&mut self) -> Result<(), BundleError> {
        for (name, expected) in &self.manifest.files {
            let stamp = check_file(&self.folder.join(name), expected)?;
            self.checked.insert(name.clone(), stamp);
        }
        Ok(())
    }

    /// Takes the files as checked if they are still what they were when `stamps` were taken.
    #[must_use]
    pub fn trust(&mut self, stamps: &Stamps) -> bool {
        let same = self.manifest.files.keys().all(|name| {
            let known = stamps.get(name);
            known.is_some() && self.stamp(name) == known.copied()
        });
        if same {
            self.checked.clone_from(stamps);
        }
        same
    }

    fn stamp(&self, name: &str) -> Option<Stamp> {
        let file = std::fs::metadata(self.folder.join(name)).ok()?;
        Some(Stamp::of(&file))
    }

    /// Makes sure that the files are still those that were checked. A file that was touched is read
    /// again; its hash decides.
    ///
    /// # Errors
    ///
    /// [`BundleError`], with the file that was changed or is gone.
    pub fn check_again(&self) -> Result<(), BundleError> {
        for (name, expected) in &self.manifest.files {
            let known = self.checked.get(name).copied();
            if known.is_none() || self.stamp(name) != known {
                check_file(&self.folder.join(name), expected)?;
            }
        }
        Ok(())
    }

    /// Copies `name`, a file of the manifest, to `out`, and makes sure that what was copied has its
    /// hash: the copy is sound whatever happens to the file meanwhile.
    ///
    /// # Errors
    ///
    /// [`CopyError`].
    pub fn copy(&self, name: &str, out: &mut impl Write) -> Result<(), CopyError> {
        let path = self.folder.join(name);
        let (found, _) = read_file(&path, |piece| {
            out.write_all(piece).map_err(CopyError::Target)
        })?;
        expect_hash(&path, &self.manifest.files[name], found)?;
        Ok(())
    }

    /// The content of `name`, a file of the manifest, with its hash checked.
    ///
    /// # Errors
    ///
    /// [`BundleError`].
    pub fn bytes(&self, name: &str) -> Result<Arc<[u8]>, BundleError> {
        let path = self.folder.join(name);
        let unreadable = |cause| BundleError::Unreadable {
            path: path.clone(),
            cause,
        };
        // Made at its size at once: growing it would hold the file twice.
        let size = std::fs::metadata(&path).map_err(unreadable)?.len();
        let mut bytes: Arc<[u8]> = (0..size).map(|_| 0).collect();
        let mut rest = Arc::get_mut(&mut bytes).expect("nobody else has it yet");
        let (found, _) = read_file(&path, |piece| rest.write_all(piece).map_err(unreadable))?;
        expect_hash(&path, &self.manifest.files[name], found)?;
        Ok(bytes)
    }

    /// What the bundle brings to be tried on, read from `folder`: the bundle's own, or a copy.
    ///
    /// # Errors
    ///
    /// [`BundleError::Unreadable`] and [`BundleError::SelfTest`].
    pub fn self_test(&self, folder: &Path) -> Result<Option<SelfTest>, BundleError> {
        if !self.manifest.files.contains_key(SELF_TEST) {
            return Ok(None);
        }
        let path = folder.join(SELF_TEST);
        match std::fs::read_to_string(&path) {
            Ok(text) => SelfTest::parse(&text, &self.manifest)
                .map(Some)
                .map_err(|message| BundleError::SelfTest { path, message }),
            Err(cause) => Err(BundleError::Unreadable { path, cause }),
        }
    }

    /// The file with the graph.
    #[must_use]
    pub fn graph(&self) -> PathBuf {
        self.folder.join(self.graph_name())
    }

    /// Its name inside the bundle.
    ///
    /// # Panics
    ///
    /// Never: [`read`](Self::read) found exactly one.
    #[must_use]
    pub fn graph_name(&self) -> &str {
        self.graphs().next().expect("read() counted one graph")
    }

    /// The files that the graph may keep weights in: all but itself and the self-test's.
    pub fn weights(&self) -> impl Iterator<Item = &str> {
        let is_weights = |name: &&str| {
            let end = Path::new(name).extension();
            *name != SELF_TEST && !end.is_some_and(|end| end == "onnx" || end == "png")
        };
        self.manifest
            .files
            .keys()
            .map(String::as_str)
            .filter(is_weights)
    }

    fn graphs(&self) -> impl Iterator<Item = &String> {
        let is_graph =
            |file: &&String| Path::new(file).extension().is_some_and(|end| end == "onnx");
        self.manifest.files.keys().filter(is_graph)
    }
}

/// Why a file could not be copied: the bundle is at fault, or the place where the copy was to be.
#[derive(Debug)]
pub enum CopyError {
    /// It cannot be read, or is not the one that the manifest was written for.
    Source(BundleError),
    /// The copy cannot be written.
    Target(io::Error),
}

impl From<BundleError> for CopyError {
    fn from(error: BundleError) -> Self {
        CopyError::Source(error)
    }
}

/// Reads the file at `path` and holds it against its hash; what it was meanwhile.
pub(super) fn check_file(path: &Path, expected: &str) -> Result<Stamp, BundleError> {
    let (found, stamp) = read_file(path, |_| Ok::<_, BundleError>(()))?;
    expect_hash(path, expected, found)?;
    Ok(stamp)
}

fn expect_hash(path: &Path, expected: &str, found: String) -> Result<(), BundleError> {
    if found.eq_ignore_ascii_case(expected) {
        return Ok(());
    }
    Err(BundleError::Hash {
        path: path.into(),
        expected: expected.into(),
        found,
    })
}

/// The hash of the file at `path`, and what it was before it was read.
pub(super) fn hash_file(path: &Path) -> io::Result<(String, Stamp)> {
    read_file(path, |_| Ok(())).map_err(|error| match error {
        BundleError::Unreadable { cause, .. } => cause,
        other => io::Error::other(other),
    })
}

/// Hands the file at `path` on in pieces; tells its hash, and what it was before it was read.
fn read_file<E: From<BundleError>>(
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(String, Stamp), E> {
    let unreadable = |cause| BundleError::Unreadable {
        path: path.into(),
        cause,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece).map_err(unreadable)? {
            0 => return Ok((hexadecimal(&hash.finalize()), stamp)),
            read => {
                hash.update(&piece[..read]);
                take(&piece[..read])?;
            }
        }
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(graph: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let hash = hexadecimal(&Sha256::digest(b"graph"));
        let text = include_str!("../../tests/data/manifest.toml").replace(
            "0011223344556677001122334455667700112233445566770011223344556677",
            &hash,
        );
        std::fs::write(folder.path().join(MANIFEST), text).expect("written");
        std::fs::write(folder.path().join("model.onnx"), graph).expect("written");
        folder
    }

    #[test]
    fn changed_file_is_refused_by_name() {
        assert!(Bundle::open(folder_with(b"graph").path()).is_ok());
        let folder = folder_with(b"grapes");
        let message = Bundle::open(folder.path())
            .expect_err("changed")
            .to_string();
        assert!(message.contains("model.onnx: SHA-256 is"), "{message}");
    }

    #[test]
    fn file_that_was_exchanged_after_the_check_is_refused() {
        let folder = folder_with(b"graph");
        let bundle = Bundle::open(folder.path()).expect("sound");
        let graph = folder.path().join("model.onnx");
        std::fs::write(&graph, b"graph").expect("the same once more");
        assert!(bundle.check_again().is_ok());
        std::fs::write(&graph, b"grape").expect("another");
        let message = bundle.check_again().expect_err("changed").to_string();
        assert!(message.contains("model.onnx: SHA-256 is"), "{message}");
        std::fs::remove_file(&graph).expect("removed");
        assert!(bundle.check_again().is_err());
    }

    #[test]
    fn missing_manifest_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let message = Bundle::open(folder.path()).expect_err("empty").to_string();
        assert!(message.contains("manifest.toml: No such file"), "{message}");
    }
}
