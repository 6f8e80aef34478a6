//! Starting and ending processes.
//!
//! Each child is started by way of a `dermald child`, which ties its life to ours (the kernel tells it
//! when we are gone, however we went) and becomes the command. It leads a process group of its own: a
//! Ctrl-C in a terminal reaches us alone, and we pass on what is right.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The command that becomes another: see [`become_command`].
pub const CHILD: &str = "child";

/// The exit code for a command that is there but cannot be run, as shells have it.
pub const NOT_EXECUTABLE: u8 = 126;

/// The exit code for a command that is not there, as shells have it.
pub const NOT_FOUND: u8 = 127;

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
    let Some((program, arguments)) = command.split_first() else {
        return (NOT_FOUND, "there is no command".into());
    };
    let error = Command::new(program).args(arguments).exec();
    let code = if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_EXECUTABLE
    };
    (code, format!("{}: {error}", program.display()))
}

/// One of our children that has ended, if there is one.
pub(super) fn reap() -> Option<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            Ok(status) => return Some(status),
            Err(Errno::EINTR) => {}
            Err(errno) => {
                tracing::error!(%errno, "children cannot be waited for");
                return None;
            }
        }
    }
}

/// All that we have, those of ended children included.
pub(super) fn children() -> Vec<Pid> {
    let listed = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let numbers = listed.split_whitespace().filter_map(|pid| pid.parse().ok());
    numbers.map(Pid::from_raw).collect()
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
pub(super) fn fate(status: WaitStatus) -> String {
    match status {
        WaitStatus::Exited(_, code) => format!("exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("signal {signal}"),
        other => format!("{other:?}"),
    }
}
