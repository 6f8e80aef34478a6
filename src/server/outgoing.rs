//! What is to be sent to a client: replies that it has not taken yet.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::carried::Unsent;
use crate::lifecycle::clock::Moment;
use crate::wire::{self, Reply};

/// While more than this is unsent, nothing more is read from the client: it shall take its answers
/// first.
const PAUSE: usize = 1024 * 1024;

/// What all clients together may leave unsent. Beyond it, a client that makes us pause is left.
const TOTAL: usize = 32 * 1024 * 1024;

/// The sending side of a connection.
pub(super) struct Outgoing {
    unsent: BytesMut,
    /// Of each reply: where it ends, counted in bytes since the connection began, and when it was
    /// ready.
    replies: VecDeque<(u64, Instant)>,
    sent: u64,
    /// Where the reply ends that was written last, as far as whole ones were.
    boundary: u64,
    /// Unsent bytes of all connections.
    total: Arc<AtomicUsize>,
}

impl Outgoing {
    pub(super) fn new(total: Arc<AtomicUsize>) -> Self {
        Outgoing {
            unsent: BytesMut::new(),
            replies: VecDeque::new(),
            sent: 0,
            boundary: 0,
            total,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Whether the client shall take some of its answers before it asks for more.
    pub(super) fn is_full(&self) -> bool {
        self.unsent.len() > PAUSE
    }

    /// Whether the client leaves so much lying that others suffer.
    pub(super) fn is_burden(&self) -> bool {
        self.is_full() && self.total.load(Ordering::Relaxed) > TOTAL
    }

    /// When the oldest reply that is not wholly sent was ready.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.replies.front().map(|(_, ready)| *ready)
    }

    pub(super) fn push(&mut self, reply: &Reply) {
        let before = self.unsent.len();
        wire::encode(reply, &mut self.unsent);
        let added = self.unsent.len() - before;
        self.total.fetch_add(added, Ordering::Relaxed);
        let end = self.sent + self.unsent.len() as u64;
        self.replies.push_back((end, Instant::now()));
    }

    /// Sends as much as the client's socket takes.
    pub(super) fn write(&mut self, stream: &UnixStream) -> io::Result<()> {
        match stream.try_write(&self.unsent) {
            Ok(written) => {
                let _ = self.unsent.split_to(written);
                self.total.fetch_sub(written, Ordering::Relaxed);
                self.sent += written as u64;
                while let Some((end, _)) = self.replies.front().filter(|(end, _)| *end <= self.sent)
                {
                    self.boundary = *end;
                    self.replies.pop_front();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
        }
        Ok(())
    }

    /// Whether no reply is half-sent.
    pub(super) fn is_between_replies(&self) -> bool {
        self.sent == self.boundary
    }

    /// What is left to send, for the next image.
    pub(super) fn carry(&self) -> Unsent {
        let ends = self.replies.iter();
        Unsent {
            bytes: self.unsent.to_vec(),
            replies: ends
                .map(|(end, ready)| (end - self.sent, Moment::of(ready.into_std())))
                .collect(),
            between: self.is_between_replies(),
        }
    }

    /// Goes on where the image before left off.
    pub(super) fn restore(&mut self, unsent: Unsent) {
        self.total.fetch_add(unsent.bytes.len(), Ordering::Relaxed);
        self.unsent = BytesMut::from(&unsent.bytes[..]);
        // Counted from the byte before the first that is left when that one is in the middle.
        self.sent = u64::from(!unsent.between);
        self.boundary = 0;
        let ends = unsent.replies.into_iter();
        self.replies = ends
            .map(|(end, ready)| (self.sent + end, Instant::from_std(ready.instant())))
            .collect();
    }

    /// Gives everything up that is not sent.
    pub(super) fn clear(&mut self) {
        self.total.fetch_sub(self.unsent.len(), Ordering::Relaxed);
        self.unsent = BytesMut::new();
        self.replies.clear();
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.clear();
    }
}
