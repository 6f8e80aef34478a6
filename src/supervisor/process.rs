//! Starting and ending processes.
//!
//! Each child is started by way of a `dermald child`, which ties its life to ours (the kernel tells it
//! when we are gone, however we went) and becomes the command. It leads a process group of its own: a
//! Ctrl-C in a terminal reaches us alone, and we pass on what is right.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::program;

/// The command that becomes another: see [`become_command`].
pub const CHILD: &str = "child";

/// Children of our children come to us when those end, and not to init.
///
/// # Errors
///
/// Never since Linux 3.4.
pub(super) fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(true)?)
}

/// Starts `command`, which gets `signal` should we end before it, with `variables` set or, where there is
/// no value, removed.
///
/// # Errors
///
/// When the kernel gives no process. A command that cannot be run is known by its exit code.
pub(super) fn start(
    command: &[OsString],
    signal: Signal,
    variables: &[(&str, Option<OsString>)],
) -> io::Result<Pid> {
    let mut process = Command::new("/proc/self/exe");
    process
        .arg0("dermald")
        .args([CHILD, "--for", &std::process::id().to_string()])
        .args(["--signal", signal.as_str(), "--"])
        .args(command)
        .process_group(0);
    for (name, value) in variables {
        match value {
            Some(value) => process.env(name, value),
            None => process.env_remove(name),
        };
    }
    let id = process.spawn()?.id();
    Ok(Pid::from_raw(id.cast_signed()))
}

/// The same with a descriptor that it inherits.
pub(super) fn start_with(
    descriptor: BorrowedFd<'_>,
    command: &[OsString],
    signal: Signal,
    variables: &[(&str, Option<OsString>)],
) -> io::Result<Pid> {
    // There is no other thread that could start something meanwhile.
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut with = variables.to_vec();
    let number = descriptor.as_raw_fd().to_string();
    with.extend([
        ("LISTEN_FDS", Some("1".into())),
        ("LISTEN_FDS_FIRST_FD", Some(number.into())),
        ("LISTEN_PID", None),
    ]);
    let started = start(command, signal, &with);
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    started
}

/// Becomes `command`. Returns only when that fails: with the exit code, and why.
#[must_use]
pub fn become_command(command: &[OsString]) -> (u8, String) {
    let Some((name, arguments)) = command.split_first() else {
        return (program::NOT_FOUND, "there is no command".into());
    };
    let error = Command::new(name).args(arguments).exec();
    program::complaint(name, &error)
}

/// Whether it is a `dermald child` still, and not yet what it is to become. A signal that it gets now finds
/// no handler of the command's.
pub(super) fn is_becoming(pid: Pid) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).skip(1);
    words.next() == Some(CHILD.as_bytes()) && words.next() == Some(b"--for")
}

/// One of our children that has ended, if there is one, and how.
pub(super) fn reap() -> Option<(Pid, ExitStatus)> {
    loop {
        match wait() {
            Ok(ended) => return ended,
            Err(Errno::ECHILD) => return None,
            Err(Errno::EINTR) => {}
            Err(errno) => {
                tracing::error!(%errno, "children cannot be waited for");
                return None;
            }
        }
    }
}

/// Not nix's: that has no name for real-time signals, and forgets whom they ended.
#[expect(
    unsafe_code,
    reason = "the standard library waits for one known child only"
)]
fn wait() -> nix::Result<Option<(Pid, ExitStatus)>> {
    let mut status = 0;
    // SAFETY: the kernel writes one number, which is ours.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) })?;
    Ok((pid != 0).then(|| (Pid::from_raw(pid), ExitStatus::from_raw(status))))
}

/// Whether we have any, ended ones that nobody waited for included.
pub(super) fn has_children() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::All, look), Err(Errno::ECHILD))
}

/// All that we have, those of ended children included.
pub(super) fn children() -> Vec<Pid> {
    // A kernel may be built without that file.
    let listed = std::fs::read_to_string("/proc/thread-self/children");
    listed.map_or_else(
        |_| children_by_their_parent(),
        |pids| {
            let numbers = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
            numbers.map(Pid::from_raw).collect()
        },
    )
}

/// The same by looking at every process.
fn children_by_their_parent() -> Vec<Pid> {
    let own = std::process::id();
    let is_ours = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything, come the state and the parent.
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_whitespace()
            .nth(1)
            .and_then(|id| id.parse().ok())
            == Some(own)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_ours).map(Pid::from_raw).collect()
}

/// Sends a signal; one that has ended meanwhile does not mind.
pub(super) fn send(pid: Pid, signal: Signal) {
    if let Err(errno) = kill(pid, signal)
        && errno != Errno::ESRCH
    {
        tracing::warn!(%pid, %signal, %errno, "a signal could not be sent");
    }
}

/// How it ended, in words.
pub(super) fn fate(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("signal {signal}"),
            Err(_) => format!("signal {number}"),
        },
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_by_their_parent_where_the_kernel_does_not_list_them() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("started");
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(children_by_their_parent().contains(&pid));
        child.kill().expect("killed");
        child.wait().expect("waited for");
        assert!(!children_by_their_parent().contains(&pid));
    }

    #[test]
    fn fates_have_names_where_signals_have() {
        assert_eq!(fate(ExitStatus::from_raw(7 << 8)), "exit code 7");
        assert_eq!(fate(ExitStatus::from_raw(9)), "signal SIGKILL");
        assert_eq!(fate(ExitStatus::from_raw(35)), "signal 35");
    }
}
