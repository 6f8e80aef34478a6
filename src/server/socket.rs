//! The folder, the lock and the listening socket.
//!
//! `/dev/shm` is writable for everybody, so the folder is not taken on trust: it must be a real
//! folder, ours or root's, and writable by nobody else. The lock beside the socket says whether a
//! daemon lives; it belongs to the open file, so it is gone with the process, however that ends.
//! The socket is made under another name and renamed into place: a stale one is replaced in one
//! step, and there is no moment without a socket.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::net::UnixListener;

use super::place::{clear, take, trusted};

/// Device and inode of a socket file that is not ours.
const NO_FILE: (u64, u64) = (0, 0);

/// A listening socket that is ours.
#[derive(Debug)]
pub struct Socket {
    /// Where clients come in.
    pub listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket file, so that a successor's is never removed.
    identity: (u64, u64),
    /// Held as long as we live.
    lock: Flock<File>,
}

/// Why the socket cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The folder is not one to trust.
    #[error("{}: {reason}; set socket (--socket, DERMALD_SOCKET) to a path in a folder of your own, in \
             /tmp for one", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another daemon lives.
    #[error("{}: another daemon{} is serving here; stop it first, or choose another socket",
            path.display(), pid.as_ref().map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Taken {
        /// The socket.
        path: PathBuf,
        /// Its process id, when it is known.
        pid: Option<String>,
    },
    /// Something else lies at the socket's path.
    #[error("{}: {reason}", path.display())]
    Obstacle {
        /// The socket.
        path: PathBuf,
        /// What lies there.
        reason: String,
    },
    /// The operating system refused.
    #[error("{}: {step}: {cause}", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// Why not.
        #[source]
        cause: io::Error,
    },
}

/// Tells where and at what `cause` came up.
pub(super) fn system(path: &Path, step: &'static str) -> impl FnOnce(io::Error) -> SocketError {
    let path = path.to_owned();
    move |cause| SocketError::System { path, step, cause }
}

impl Socket {
    /// Makes the folder when it is missing, takes the lock and listens at `path`.
    ///
    /// With `guests` (users beside our own and root are admitted), the file modes let everybody
    /// reach the socket; who is served is decided by [`super::peer`] in both cases.
    ///
    /// # Errors
    ///
    /// [`SocketError`]; a socket that another daemon serves is never touched.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn listen(path: &Path, guests: bool) -> Result<Self, SocketError> {
        let folder = folder_of(path)?;
        prepare_folder(folder, if guests { 0o711 } else { 0o700 })?;
        let lock = lock(path)?;
        if guests {
            let reached = || std::fs::symlink_metadata(folder).map(|found| found.mode() & 0o011);
            if reached().map_err(system(folder, "looking at it"))? == 0 {
                return Err(SocketError::Folder {
                    folder: folder.into(),
                    reason: "the users and groups that are allowed cannot enter it (chmod 711)"
                        .into(),
                });
            }
        }
        clear(path)?;
        let (listener, identity) = bind(path, mode(guests))?;
        Ok(Socket {
            listener,
            path: path.into(),
            identity,
            lock,
        })
    }

    /// Takes a listener that whoever started us has opened. The file is theirs: it is never removed, and
    /// no lock is needed beside it.
    ///
    /// # Errors
    ///
    /// [`SocketError`], when the system refuses.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn given(path: &Path, listener: net::UnixListener) -> Result<Self, SocketError> {
        let nobodys = memfd_create(c"dermald-lock", MFdFlags::MFD_CLOEXEC)
            .map_err(|errno| system(path, "making a lock")(errno.into()))?;
        Socket::adopt(path, listener.into(), nobodys, NO_FILE)
    }

    /// Takes over a socket that an image before us listened on, with its lock and the device and inode
    /// of its file.
    ///
    /// # Errors
    ///
    /// [`SocketError`], when these are not what they were said to be.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn adopt(
        path: &Path,
        listener: OwnedFd,
        lock: OwnedFd,
        identity: (u64, u64),
    ) -> Result<Self, SocketError> {
        let listener = net::UnixListener::from(listener);
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener))
            .map_err(system(path, "taking over the socket"))?;
        // The lock belongs to the open file, which is the same one: this finds it ours.
        let lock = Flock::lock(File::from(lock), FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| system(path, "taking over the lock")(errno.into()))?;
        Ok(Socket {
            listener,
            path: path.into(),
            identity,
            lock,
        })
    }

    /// Lets other users than our own and root reach the socket, or no more.
    ///
    /// # Errors
    ///
    /// [`SocketError`].
    pub fn open_to_guests(&self, guests: bool) -> Result<(), SocketError> {
        if self.is_given() {
            return Ok(());
        }
        std::fs::set_permissions(&self.path, Permissions::from_mode(mode(guests)))
            .map_err(system(&self.path, "setting the mode"))
    }

    /// Whether it was given to us, and its file is another's.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.identity == NO_FILE
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that must be written to for it; `None` when somebody else opened it.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.path.parent().filter(|_| self.identity != NO_FILE)
    }

    /// What another image needs to [`adopt`](Self::adopt) it: listener, lock, device and inode.
    #[must_use]
    pub fn parts(&self) -> (BorrowedFd<'_>, BorrowedFd<'_>, (u64, u64)) {
        (self.listener.as_fd(), self.lock.as_fd(), self.identity)
    }

    /// Removes the socket file, so that nobody new comes. The lock is kept until the end.
    pub fn remove(&self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket could not be removed");
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Of the socket's file.
fn mode(guests: bool) -> u32 {
    if guests { 0o666 } else { 0o600 }
}

/// The folder that the socket at `path` is to lie in.
pub(super) fn folder_of(path: &Path) -> Result<&Path, SocketError> {
    let refuse = |reason: &str| SocketError::Obstacle {
        path: path.into(),
        reason: reason.into(),
    };
    let is_folder = path.file_name().is_none() || path.as_os_str().as_bytes().ends_with(b"/");
    if is_folder {
        return Err(refuse(
            "this names a folder, expected the socket's own name",
        ));
    }
    path.parent()
        .filter(|folder| *folder != Path::new("/"))
        .ok_or_else(|| refuse("it needs a folder"))
}

fn prepare_folder(folder: &Path, mode: u32) -> Result<(), SocketError> {
    match DirBuilder::new().mode(mode).create(folder) {
        // The mode is set once more because the umask may have taken some of it.
        Ok(()) => {
            return std::fs::set_permissions(folder, Permissions::from_mode(mode))
                .map_err(system(folder, "setting the mode"));
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // No /dev/shm, for one: it says what to do.
        Err(error) => {
            return Err(SocketError::Folder {
                folder: folder.into(),
                reason: format!("the folder cannot be made ({error})"),
            });
        }
    }
    trusted(folder)
}

/// Takes the lock beside the socket, and leaves our process id in it for whoever finds it taken.
fn lock(path: &Path) -> Result<Flock<File>, SocketError> {
    let beside = sibling(path, ".lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(&beside)
        .map_err(system(&beside, "opening the lock"))?;
    let mut lock = take(file, path)?;
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(system(&beside, "writing the lock"))?;
    Ok(lock)
}

fn bind(path: &Path, mode: u32) -> Result<(UnixListener, (u64, u64)), SocketError> {
    let beside = sibling(path, ".new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(system(&beside, "removing an old one")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&beside).map_err(system(&beside, "listening"))?;
    let placed = place(&beside, path, mode);
    if placed.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    Ok((listener, placed?))
}

/// Gives the new socket its mode and its name; tells its device and inode.
fn place(beside: &Path, path: &Path, mode: u32) -> Result<(u64, u64), SocketError> {
    std::fs::set_permissions(beside, Permissions::from_mode(mode))
        .map_err(system(beside, "setting the mode"))?;
    let made = std::fs::symlink_metadata(beside).map_err(system(beside, "looking at it"))?;
    std::fs::rename(beside, path).map_err(system(path, "putting it into place"))?;
    Ok((made.dev(), made.ino()))
}

pub(super) fn sibling(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    fn listen(path: &Path) -> Result<Socket, SocketError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let _guard = runtime.enter();
        Socket::listen(path, false)
    }

    #[test]
    fn second_daemon_is_refused_and_a_stale_socket_is_taken_over() {
        let folder = folder();
        let path = folder.path().join("own/s.sock");
        let first = listen(&path).expect("the first");
        let message = listen(&path).expect_err("the second").to_string();
        assert!(
            message.contains(&format!("(pid {})", std::process::id())),
            "{message}"
        );
        // A daemon that was killed leaves its socket behind, but not its lock.
        std::fs::hard_link(&path, folder.path().join("own/kept")).expect("kept");
        drop(first);
        std::fs::rename(folder.path().join("own/kept"), &path).expect("stale again");
        assert!(listen(&path).is_ok());
    }

    #[test]
    fn socket_with_a_listener_but_without_our_lock_is_never_taken() {
        let folder = folder();
        let path = folder.path().join("s.sock");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("mode");
        let _other = std::os::unix::net::UnixListener::bind(&path).expect("bound");
        assert!(matches!(
            listen(&path),
            Err(SocketError::Taken { pid: None, .. })
        ));
        assert!(path.exists());
    }

    #[test]
    fn folder_that_guests_cannot_enter_is_refused() {
        let folder = folder();
        let path = folder.path().join("own/s.sock");
        drop(listen(&path).expect("without guests"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .expect("a runtime");
        let _guard = runtime.enter();
        let message = Socket::listen(&path, true).expect_err("0700").to_string();
        assert!(message.contains("cannot enter it (chmod 711)"), "{message}");
        for name in ["own/", "own/.."] {
            let refused = listen(&folder.path().join(name)).expect_err("a folder");
            assert!(refused.to_string().contains("names a folder"), "{refused}");
        }
    }

    #[test]
    fn untrustworthy_folders_and_obstacles_are_refused() {
        let folder = folder();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).expect("made");
        std::fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("mode");
        let message = listen(&open.join("s")).expect_err("writable").to_string();
        assert!(
            message.contains("others may write in it (mode 777)"),
            "{message}"
        );

        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&open, &link).expect("linked");
        let message = listen(&link.join("s")).expect_err("a link").to_string();
        assert!(message.contains("it is a symbolic link"), "{message}");

        let own = folder.path().join("own");
        std::fs::create_dir(&own).expect("made");
        std::fs::write(own.join("s"), "precious").expect("written");
        let message = listen(&own.join("s")).expect_err("a file").to_string();
        assert!(message.contains("no socket lies here"), "{message}");
        assert_eq!(
            std::fs::read(own.join("s")).expect("still there"),
            b"precious"
        );
    }
}
