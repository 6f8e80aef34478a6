//! What a command's first word means: the file that would be run, and why it cannot be.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

/// The exit code for a command that is there but cannot be run, as shells have it.
pub const NOT_EXECUTABLE: u8 = 126;

/// The exit code for a command that is not there, as shells have it.
pub const NOT_FOUND: u8 = 127;

/// No kernel reads more of a first line.
const FIRST_LINE: u64 = 256;

/// The file that `name` means: a path as it is, a bare word by way of PATH, where one that may be run comes
/// before one that may not.
#[must_use]
pub fn find(name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let found: Vec<_> = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .filter(|file| file.is_file())
        .collect();
    let runs = found.iter().find(|file| may_run(file));
    runs.or(found.first()).cloned()
}

/// Why `name` cannot be run, as far as that can be known without running it; the exit code that it would
/// give comes with it.
///
/// # Errors
///
/// That code, and the reason.
pub fn judge(name: &OsStr) -> Result<PathBuf, (u8, String)> {
    let Some(file) = find(name) else {
        return Err(complaint(name, &io::ErrorKind::NotFound.into()));
    };
    if file.is_dir() || !may_run(&file) {
        return Err(complaint(name, &io::ErrorKind::PermissionDenied.into()));
    }
    match interpreter(&file) {
        Some(interpreter) if !interpreter.exists() => {
            Err(complaint(name, &io::ErrorKind::NotFound.into()))
        }
        _ => Ok(file),
    }
}

/// The exit code and the words for `name`, which the kernel did not run.
pub(super) fn complaint(name: &OsStr, error: &io::Error) -> (u8, String) {
    let shown = name.display();
    if error.kind() != io::ErrorKind::NotFound {
        return (NOT_EXECUTABLE, format!("{shown}: {error}"));
    }
    let Some(file) = find(name) else {
        return (NOT_FOUND, format!("{shown}: {error}"));
    };
    // It is there: what is missing is what it names.
    let file_shown = file.display();
    let why = match interpreter(&file) {
        Some(interpreter) => format!(
            "{file_shown}: its first line names {} to run it, which is not there (a virtual environment \
             that was moved or made anew elsewhere?)",
            interpreter.display()
        ),
        None => format!("{file_shown}: it is there, and the loader that it asks for is not"),
    };
    (NOT_EXECUTABLE, why)
}

/// What the first line of a script names.
fn interpreter(file: &Path) -> Option<PathBuf> {
    let mut line = Vec::new();
    let mut start = BufReader::new(std::fs::File::open(file).ok()?.take(FIRST_LINE));
    start.read_until(b'\n', &mut line).ok()?;
    let rest = line.strip_prefix(b"#!")?.trim_ascii();
    let name = rest.split(u8::is_ascii_whitespace).next()?;
    Some(OsString::from_vec(name.to_vec()).into())
}

fn may_run(file: &Path) -> bool {
    access(file, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_cannot_be_run_is_told_with_its_code() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = |name: &str, text: &str, mode| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).expect("set");
            file.into_os_string()
        };
        let code = |name: &OsStr| judge(name).map_err(|(code, _)| code);
        assert_eq!(code(OsStr::new("/nowhere/gunicorn")), Err(NOT_FOUND));
        assert_eq!(code(OsStr::new("no-such-word-in-path")), Err(NOT_FOUND));
        assert_eq!(code(folder.path().as_os_str()), Err(NOT_EXECUTABLE));
        let plain = script("plain", "#!/bin/sh\n", 0o644);
        assert_eq!(code(&plain), Err(NOT_EXECUTABLE));
        let sound = script("sound", "#!/bin/sh -e\n", 0o755);
        assert_eq!(judge(&sound), Ok(sound.into()));
        let moved = script("moved", "#!/nowhere/bin/python3\nimport os\n", 0o755);
        let (code, why) = judge(&moved).expect_err("no interpreter");
        assert_eq!(code, NOT_EXECUTABLE);
        assert!(why.contains("names /nowhere/bin/python3"), "{why}");
        assert!(judge(OsStr::new("sh")).is_ok());
    }
}
