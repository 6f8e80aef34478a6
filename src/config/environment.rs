//! The only module that reads the environment, and what little is written to it.

use std::path::PathBuf;

use super::{Given, KEYS, keys};

/// Pictures that are not to be worked on any more, from `dermald run`.
pub const REFUSED_PICTURES: &str = "DERMALD_REFUSED_PICTURES";

/// Names the configuration file.
pub const FILE_VARIABLE: &str = "DERMALD_CONFIG";

/// Names the folders that systemd made for a unit by `CacheDirectory=`, with colons.
const UNITS_CACHE: &str = "CACHE_DIRECTORY";

/// Names what a test has us rehearse.
const REHEARSAL_VARIABLE: &str = "DERMALD_REHEARSE";

/// Every setting that the environment gives. Of a site's own variable and ours, ours comes last and
/// so wins. An empty variable counts as not set.
#[must_use]
pub fn settings() -> Vec<Given> {
    KEYS.iter()
        .flat_map(|row| {
            row.also
                .into_iter()
                .chain([row.variable])
                .filter_map(|variable| given(row.name, variable))
        })
        .collect()
}

/// The file that the environment names.
#[must_use]
pub fn config_file() -> Option<PathBuf> {
    text(FILE_VARIABLE).map(PathBuf::from)
}

/// Where programs keep what can be made again: in the folder that systemd gives to the unit
/// (`CacheDirectory=`), or by the XDG base directory specification, or in a folder of the user's own
/// under `/var/tmp` where there is no home.
#[must_use]
pub fn cache_folder() -> PathBuf {
    let absolute = |variable| {
        text(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let beside = || {
        absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
            .map(|folder| folder.join("dermald"))
    };
    of_the_unit()
        .or_else(beside)
        .unwrap_or_else(|| format!("/var/tmp/dermald-{}", nix::unistd::geteuid()).into())
}

/// The unit's own cache: where it has several, the first.
fn of_the_unit() -> Option<PathBuf> {
    let folders = text(UNITS_CACHE)?;
    let first = PathBuf::from(folders.split(':').next()?);
    first.is_absolute().then_some(first)
}

/// The user's own folder.
#[must_use]
pub fn home() -> Option<PathBuf> {
    text("HOME").map(PathBuf::from)
}

/// Where the loader looks for libraries before anywhere else.
#[must_use]
pub fn library_folders() -> Vec<PathBuf> {
    std::env::var_os("LD_LIBRARY_PATH")
        .map(|list| std::env::split_paths(&list).collect())
        .unwrap_or_default()
}

/// Forbids ONNX Runtime to report to its makers. From 1.29 on its Linux builds do so unless this
/// variable is set before they are loaded: they keep a database in the user's cache, note in it the
/// path of our binary, a number for the machine and what is known of the model, and send it off. What
/// `ort` offers for this comes too late for the first report.
///
/// Called before there is a second thread.
#[expect(
    unsafe_code,
    reason = "ONNX Runtime reads the process's own environment; we are alone in it so far"
)]
pub fn forbid_telemetry() {
    // SAFETY: no other thread exists that could read the environment meanwhile.
    unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
}

/// Whether a test wants us to rehearse `fault`: `leak` keeps a MiB of each request, `exec` has a renewal
/// fail, `crash` the start, `stop` has that stand still until CONT, `haste` has `run` pause for a tenth
/// between crashes, `impatience` has it try a daemon that it gave up again after seconds, `old-kernel` has
/// no sandbox. Several are told apart by commas. Only in debug builds.
#[must_use]
pub fn rehearses(fault: &str) -> bool {
    let is_named = |wanted: String| wanted.split(',').any(|word| word == fault);
    cfg!(debug_assertions) && text(REHEARSAL_VARIABLE).is_some_and(is_named)
}

/// The file and the port of this host that a test has us try to reach from within the sandbox, as
/// `escape=PORT,FILE`. Only in debug builds.
#[must_use]
pub fn rehearsed_escape() -> Option<(PathBuf, u16)> {
    let wanted = text(REHEARSAL_VARIABLE).filter(|_| cfg!(debug_assertions))?;
    let (port, file) = wanted.strip_prefix("escape=")?.split_once(',')?;
    Some((file.into(), port.parse().ok()?))
}

/// SHA-256 of each picture at which the process crashed too often.
#[must_use]
pub fn refused_pictures() -> Vec<[u8; 32]> {
    let listed = text(REFUSED_PICTURES).unwrap_or_default();
    listed.split(',').filter_map(digest).collect()
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (place, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(digest)
}

/// Variables that look like settings of ours but are none, each with a hint.
#[must_use]
pub fn unknown() -> Vec<String> {
    let known = |name: &str| {
        name == FILE_VARIABLE
            || name == REFUSED_PICTURES
            || name == REHEARSAL_VARIABLE
            || KEYS.iter().any(|row| row.variable == name)
    };
    std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("DERMALD_") && !known(name))
        .map(|name| {
            format!(
                "{name} is no setting{}",
                keys::hint(&name["DERMALD_".len()..])
            )
        })
        .collect()
}

fn given(key: &'static str, variable: &str) -> Option<Given> {
    let value = text(variable)?;
    Some(Given {
        origin: format!("environment variable {variable}"),
        key,
        value,
    })
}

/// A value that is no UTF-8 is passed on with its bad bytes replaced, so that the error shows it.
fn text(variable: &str) -> Option<String> {
    let value = std::env::var_os(variable)?.to_string_lossy().into_owned();
    (!value.trim().is_empty()).then_some(value)
}
