//! A small blocking client: what the command line uses to ask a daemon.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use nix::unistd::geteuid;

use crate::wire::message::Hello;
use crate::wire::{self, Extensions, FrameError, Frames, MessageError, Reply, Request, Text};

/// How long a daemon may leave us without an answer, when the caller does not say.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The longest reply that is believed: an overlay of 2048 x 2048 pixels without compression fits.
const REPLY_LIMIT: u32 = 64 * 1024 * 1024;

/// Why a daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or the connection broke.
    #[error("no daemon answers at {socket}: {cause}")]
    Unreachable {
        /// The socket.
        socket: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// Somebody else listens.
    #[error("{socket} is served by user {uid}, not by us (user {own}) or root; nothing was sent")]
    Untrusted {
        /// The socket.
        socket: String,
        /// Who listens.
        uid: u32,
        /// Who we are.
        own: u32,
    },
    /// The daemon answered with an error.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(wire::message::Error),
    /// The daemon says good-bye.
    #[error("the daemon is going away: {0}")]
    GoingAway(Text),
    /// What came is no reply.
    #[error("what came back is not understood: {0}")]
    Protocol(String),
}

impl From<MessageError> for ClientError {
    fn from(error: MessageError) -> Self {
        ClientError::Protocol(error.to_string())
    }
}

impl From<FrameError> for ClientError {
    fn from(error: FrameError) -> Self {
        ClientError::Protocol(error.to_string())
    }
}

/// One connection, after the hello.
pub struct Client {
    socket: String,
    stream: UnixStream,
    frames: Frames,
    unread: BytesMut,
    /// How long one exchange may take.
    patience: Duration,
}

impl Client {
    /// Connects to the daemon at `socket`, makes sure whose it is, and says hello.
    ///
    /// Trusted are our own user, root and `trusted`. Connecting, and each question with its answer,
    /// may take as long as `patience`.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn connect(
        socket: &Path,
        trusted: Option<u32>,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        let name = socket.display().to_string();
        let unreachable = |cause| ClientError::Unreachable {
            socket: name.clone(),
            cause,
        };
        let stream = open(socket, patience).map_err(unreachable)?;
        let peer = getsockopt(&stream, sockopt::PeerCredentials)
            .map_err(|errno| unreachable(errno.into()))?;
        let (own, uid) = (geteuid().as_raw(), peer.uid());
        if ![own, 0].contains(&uid) && trusted != Some(uid) {
            return Err(ClientError::Untrusted {
                socket: name,
                uid,
                own,
            });
        }
        let frames = Frames::new(REPLY_LIMIT);
        let mut client = Client {
            socket: name,
            stream,
            frames,
            unread: BytesMut::new(),
            patience,
        };
        match client.ask(&Request::Hello(hello()))? {
            Reply::Welcome(_) => Ok(client),
            other => Err(ClientError::Protocol(format!(
                "{other:?} in place of a welcome"
            ))),
        }
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; the connection is of no use after any but [`ClientError::Refused`].
    pub fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let mut frame = BytesMut::new();
        wire::encode(request, &mut frame);
        // A daemon that refuses us says why before it hangs up: what it said counts for more than
        // that it no longer listened.
        let give_up = Instant::now() + self.patience;
        let sent = self
            .stream
            .set_write_timeout(Some(self.patience))
            .and_then(|()| self.stream.write_all(&frame));
        match (self.receive(give_up), sent) {
            (Ok(Reply::Error(error)), _) => Err(ClientError::Refused(error)),
            (Ok(Reply::GoingAway(away)), _) => Err(ClientError::GoingAway(away.message)),
            (Err(ClientError::Unreachable { .. }), Err(cause)) => Err(self.unreachable(cause)),
            (received, _) => received,
        }
    }

    fn receive(&mut self, give_up: Instant) -> Result<Reply, ClientError> {
        loop {
            if let Some(frame) = self.frames.next(&mut self.unread)? {
                return Ok(wire::decode(&frame)?);
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let waited = format!("no answer within {} ms", self.patience.as_millis());
                return Err(self.unreachable(io::Error::new(io::ErrorKind::TimedOut, waited)));
            }
            let mut piece = [0; 64 * 1024];
            let read = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut piece));
            match read {
                Ok(0) => return Err(self.unreachable(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => self.unread.extend_from_slice(&piece[..read]),
                // A machine that was paused, or a debugger, interrupts a read that has a timeout.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(cause) => return Err(self.unreachable(cause)),
            }
        }
    }

    fn unreachable(&self, cause: io::Error) -> ClientError {
        ClientError::Unreachable {
            socket: self.socket.clone(),
            cause,
        }
    }
}

/// Connects within `patience`: a daemon that is stopped or overrun accepts nobody, and a plain
/// `connect` would wait for ever.
fn open(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let patience = TimeVal::new(
        patience.as_secs().try_into().unwrap_or(i64::MAX),
        patience.subsec_micros().max(1).into(),
    );
    setsockopt(&socket, sockopt::SendTimeout, &patience)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(socket))
}

fn hello() -> Hello {
    Hello {
        oldest: wire::VERSION,
        newest: wire::VERSION,
        client: Text::from(concat!("dermald-cli/", env!("CARGO_PKG_VERSION"))),
        extensions: Extensions::default(),
    }
}
