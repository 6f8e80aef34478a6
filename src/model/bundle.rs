//! The folder of a model: its manifest, its files, their hashes.

use std::fs::File;
use std::io::{self, Read};
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
        let bundle = Bundle {
            folder: folder.to_owned(),
            manifest,
            digest: hexadecimal(&Sha256::digest(&text)),
        };
        bundle.check_files()?;
        Ok(bundle)
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

    fn check_files(&self) -> Result<(), BundleError> {
        let count = self.graphs().count();
        if count != 1 {
            let path = self.folder.join(MANIFEST);
            return Err(BundleError::Graphs { path, count });
        }
        for (file, expected) in &self.manifest.files {
            let path = self.folder.join(file);
            let found = hash_file(&path).map_err(|cause| BundleError::Unreadable {
                path: path.clone(),
                cause,
            })?;
            if !found.eq_ignore_ascii_case(expected) {
                let expected = expected.clone();
                return Err(BundleError::Hash {
                    path,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

fn hash_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
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
    fn missing_manifest_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let message = Bundle::open(folder.path()).expect_err("empty").to_string();
        assert!(message.contains("manifest.toml: No such file"), "{message}");
    }
}
