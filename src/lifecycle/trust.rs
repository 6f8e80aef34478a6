//! Whose files we rely on.
//!
//! A folder that others can write in, or a file that they can change, may hold anything by the time
//! that we use it.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;

/// Makes sure that `path` is a real folder of ours or root's that nobody else may write in.
///
/// # Errors
///
/// When it cannot be looked at; in the inner result the reason why it is not to be trusted.
pub fn folder(path: &Path) -> io::Result<Result<(), String>> {
    let found = std::fs::symlink_metadata(path)?;
    Ok(if found.is_symlink() {
        Err("it is a symbolic link".into())
    } else if found.is_dir() {
        owned(&found)
    } else {
        Err("it is no folder".into())
    })
}

/// Makes sure that what was found is ours or root's, and that nobody else may write to it.
///
/// # Errors
///
/// The reason why it is not to be trusted.
pub fn owned(found: &Metadata) -> Result<(), String> {
    let own = geteuid().as_raw();
    if found.uid() != own && found.uid() != 0 {
        Err(format!(
            "it belongs to user {}, and we are user {own}",
            found.uid()
        ))
    } else if found.mode() & 0o022 != 0 {
        Err(format!(
            "others may write in it (mode {:o})",
            found.mode() & 0o7777
        ))
    } else {
        Ok(())
    }
}
