//! What may lie where a socket is to be: a folder of others', another daemon, a file that is none of ours.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

use super::socket::{SocketError, folder_of, sibling, system};
use crate::lifecycle::trust;

/// Looks for what would keep [`Socket::listen`](super::socket::Socket::listen) from `path`, and changes
/// nothing. Whether we may write in its folder is not looked at.
///
/// # Errors
///
/// [`SocketError`].
pub fn look(path: &Path) -> Result<(), SocketError> {
    let folder = folder_of(path)?;
    if std::fs::symlink_metadata(folder).is_err() {
        return Ok(());
    }
    trusted(folder)?;
    // A lock that cannot be opened is one that was never taken.
    if let Ok(file) = File::open(sibling(path, ".lock")) {
        take(file, path)?;
    }
    clear(path)
}

/// Makes sure that nobody else can put anything in there.
pub(super) fn trusted(folder: &Path) -> Result<(), SocketError> {
    trust::folder(folder)
        .map_err(system(folder, "looking at it"))?
        .map_err(|reason| SocketError::Folder {
            folder: folder.into(),
            reason,
        })
}

/// Locks the file beside the socket at `path`.
pub(super) fn take(file: File, path: &Path) -> Result<Flock<File>, SocketError> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut pid = String::new();
            let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let pid = known.then(|| pid.trim().to_owned());
            Err(SocketError::Taken {
                path: path.into(),
                pid,
            })
        }
        Err((_, errno)) => Err(system(path, "locking")(errno.into())),
    }
}

/// Refuses what is no socket, and a socket that somebody listens on without our lock. A stale
/// socket is left for `bind` to replace.
pub(super) fn clear(path: &Path) -> Result<(), SocketError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system(path, "looking at it")(error)),
    };
    if !found.file_type().is_socket() {
        let reason = "a file that is no socket lies here; it is not removed".into();
        return Err(SocketError::Obstacle {
            path: path.into(),
            reason,
        });
    }
    match knock(path) {
        // A queue that is full is somebody's queue.
        Ok(()) | Err(Errno::EAGAIN) => Err(SocketError::Taken {
            path: path.into(),
            pid: None,
        }),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(system(path, "asking whether somebody listens")(
            errno.into(),
        )),
    }
}

/// Connects and hangs up, without waiting for a listener that does not accept.
///
/// # Errors
///
/// As the kernel says: `EAGAIN` when somebody listens whose queue is full, `ECONNREFUSED` when nobody does.
pub fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
}
