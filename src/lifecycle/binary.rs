//! The binary that the next image is made from.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Leads to what runs now, also when its file was replaced or removed.
const RUNNING: &str = "/proc/self/exe";

/// Where our binary lies on disk: the name that we were started by, so that a link which leads to a
/// newer version by now is followed.
#[must_use]
pub fn on_disk() -> PathBuf {
    let by_name = std::env::args_os()
        .next()
        .map(PathBuf::from)
        .filter(|name| name.components().count() > 1)
        .and_then(|name| std::path::absolute(name).ok())
        .filter(|path| is_running(path));
    by_name
        .or_else(|| std::env::current_exe().ok())
        .unwrap_or_else(|| RUNNING.into())
}

/// What to start in place of this image: what lies at `path`, if it is what runs now or can tell its
/// version; what runs now otherwise. A binary that was not copied whole must not take our place.
#[must_use]
pub fn for_the_next_image(path: &Path) -> PathBuf {
    if is_running(path) {
        return path.to_owned();
    }
    let asked = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    match asked {
        Ok(told) if told.status.success() && told.stdout.starts_with(b"dermald ") => {
            tracing::info!(
                binary = %path.display(),
                version = String::from_utf8_lossy(&told.stdout).trim(),
                "another binary lies in our place; it takes over"
            );
            path.to_owned()
        }
        answer => {
            let error = answer.err().map(|error| error.to_string());
            tracing::warn!(
                binary = %path.display(),
                error,
                "what lies in our place is no dermald that runs; the old binary goes on"
            );
            RUNNING.into()
        }
    }
}

fn is_running(path: &Path) -> bool {
    let file = |found: Metadata| (found.dev(), found.ino());
    let found = std::fs::metadata(path).map(file);
    let running = std::fs::metadata(RUNNING).map(file);
    matches!((found, running), (Ok(found), Ok(running)) if found == running)
}
