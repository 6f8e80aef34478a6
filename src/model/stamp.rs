//! What tells a file from a changed one without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Identity, size and times of a file. Two equal stamps mean that nobody wrote to it in between:
/// the time of the last change of attributes can only be set by the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// The file system.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// In bytes.
    pub size: u64,
    /// Last change of content: seconds and nanoseconds.
    pub modified: [i64; 2],
    /// Last change of content or attributes: seconds and nanoseconds.
    pub changed: [i64; 2],
}

impl Stamp {
    /// The stamp of an open or named file.
    #[must_use]
    pub fn of(file: &Metadata) -> Self {
        Stamp {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: [file.mtime(), file.mtime_nsec()],
            changed: [file.ctime(), file.ctime_nsec()],
        }
    }
}
