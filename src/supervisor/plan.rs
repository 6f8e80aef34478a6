//! What is to be run, and what stops the start.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::server::socket::SocketError;

/// What is to be run. It stays as it is: a reload changes what the daemon does, not this.
#[derive(Debug)]
pub struct Plan {
    /// Where the daemon is asked.
    pub socket: PathBuf,
    /// Whether other users than ours and root may ask.
    pub guests: bool,
    /// Arguments of `dermald serve`.
    pub serve: Vec<OsString>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// Whether the command is started only once the daemon serves.
    pub wait_ready: bool,
    /// How long the command, and what it left behind, may take to end once it was told to.
    pub stop_timeout: Duration,
    /// The same of the daemon.
    pub grace: Duration,
    /// How long one step of a picture may take.
    pub hang_limit: Option<Duration>,
}

/// What stops the start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The socket cannot be ours.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The operating system refused a process, a socket or a handler.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}
