//! Finding and loading ONNX Runtime's library.
//!
//! The library comes with the PyPI package `onnxruntime`, which a Django site installs beside us.
//! It is loaded at the first need: a daemon that has not been asked anything stays at a few MB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::logging::LogLevel;

use super::architecture::Architecture;
use crate::model::prepared::Host;

/// ONNX Runtime, loaded. A process can have one.
#[derive(Debug)]
pub struct Runtime {
    /// What sessions live in.
    pub(super) environment: Environment,
    /// Where it was found.
    pub(super) library: PathBuf,
}

impl Runtime {
    /// Finds and loads the library.
    ///
    /// # Errors
    ///
    /// [`RuntimeError`].
    pub fn start(named: Option<&Path>) -> Result<Self, RuntimeError> {
        let library = find(named)?;
        let environment = load(&library)?;
        Ok(Runtime {
            environment,
            library,
        })
    }

    /// Where it was found.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// What a graph that is prepared here and now is good for. The build names a commit, the file a
    /// version.
    #[must_use]
    pub fn host(&self) -> Host {
        let library = self.library.canonicalize();
        let library = library.as_ref().unwrap_or(&self.library);
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        Host::with_runtime(&format!("{name}, {}", ort::info()))
    }
}

/// The oldest ONNX Runtime that is accepted; the same number as the `api-24` feature of `ort`.
pub const OLDEST: &str = "1.24";

/// Why ONNX Runtime cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It is nowhere to be found.
    #[error("ONNX Runtime was not found (looked at {looked}); install it with \
             `pip install 'onnxruntime>={OLDEST}'` beside dermald, or name the library with \
             DERMALD_ONNXRUNTIME=/path/to/libonnxruntime.so", looked = .0.join(", "))]
    Missing(Vec<String>),
    /// The library is for other processors.
    #[error("{} is built for {theirs}, and this machine is {ours}; install onnxruntime on the machine that \
             it is to run on (`pip install --force-reinstall 'onnxruntime>={OLDEST}'`)", library.display())]
    Architecture {
        /// The library.
        library: PathBuf,
        /// What it is built for.
        theirs: String,
        /// What we are.
        ours: String,
    },
    /// The library was found but does not serve.
    #[error("{} cannot be used: {reason}; dermald needs ONNX Runtime {OLDEST} or newer \
             (`pip install 'onnxruntime>={OLDEST}'`)", library.display())]
    Unusable {
        /// The library.
        library: PathBuf,
        /// What ONNX Runtime, or the loader, said.
        reason: String,
    },
}

/// Everything that [`find`] and the loader of what it finds look at: the library that was named, with
/// the packages that it lies among, and the places where one is looked for.
#[must_use]
pub fn places(named: Option<&Path>) -> Vec<PathBuf> {
    let (beside, libraries) = near_the_binary();
    let mut places = vec![beside, libraries];
    let real = named.and_then(|named| named.canonicalize().ok());
    for library in named.map(Path::to_owned).into_iter().chain(real) {
        let is_packages =
            |folder: &&Path| folder.ends_with("site-packages") || folder.ends_with("dist-packages");
        let packages = library.ancestors().find(is_packages);
        places.extend(packages.or(library.parent()).map(Path::to_owned));
        places.push(library);
    }
    places
}

/// Finds the library: the one that was named (`named`), one beside the binary, one in `../lib/dermald`
/// where `make install` puts it, or the one in the virtual environment that the binary lives in.
///
/// # Errors
///
/// [`RuntimeError::Missing`], with the places that were looked at.
pub fn find(named: Option<&Path>) -> Result<PathBuf, RuntimeError> {
    if let Some(library) = named {
        return if library.is_file() {
            Ok(library.to_owned())
        } else {
            Err(RuntimeError::Missing(vec![library.display().to_string()]))
        };
    }
    let (beside, libraries) = near_the_binary();
    find_in(&beside, &libraries)
}

/// The folder that the binary lies in, and `lib` next to that.
fn near_the_binary() -> (PathBuf, PathBuf) {
    let binary = std::env::current_exe().unwrap_or_default();
    let beside = binary.parent().unwrap_or(Path::new("/"));
    let libraries = beside.parent().map(|root| root.join("lib"));
    (beside.to_owned(), libraries.unwrap_or_default())
}

/// Finds the library in the folder that the binary lies in, or in the `lib` next to it.
fn find_in(beside: &Path, libraries: &Path) -> Result<PathBuf, RuntimeError> {
    let installed = libraries.join("dermald");
    library_in(beside)
        .or_else(|| library_in(&installed))
        .or_else(|| library_in_packages(libraries))
        .ok_or_else(|| {
            let python = libraries.join("python3*/site-packages/onnxruntime/capi");
            RuntimeError::Missing(vec![
                "DERMALD_ONNXRUNTIME and ORT_DYLIB_PATH (not set)".into(),
                beside.display().to_string(),
                installed.display().to_string(),
                python.display().to_string(),
            ])
        })
}

/// Makes sure that `library` is for a processor of our kind. What is no library at all passes: the loader
/// has the words for that.
///
/// # Errors
///
/// [`RuntimeError::Architecture`].
pub fn fits_this_machine(library: &Path) -> Result<(), RuntimeError> {
    match (Architecture::of(library), Architecture::ours()) {
        (Some(theirs), Some(ours)) if theirs != ours => Err(RuntimeError::Architecture {
            library: library.to_owned(),
            theirs: theirs.name(),
            ours: ours.name(),
        }),
        _ => Ok(()),
    }
}

/// Loads `library` and makes the environment that sessions live in.
///
/// # Errors
///
/// [`RuntimeError::Architecture`] when it is for other processors, [`RuntimeError::Unusable`] when the loader
/// refuses it or it is too old.
pub fn load(library: &Path) -> Result<Environment, RuntimeError> {
    fits_this_machine(library)?;
    let unusable = |reason: String| RuntimeError::Unusable {
        library: library.to_owned(),
        reason,
    };
    ort::init_from(library)
        .map_err(|error| unusable(error.to_string()))?
        .with_name("dermald")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, _, _, place, message| {
            log(level, place, message);
        }))
        .build()
        .map_err(|error| unusable(error.to_string()))
}

/// Passes on what ONNX Runtime has to say. It calls a run that we stopped an error.
fn log(level: LogLevel, place: &str, message: &str) {
    if message.contains("terminate flag") {
        return tracing::debug!(place, "ONNX Runtime: {message}");
    }
    match level {
        LogLevel::Verbose => tracing::trace!(place, "ONNX Runtime: {message}"),
        LogLevel::Info => tracing::debug!(place, "ONNX Runtime: {message}"),
        LogLevel::Warning => tracing::warn!(place, "ONNX Runtime: {message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(place, "ONNX Runtime: {message}"),
    }
}

fn library_in_packages(packages: &Path) -> Option<PathBuf> {
    let folders = std::fs::read_dir(packages).ok()?;
    folders
        .flatten()
        .filter(|folder| folder.file_name().to_string_lossy().starts_with("python3"))
        .find_map(|folder| library_in(&folder.path().join("site-packages/onnxruntime/capi")))
}

/// `libonnxruntime.so`, or `libonnxruntime.so.1.24.1`: the highest name when there are several.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let is_library = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so"))
    };
    let files = std::fs::read_dir(folder).ok()?;
    files
        .flatten()
        .map(|file| file.path())
        .filter(is_library)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_library_that_is_missing_is_not_replaced_by_another() {
        let message = find(Some(Path::new("/nowhere/libonnxruntime.so")))
            .expect_err("it is not there")
            .to_string();
        assert!(message.contains("/nowhere/libonnxruntime.so"), "{message}");
        assert!(message.contains("pip install"), "{message}");
    }

    #[test]
    fn library_that_was_installed_with_the_binary_is_found() {
        let prefix = tempfile::tempdir().expect("a temporary folder");
        let (binaries, ours) = (prefix.path().join("bin"), prefix.path().join("lib/dermald"));
        std::fs::create_dir_all(&ours).expect("made");
        let missing = find_in(&binaries, &prefix.path().join("lib"))
            .expect_err("none yet")
            .to_string();
        assert!(missing.contains(&*ours.display().to_string()), "{missing}");
        std::fs::write(ours.join("libonnxruntime.so"), b"").expect("written");
        let found = find_in(&binaries, &prefix.path().join("lib")).expect("it is there");
        assert_eq!(found, ours.join("libonnxruntime.so"));
    }

    #[test]
    fn versioned_library_in_a_virtual_environment_is_found() {
        let packages = tempfile::tempdir().expect("a temporary folder");
        let capi = packages
            .path()
            .join("python3.11/site-packages/onnxruntime/capi");
        std::fs::create_dir_all(&capi).expect("made");
        std::fs::write(capi.join("libonnxruntime.so.1.32.0"), b"").expect("written");
        std::fs::write(capi.join("libonnxruntime_providers_shared.so"), b"").expect("written");
        let found = library_in_packages(packages.path());
        assert_eq!(found, Some(capi.join("libonnxruntime.so.1.32.0")));
    }
}
