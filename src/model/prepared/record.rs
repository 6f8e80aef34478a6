//! What stands beside a prepared model: what it was made of, for whom, and the stamps of its files.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::FORM;
use crate::lifecycle::trust;
use crate::model::Bundle;
use crate::model::bundle::Stamps;
use crate::model::stamp::Stamp;

/// Its file.
pub(super) const RECORD: &str = "prepared.toml";

/// What stands in `prepared.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) form: u32,
    /// For people.
    pub(super) model: String,
    pub(super) digest: String,
    pub(super) runtime: String,
    pub(super) cpu: String,
    /// The bundle's files when their hashes were checked.
    pub(super) bundle: Stamps,
    pub(super) files: Files,
}

/// The files of a prepared model, by name.
pub(super) type Files = BTreeMap<String, Sealed>;

/// A file as it was when it was found whole. With another stamp it was touched, or copied to another
/// disk with the whole cache, as hosts do that build on one machine and serve on another; then its hash
/// decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    pub(super) sha256: String,
    pub(super) stamp: Stamp,
}

/// The record in `folder`, when there is one of our form that nobody else can have written.
pub(super) fn read_record(folder: &Path) -> Option<Record> {
    let path = folder.join(RECORD);
    let found = std::fs::symlink_metadata(&path).ok()?;
    trust::owned(&found).ok()?;
    let record: Record = toml::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    (record.form == FORM).then_some(record)
}

pub(super) fn write_record(path: &Path, record: &Record, mode: u32) -> io::Result<()> {
    let text = toml::to_string(record).expect("plain tables and numbers");
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode & 0o644))?;
    file.sync_all()
}

/// Notes the stamps of a bundle that was copied anew, so that it need not be hashed at every start.
/// Called with the lock held.
pub(super) fn remember(folder: &Path, record: Record, bundle: &Bundle) {
    let record = Record {
        bundle: bundle.checked.clone(),
        ..record
    };
    replace(folder, &record);
}

/// Writes the record anew. Whoever may only read the cache cannot, and does without. Called with the
/// lock held.
pub(super) fn replace(folder: &Path, record: &Record) {
    let beside = folder.join(format!("{RECORD}.new"));
    let written = std::fs::metadata(folder)
        .and_then(|found| write_record(&beside, record, found.permissions().mode()))
        .and_then(|()| std::fs::rename(&beside, folder.join(RECORD)));
    if let Err(error) = written {
        tracing::debug!(%error, "files could not be noted as checked");
    }
}

/// The record's time tells when the model was last opened.
pub(super) fn mark_used(folder: &Path) {
    let touched =
        File::open(folder.join(RECORD)).and_then(|record| record.set_modified(SystemTime::now()));
    if let Err(error) = touched {
        tracing::debug!(%error, "a prepared model could not be marked as used");
    }
}
