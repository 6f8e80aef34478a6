//! Being supervised: what we tell whoever started us, and what we are given, by systemd's protocols.
//!
//! `dermald run` and systemd speak the same one: the listening socket comes as a descriptor
//! (LISTEN_FDS), and readiness, heartbeat and state go to a datagram socket (NOTIFY_SOCKET). Without
//! those variables all of this does nothing. One line is ours: the digest of the picture in work, so
//! that a picture which takes the process down is known to whoever starts the next one; systemd passes
//! over what begins with `X_`.

use std::ffi::OsStr;
use std::fmt::Write;
use std::io;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::sync::OnceLock;
use std::time::Duration;

use listenfd::ListenFd;
use nix::sys::socket::{MsgFlags, send};
use sd_notify::NotifyState;

/// After so many crashes a picture that was in work at each is not tried again.
pub const CRASHES: u32 = 2;

const NOTIFY: &str = "NOTIFY_SOCKET";

/// Begins the line with the digest of the picture in work; nothing behind it means that none is.
pub const IN_WORK: &str = "X_DERMALD_IN_WORK=";

/// How long one that must be heard is waited for: whoever supervises us may be frozen, and its queue full.
const PATIENCE: Duration = Duration::from_secs(1);

/// The socket that we are to listen on, when whoever started us has opened one. To be called once, before
/// there is a second thread.
///
/// # Errors
///
/// When what we were given is no listening Unix socket.
pub fn listener() -> io::Result<Option<UnixListener>> {
    match ListenFd::from_env().take_unix_listener(0) {
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("LISTEN_FDS names no listening Unix socket: {error}"),
        )),
        Ok(listener) => Ok(listener),
    }
}

/// Clients are served from here on.
pub fn tell_ready(status: &str) {
    tell(
        &[NotifyState::Ready, NotifyState::Status(status)],
        MsgFlags::empty(),
    );
}

/// No more of them.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping], MsgFlags::MSG_DONTWAIT);
}

/// Everything that has to move moves. When the queue is full, enough of this lies in it.
pub fn tell_alive() {
    tell(&[NotifyState::Watchdog], MsgFlags::MSG_DONTWAIT);
}

/// How often that is expected to be told at least; `None` when nobody listens.
#[must_use]
pub fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// The picture with this SHA-256 is in work, or none is any more.
pub fn tell_in_work(picture: Option<&[u8; 32]>) {
    let digest = picture.map(hex).unwrap_or_default();
    tell(
        &[NotifyState::Custom(&format!("{IN_WORK}{digest}"))],
        MsgFlags::empty(),
    );
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tell(state: &[NotifyState<'_>], flags: MsgFlags) {
    static SOCKET: OnceLock<Option<UnixDatagram>> = OnceLock::new();
    let Some(socket) = SOCKET.get_or_init(listener_of_ours) else {
        return;
    };
    let mut text = String::new();
    for line in state {
        writeln!(text, "{line}").expect("a String takes everything");
    }
    if let Err(error) = send(socket.as_raw_fd(), text.as_bytes(), flags) {
        tracing::debug!(%error, "whoever supervises us does not listen");
    }
}

/// Whether whoever supervises us listens at a socket that is no file.
#[must_use]
pub fn tells_an_abstract_socket() -> bool {
    std::env::var_os(NOTIFY).is_some_and(|name| name.as_bytes().starts_with(b"@"))
}

/// Where whoever supervises us listens, kept open: with no descriptor left it must still be told that we
/// live.
fn listener_of_ours() -> Option<UnixDatagram> {
    let name = std::env::var_os(NOTIFY)?;
    connected(&name)
        .inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET cannot be reached"))
        .ok()
}

/// `@` begins the name of a socket that is no file.
fn connected(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_and_others_are_reached() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let file = UnixDatagram::bind(&path).expect("bound");
        let abstract_name = format!("dermald-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
        let other = UnixDatagram::bind_addr(&address).expect("bound");
        let name = format!("@{abstract_name}");
        for (listener, name) in [(file, path.as_os_str()), (other, OsStr::new(&name))] {
            let socket = connected(name).expect("connected");
            socket.send(b"READY=1").expect("sent");
            let mut heard = [0; 16];
            assert_eq!(listener.recv(&mut heard).expect("heard"), 7);
        }
    }

    #[test]
    fn listener_that_is_frozen_keeps_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let _listener = UnixDatagram::bind(&path).expect("bound");
        let socket = connected(path.as_os_str()).expect("connected");
        let fill = || send(socket.as_raw_fd(), b"WATCHDOG=1", MsgFlags::MSG_DONTWAIT);
        while fill().is_ok() {}
        assert_eq!(fill(), Err(nix::errno::Errno::EAGAIN));
        let started = std::time::Instant::now();
        assert!(send(socket.as_raw_fd(), b"READY=1", MsgFlags::empty()).is_err());
        assert!(started.elapsed() >= PATIENCE && started.elapsed() < 10 * PATIENCE);
    }
}
