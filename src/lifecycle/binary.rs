//! The binary that the next image is made from.

use std::fs::Metadata;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Leads to what runs now, also when its file was replaced or removed.
const RUNNING: &str = "/proc/self/exe";

/// A binary that takes longer to tell its version takes no place of ours.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often is looked whether it has told.
const PAUSE: Duration = Duration::from_millis(5);

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
    match version(path) {
        Ok(version) => {
            tracing::info!(
                binary = %path.display(),
                version,
                "another binary lies in our place; it takes over"
            );
            path.to_owned()
        }
        Err(error) => {
            tracing::warn!(
                binary = %path.display(),
                %error,
                "what lies in our place is no dermald that runs; the old binary goes on"
            );
            RUNNING.into()
        }
    }
}

/// What the binary says of itself. Blocks as long as it may take for that.
fn version(path: &Path) -> io::Result<String> {
    let mut process = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let started = Instant::now();
    let status = loop {
        match process.try_wait()? {
            Some(status) => break status,
            None if started.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            None => {
                process.kill()?;
                process.wait()?;
                return Err(io::Error::other("it does not tell its version"));
            }
        }
    };
    let mut told = String::new();
    if let Some(stdout) = process.stdout.take() {
        stdout.take(1024).read_to_string(&mut told)?;
    }
    if status.success() && told.starts_with("dermald ") {
        Ok(told.trim().to_owned())
    } else {
        Err(io::Error::other(format!("{status}")))
    }
}

/// Where everything lies that was loaded to run us: the loader, the C library, and what `LD_PRELOAD`
/// names.
#[must_use]
pub fn loaded_from() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let files = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    let mut folders: Vec<PathBuf> = files
        .filter_map(|file| Some(Path::new(file).parent()?.to_owned()))
        .collect();
    folders.sort();
    folders.dedup();
    folders
}

fn is_running(path: &Path) -> bool {
    let file = |found: Metadata| (found.dev(), found.ino());
    let found = std::fs::metadata(path).map(file);
    let running = std::fs::metadata(RUNNING).map(file);
    matches!((found, running), (Ok(found), Ok(running)) if found == running)
}
