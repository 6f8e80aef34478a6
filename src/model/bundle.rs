//! The folder of a model: its manifest, its files, their hashes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Manifest;

/// Name of the manifest inside a bundle.
pub const MANIFEST: &str = "manifest.toml";

/// A checked bundle: the manifest is sound and every file that it names has its hash.
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
    /// What each file was when its hash was found right.
    checked: BTreeMap<String, Stamp>,
}

/// What tells a file from a changed one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of content, and of content or attributes.
    times: [i64; 4],
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Stamp {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            times: [
                file.mtime(),
                file.mtime_nsec(),
                file.ctime(),
                file.ctime_nsec(),
            ],
        }
    }
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
    /// Reads the manifest in `folder` and checks the hash of every file that it names.
    ///
    /// Files are read in pieces; memory does not grow with the model.
    ///
    /// # Errors
    ///
    /// [`BundleError`], with the file and what is wrong with it.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|cause| BundleError::Unreadable {
            path: path.clone(),
            cause,
        })?;
        let manifest = Manifest::parse(&text).map_err(|message| BundleError::Manifest {
            path: path.clone(),
            message,
        })?;
        let mut bundle = Bundle {
            folder: folder.to_owned(),
            manifest,
            digest: hexadecimal(&Sha256::digest(&text)),
            checked: BTreeMap::new(),
        };
        let count = bundle.graphs().count();
        if count != 1 {
            return Err(BundleError::Graphs { path, count });
        }
        for (name, expected) in &bundle.manifest.files {
            let stamp = check_file(&bundle.folder.join(name), expected)?;
            bundle.checked.insert(name.clone(), stamp);
        }
        Ok(bundle)
    }

    /// Makes sure that the files are still those that [`open`](Self::open) checked. A file that was
    /// touched is read again; its hash decides.
    ///
    /// # Errors
    ///
    /// [`BundleError`], with the file that was changed or is gone.
    pub fn check_again(&self) -> Result<(), BundleError> {
        for (name, stamp) in &self.checked {
            let path = self.folder.join(name);
            let same = std::fs::metadata(&path).is_ok_and(|file| Stamp::of(&file) == *stamp);
            if !same {
                check_file(&path, &self.manifest.files[name])?;
            }
        }
        Ok(())
    }

    /// The file with the graph.
    ///
    /// # Panics
    ///
    /// Never for a bundle that [`open`](Self::open) returned: it has exactly one.
    #[must_use]
    pub fn graph(&self) -> PathBuf {
        let file = self.graphs().next().expect("open() counted one graph");
        self.folder.join(file)
    }

    fn graphs(&self) -> impl Iterator<Item = &String> {
        let is_graph =
            |file: &&String| Path::new(file).extension().is_some_and(|end| end == "onnx");
        self.manifest.files.keys().filter(is_graph)
    }
}

/// Reads the file at `path` and holds it against its hash.
fn check_file(path: &Path, expected: &str) -> Result<Stamp, BundleError> {
    let (found, stamp) = hash_file(path).map_err(|cause| BundleError::Unreadable {
        path: path.into(),
        cause,
    })?;
    if found.eq_ignore_ascii_case(expected) {
        return Ok(stamp);
    }
    Err(BundleError::Hash {
        path: path.into(),
        expected: expected.into(),
        found,
    })
}

/// The hash of a file, and what it was before it was read.
fn hash_file(path: &Path) -> io::Result<(String, Stamp)> {
    let mut file = File::open(path)?;
    let stamp = Stamp::of(&file.metadata()?);
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok((hexadecimal(&hash.finalize()), stamp)),
            read => hash.update(&piece[..read]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
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
