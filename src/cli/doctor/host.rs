//! CPUs, memory, the place of the socket, and what the kernel offers.

use std::path::Path;

use bytesize::ByteSize;
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, eaccess};

use super::Findings;
use crate::cli::init::{LITTLE_MEMORY, SHARE};
use crate::config::{Config, SandboxPolicy};
use crate::daemon;
use crate::lifecycle::cgroup;
use crate::server::place;

/// Less room than this for what lies in memory is worth a word, in bytes.
const LITTLE_SHARED_MEMORY: u64 = 16 << 20;

const ELSEWHERE: &str =
    "set socket (--socket, DERMALD_SOCKET) to a folder of your own, in /tmp for one";

/// CPUs and memory, and what of the settings does not suit them.
pub(in crate::cli) fn machine(findings: &mut Findings, config: &Config) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = config.threads;
    if threads > cpus {
        findings.note(
            "CPUs",
            &format!("{cpus} may be used, and threads is {threads}: they will hold each other up"),
        );
    } else {
        findings.ok("CPUs", &format!("{cpus} may be used, threads is {threads}"));
    }
    let all = cgroup::memory();
    let size = match cgroup::memory_limit() {
        Some(limit) if limit <= all => format!("{} by the control group's limit", ByteSize(all)),
        _ => ByteSize(all).to_string(),
    };
    match config.memory_limit {
        None if all < LITTLE_MEMORY => findings.note(
            "memory",
            &format!(
                "{size} for everything here, and memory_limit is not set: with {SHARE} the daemon renews \
                 itself before the host kills something"
            ),
        ),
        None => findings.ok("memory", &format!("{size}, no memory_limit")),
        Some(_) => findings.ok("memory", &format!("{size}, memory_limit is set")),
    }
}

/// The socket's place: whose it is, whether we may write there, and how much room there is.
pub(in crate::cli) fn socket(findings: &mut Findings, path: &Path) {
    let topic = "socket";
    match found_at(path) {
        Ok(Found::Daemon) => {
            findings.ok(topic, &format!("{}: a daemon answers", path.display()));
        }
        Ok(Found::Room(free)) => {
            let place = format!("{}, {} free there", path.display(), ByteSize(free));
            if free < LITTLE_SHARED_MEMORY {
                findings.note(
                    topic,
                    &format!("{place}: enough for us, little for gunicorn"),
                );
            } else {
                findings.ok(topic, &place);
            }
        }
        Err(why) => findings.wrong(topic, &why),
    }
}

/// What the kernel would hold the daemon to.
pub(super) fn sandbox(findings: &mut Findings, config: &Config) {
    let topic = "sandbox";
    if config.sandbox == SandboxPolicy::Off {
        return findings.note(topic, "off: the daemon keeps all that its user may do");
    }
    let offered = daemon::offered();
    let missing = offered.missing.as_deref().unwrap_or_default();
    match offered.landlock {
        Some(version) if missing.is_empty() => {
            let version = format!("Landlock {version}, seccomp");
            findings.ok(topic, &version);
        }
        Some(version) => findings.note(topic, &format!("Landlock {version}; {missing}")),
        None if config.sandbox == SandboxPolicy::Required => findings.wrong(
            topic,
            &format!("{missing}; set sandbox to auto to start without"),
        ),
        None => findings.note(topic, &format!("files are not protected: {missing}")),
    }
}

enum Found {
    /// It is asked there already.
    Daemon,
    /// So many bytes.
    Room(u64),
}

fn found_at(path: &Path) -> Result<Found, String> {
    if matches!(place::knock(path), Ok(()) | Err(Errno::EAGAIN)) {
        return Ok(Found::Daemon);
    }
    place::look(path).map_err(|error| error.to_string())?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    // The daemon makes the last folder, and no other.
    let there = if folder.is_dir() {
        folder
    } else {
        folder.parent().unwrap_or(folder)
    };
    if !there.is_dir() {
        return Err(format!("{} is not there; {ELSEWHERE}", there.display()));
    }
    eaccess(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|errno| format!("{}: {}; {ELSEWHERE}", there.display(), errno.desc()))?;
    let found = statvfs(there).map_err(|errno| format!("{}: {errno}", there.display()))?;
    Ok(Found::Room(
        found.blocks_available() * found.fragment_size(),
    ))
}
