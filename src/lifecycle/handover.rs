//! Handing the process over to a new image of itself, by `exec`: same process id, same descriptors,
//! fresh memory.
//!
//! This knows descriptors and bytes. What the bytes mean is the business of whoever packs and unpacks
//! them; the order of a renewal is told in [`crate::daemon`].
//!
//! What must survive lies in a sealed memfd. Its beginning never changes its form, so that an image of
//! any version can find the listener and the connections, even when it cannot read the rest:
//!
//! ```text
//! magic      8 bytes   "DERMALD" and a zero
//! length     u32       of the head, little-endian
//! head       bincode, fixed-width: descriptors, see `Head`
//! version    u32       of the body
//! body       to the end of the file
//! ```
//!
//! Before `exec` every descriptor is marked to be closed by it, and then only those of the head and the
//! memfd itself are marked to stay: nothing leaks that a library may have opened.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bincode::{Decode, Encode};
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

const MAGIC: [u8; 8] = *b"DERMALD\0";

/// Leads the new image to the memfd.
pub const FLAG: &str = "--renewed=";

/// More than all buffers together can be: a length that is larger is nonsense.
const MOST: usize = 1 << 32;

/// The part that never changes its form.
#[derive(Debug, Encode, Decode)]
struct Head {
    listener: RawFd,
    lock: RawFd,
    device: u64,
    inode: u64,
    connections: Vec<(RawFd, bool)>,
}

/// Descriptors that outlive an image.
#[derive(Debug)]
pub struct Descriptors<Fd> {
    /// The socket that clients connect to.
    pub listener: Fd,
    /// Its lock.
    pub lock: Fd,
    /// Device and inode of the socket's file.
    pub identity: (u64, u64),
    /// Each connection, and whether it stands between two replies: where one is half-written, nothing
    /// else may be said.
    pub connections: Vec<(Fd, bool)>,
}

/// Why there is nothing to take over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The descriptor leads to no state of ours.
    #[error("descriptor {0} is no state of a dermald ({FLAG} is for dermald itself)")]
    NotOurs(RawFd),
    /// The system refused.
    #[error("the state of the image before cannot be taken over: {0}")]
    System(#[from] io::Error),
}

/// What the image before left.
#[derive(Debug)]
pub struct Taken {
    /// The descriptors.
    pub descriptors: Descriptors<OwnedFd>,
    /// Version of the body.
    pub version: u32,
    body: BufReader<File>,
}

impl Taken {
    /// The body, for an image that knows its version.
    ///
    /// # Errors
    ///
    /// When it has not the form that is expected.
    pub fn body<B: Decode<()>>(&mut self) -> Result<B, String> {
        let config = bincode::config::standard().with_limit::<MOST>();
        bincode::decode_from_std_read(&mut self.body, config).map_err(|error| error.to_string())
    }
}

/// Writes what must survive into a sealed memfd.
///
/// # Errors
///
/// When the kernel gives no memory for it.
pub fn pack<B: Encode>(
    descriptors: &Descriptors<BorrowedFd<'_>>,
    version: u32,
    body: &B,
) -> io::Result<OwnedFd> {
    let head = Head {
        listener: descriptors.listener.as_raw_fd(),
        lock: descriptors.lock.as_raw_fd(),
        device: descriptors.identity.0,
        inode: descriptors.identity.1,
        connections: descriptors
            .connections
            .iter()
            .map(|(fd, between)| (fd.as_raw_fd(), *between))
            .collect(),
    };
    let head = bincode::encode_to_vec(head, bincode::config::legacy()).map_err(io::Error::other)?;
    let memfd = memfd_create(
        c"dermald-renewal",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?;
    let mut file = BufWriter::new(File::from(memfd));
    file.write_all(&MAGIC)?;
    let length = u32::try_from(head.len()).map_err(io::Error::other)?;
    file.write_all(&length.to_le_bytes())?;
    file.write_all(&head)?;
    file.write_all(&version.to_le_bytes())?;
    bincode::encode_into_std_write(body, &mut file, bincode::config::standard())
        .map_err(io::Error::other)?;
    let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    let sealed = SealFlag::F_SEAL_SEAL
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(sealed))?;
    Ok(file.into())
}

/// Replaces this image by `binary`, with the same arguments, leaving it `descriptors` and what was
/// packed. Returns only when that fails; then everything is as it was before.
///
/// # Errors
///
/// As the kernel says.
pub fn exec(
    binary: &Path,
    descriptors: &Descriptors<BorrowedFd<'_>>,
    packed: &OwnedFd,
) -> io::Result<Infallible> {
    let staying: Vec<BorrowedFd<'_>> = [descriptors.listener, descriptors.lock, packed.as_fd()]
        .into_iter()
        .chain(descriptors.connections.iter().map(|(fd, _)| *fd))
        .collect();
    close_all_on_exec();
    let replaced = mark(&staying, FdFlag::empty()).and_then(|()| replace(binary, packed));
    mark(&staying, FdFlag::FD_CLOEXEC)?;
    replaced
}

fn replace(binary: &Path, packed: &OwnedFd) -> io::Result<Infallible> {
    let mut arguments = own_arguments();
    arguments.push(format!("{FLAG}{}", packed.as_raw_fd()).into());
    let text = |text: &[u8]| CString::new(text).map_err(io::Error::other);
    let arguments = arguments
        .iter()
        .map(|argument| text(argument.as_bytes()))
        .collect::<io::Result<Vec<_>>>()?;
    let binary = text(binary.as_os_str().as_bytes())?;
    Ok(nix::unistd::execv(&binary, &arguments)?)
}

/// The arguments of this process, without what a renewal added.
#[must_use]
pub fn own_arguments() -> Vec<OsString> {
    std::env::args_os()
        .filter(|argument| !argument.as_bytes().starts_with(FLAG.as_bytes()))
        .collect()
}

fn mark(descriptors: &[BorrowedFd<'_>], flags: FdFlag) -> io::Result<()> {
    for fd in descriptors {
        fcntl(fd, FcntlArg::F_SETFD(flags))?;
    }
    Ok(())
}

/// What is ours was opened so; this is for what libraries opened. Kernels before 5.11 do not know it.
/// By its number, as glibc has a function for it from 2.34 on only, and hosts have older ones.
#[expect(unsafe_code, reason = "neither std nor nix has this system call")]
fn close_all_on_exec() {
    let (first, last): (libc::c_uint, libc::c_uint) = (3, libc::c_uint::MAX);
    // SAFETY: no descriptor is closed here, each is only marked.
    unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            last,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

/// Takes over what the image before packed into the memfd with the number `fd`. Every descriptor is
/// ours then, and marked to be closed by an `exec` of something else.
///
/// # Errors
///
/// [`HandoverError`].
pub fn take(fd: RawFd) -> Result<Taken, HandoverError> {
    let link = std::fs::read_link(own_link(fd)).map_err(|_| HandoverError::NotOurs(fd))?;
    if !link
        .as_os_str()
        .as_bytes()
        .starts_with(b"/memfd:dermald-renewal")
    {
        return Err(HandoverError::NotOurs(fd));
    }
    let file = File::from(own(fd)?);
    // Somebody who may start us could hand us anything; only what is sealed stays as it is read.
    let seals = fcntl(&file, FcntlArg::F_GET_SEALS).map_err(io::Error::from)?;
    if seals & SealFlag::F_SEAL_WRITE.bits() == 0 {
        return Err(HandoverError::NotOurs(fd));
    }
    let mut body = BufReader::new(file);
    let head = read_head(&mut body).map_err(HandoverError::System)?;
    let version = u32::from_le_bytes(read_array(&mut body)?);
    let connections = head
        .connections
        .into_iter()
        .map(|(fd, between)| Ok((own(fd)?, between)))
        .collect::<io::Result<_>>()?;
    let descriptors = Descriptors {
        listener: own(head.listener)?,
        lock: own(head.lock)?,
        identity: (head.device, head.inode),
        connections,
    };
    Ok(Taken {
        descriptors,
        version,
        body,
    })
}

fn read_head(file: &mut impl Read) -> io::Result<Head> {
    if read_array(file)? != MAGIC {
        return Err(io::Error::other("it does not begin as it should"));
    }
    let length = u32::from_le_bytes(read_array(file)?);
    let mut head = Vec::new();
    file.take(length.into()).read_to_end(&mut head)?;
    let (head, _) =
        bincode::decode_from_slice(&head, bincode::config::legacy()).map_err(io::Error::other)?;
    Ok(head)
}

fn read_array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn own_link(fd: RawFd) -> PathBuf {
    format!("/proc/self/fd/{fd}").into()
}

/// Makes the descriptor with this number ours.
#[expect(
    unsafe_code,
    reason = "a number is all that passes through exec, and owning it is a promise"
)]
fn own(fd: RawFd) -> io::Result<OwnedFd> {
    std::fs::symlink_metadata(own_link(fd))?;
    // SAFETY: it is open, as was just seen, and nothing else in this image knows of it: this runs
    // once, before anything was opened, on numbers that the image before left for us alone.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    fcntl(&owned, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_packed_is_taken_with_its_descriptors() {
        let file = || File::open("/dev/null").expect("open");
        let (listener, lock) = (file(), file());
        let (one, other) = UnixStream::pair().expect("a pair");
        let body = (42_u64, "what must survive".to_owned());
        let descriptors = Descriptors {
            listener: listener.as_fd(),
            lock: lock.as_fd(),
            identity: (1, 2),
            connections: vec![(one.as_fd(), true), (other.as_fd(), false)],
        };
        let memfd = pack(&descriptors, 7, &body).expect("packed");
        // Numbers as an image before leaves them: open, and known to nobody here.
        let _ = (listener.into_raw_fd(), lock.into_raw_fd());
        let _ = (one.into_raw_fd(), other.into_raw_fd());
        let mut taken = take(memfd.into_raw_fd()).expect("taken");
        assert_eq!((taken.version, taken.descriptors.identity), (7, (1, 2)));
        let between: Vec<bool> = taken.descriptors.connections.iter().map(|c| c.1).collect();
        assert_eq!(between, [true, false]);
        assert_eq!(taken.body::<(u64, String)>(), Ok(body));
    }

    #[test]
    fn what_anybody_could_still_change_or_is_no_state_is_refused() {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let open = memfd_create(c"dermald-renewal", flags).expect("a memfd");
        let other = OwnedFd::from(File::open("/dev/null").expect("open"));
        for fd in [open, other] {
            let refused = take(fd.into_raw_fd());
            assert!(
                matches!(refused, Err(HandoverError::NotOurs(_))),
                "{refused:?}"
            );
        }
    }
}
