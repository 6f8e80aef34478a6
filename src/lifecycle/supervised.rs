//! Being supervised: what we tell whoever started us, and what we are given, by systemd's protocols.
//!
//! `dermald run` and systemd speak the same one: the listening socket comes as a descriptor
//! (LISTEN_FDS), and readiness, heartbeat and state go to a datagram socket (NOTIFY_SOCKET). Without
//! those variables all of this does nothing. One line is ours: the digest of the picture in work, so
//! that a picture which takes the process down is known to whoever starts the next one; systemd passes
//! over what begins with `X_`.

use std::io;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// After so many crashes a picture that was in work at each is not tried again.
pub const CRASHES: u32 = 2;

/// Begins the line with the digest of the picture in work; nothing behind it means that none is.
pub const IN_WORK: &str = "X_DERMALD_IN_WORK=";

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
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// No more of them.
pub fn tell_stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Everything that has to move moves.
pub fn tell_alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often that is expected to be told at least; `None` when nobody listens.
#[must_use]
pub fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// The picture with this SHA-256 is in work, or none is any more.
pub fn tell_in_work(picture: Option<&[u8; 32]>) {
    let digest = picture.map(hex).unwrap_or_default();
    tell(&[NotifyState::Custom(&format!("{IN_WORK}{digest}"))]);
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "whoever supervises us does not listen");
    }
}
