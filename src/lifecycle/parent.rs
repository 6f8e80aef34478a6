//! Being the child of a process of ours.

use std::io;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// Ties our life to that of `parent`, the process that started us: the kernel sends us `signal` when it
/// ends, however it ends. Stays in force over an `exec`.
///
/// # Errors
///
/// When it has ended already, or the kernel refuses.
pub fn die_with(parent: u32, signal: Signal) -> io::Result<()> {
    set_pdeathsig(signal)?;
    // It may have ended before the line above; then we have been given to another.
    if u32::try_from(getppid().as_raw()) == Ok(parent) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "process {parent}, for which this was to be done, has ended"
    )))
}
