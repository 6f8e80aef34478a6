//! The command that `dermald run` is to start.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

use nix::unistd::{AccessFlags, eaccess};

use super::Findings;
use crate::supervisor::program;

const TOPIC: &str = "command";

/// What gunicorn gives its workers when nothing else is said.
const GRACEFUL_TIMEOUT: u64 = 30;

/// Whether it can be started, and what of gunicorn's flags does not go with us. gunicorn's own
/// configuration file is not read.
pub(super) fn command(findings: &mut Findings, words: &[OsString], stop_timeout: Duration) {
    let Some(name) = words.first() else { return };
    match program::judge(name) {
        Err((code, why)) => {
            findings.wrong(
                TOPIC,
                &format!("{why} (`dermald run` would end with {code})"),
            );
        }
        Ok(file) => findings.ok(TOPIC, &file.display().to_string()),
    }
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    if let [shell, "-c" | "-ec", line, ..] = words[..]
        && is_named(shell, &["sh", "bash", "dash"])
    {
        // A shell becomes its last command by itself only when it has no other.
        let is_list = line.contains("&&") || line.contains(';');
        if is_list && !line.contains("exec ") {
            findings.note(
                TOPIC,
                "the shell is told to stop, and its last command is not: begin that with `exec`",
            );
        }
        let line: Vec<&str> = line.split_whitespace().collect();
        return gunicorn(findings, &line, stop_timeout);
    }
    gunicorn(findings, &words, stop_timeout);
}

fn is_named(word: &str, names: &[&str]) -> bool {
    let name = Path::new(word).file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| names.contains(&name))
}

fn gunicorn(findings: &mut Findings, words: &[&str], stop_timeout: Duration) {
    let Some(place) = words.iter().position(|word| is_named(word, &["gunicorn"])) else {
        return;
    };
    let flags = &words[place + 1..];
    let has = |names: [&str; 2]| flags.iter().any(|flag| names.contains(flag));
    if has(["--daemon", "-D"]) {
        findings.wrong(
            TOPIC,
            "gunicorn goes into the background with --daemon, which ends everything (125): leave it out",
        );
    }
    if has(["--preload", "--preload-app"]) {
        findings.note(
            TOPIC,
            "with gunicorn's --preload, HUP does not load the site anew; the client works with it",
        );
    }
    if let Some(folder) = value(flags, "--worker-tmp-dir")
        && let Err(errno) = eaccess(Path::new(folder), AccessFlags::W_OK | AccessFlags::X_OK)
    {
        findings.wrong(
            TOPIC,
            &format!(
                "gunicorn cannot use --worker-tmp-dir {folder}: {}; leave it out, or name a folder in \
                 memory",
                errno.desc()
            ),
        );
    }
    let graceful = value(flags, "--graceful-timeout").and_then(|text| text.parse().ok());
    let graceful = Duration::from_secs(graceful.unwrap_or(GRACEFUL_TIMEOUT));
    if graceful >= stop_timeout {
        findings.note(
            TOPIC,
            &format!(
                "gunicorn gives its workers {graceful:?} (--graceful-timeout), and is killed after \
                 {stop_timeout:?} (--stop-timeout): let the first be shorter by some seconds"
            ),
        );
    }
}

/// What a flag says, as `--flag value` or `--flag=value`; the last one counts.
fn value<'a>(flags: &[&'a str], name: &str) -> Option<&'a str> {
    let mut found = None;
    for (place, flag) in flags.iter().enumerate() {
        if *flag == name {
            found = flags.get(place + 1).copied();
        } else if let Some(value) = flag.strip_prefix(name)
            && let Some(value) = value.strip_prefix('=')
        {
            found = Some(value);
        }
    }
    found
}
