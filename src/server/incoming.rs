//! What arrives from a client: bytes that are not understood yet, and the room that they take.
//!
//! A small request is simply read. A large one shows its first [`SMALL`] bytes and then waits for
//! room: all large requests that are arriving share as many bytes as one request may have. Whoever
//! holds room must use it: while others wait, a request that comes in slower than [`SMALL`] bytes a
//! [`PACE`] loses its turn.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

use super::carried::Unread;
use crate::lifecycle::clock::Moment;
use crate::wire::{FrameError, Frames, frame};

/// Requests up to this size, and the beginning of larger ones, are read without asking for room.
const SMALL: usize = 64 * 1024;

/// How often the progress of a request that holds room is looked at.
const PACE: Duration = Duration::from_secs(1);

/// The room that large requests share while they arrive.
#[derive(Debug)]
pub(super) struct Room {
    bytes: Arc<Semaphore>,
    /// Connections that wait for some.
    waiting: AtomicUsize,
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Room {
            bytes: Arc::new(Semaphore::new(bytes)),
            waiting: AtomicUsize::new(0),
        }
    }
}

/// A whole request.
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    /// When its first byte was there: its deadline counts from here.
    pub(super) begun: Instant,
    /// The room is the frame's until it was handed on; then the queue counts it.
    _room: Option<OwnedSemaphorePermit>,
}

impl Frame {
    /// A request that had arrived whole in an image before.
    pub(super) fn again(bytes: Bytes, begun: Moment) -> Self {
        Frame {
            bytes,
            begun: Instant::from_std(begun.instant()),
            _room: None,
        }
    }
}

/// Why a request that is arriving is not waited for any longer.
pub(super) enum Late {
    /// It took longer than the stall timeout.
    Stalled,
    /// It crawled while others waited for its room.
    InTheWay,
}

/// The receiving side of a connection.
pub(super) struct Incoming {
    unread: BytesMut,
    frames: Frames,
    room: Arc<Room>,
    queue: PollSemaphore,
    held: Option<OwnedSemaphorePermit>,
    /// Room that the request at the front still waits for.
    needed: Option<u32>,
    /// When the hello, or the request at the front, began to arrive.
    begun: Option<Instant>,
    /// From when on the client is to blame when it does not go on: `begun`, or when we last went on
    /// to read after a pause of our own.
    waiting_since: Option<Instant>,
    /// While room is held: when its use is looked at next, and how much had arrived before.
    pace: Option<(Instant, usize)>,
}

impl Incoming {
    pub(super) fn new(room: Arc<Room>) -> Self {
        let now = Some(Instant::now());
        Incoming {
            unread: BytesMut::new(),
            frames: Frames::new(frame::HELLO_LIMIT),
            queue: PollSemaphore::new(Arc::clone(&room.bytes)),
            room,
            held: None,
            needed: None,
            begun: now,
            waiting_since: now,
            pace: None,
        }
    }

    /// What has arrived and was not understood yet, for the next image.
    pub(super) fn carry(&self) -> Unread {
        let moment = |instant: Option<Instant>| instant.map(|at| Moment::of(at.into_std()));
        Unread {
            bytes: self.unread.to_vec(),
            begun: moment(self.begun),
            waiting_since: moment(self.waiting_since),
            holds_room: self.held.is_some(),
        }
    }

    /// Goes on where the image before left off. Whoever held room holds it again, unless there is less
    /// of it now; whoever waited for some asks anew.
    pub(super) fn restore(&mut self, unread: Unread) {
        let instant = |moment: Option<Moment>| moment.map(|at| Instant::from_std(at.instant()));
        self.unread = BytesMut::from(&unread.bytes[..]);
        self.begun = instant(unread.begun);
        self.waiting_since = instant(unread.waiting_since);
        if unread.holds_room {
            let announced = Frames::announced(&self.unread).unwrap_or(0);
            let room = Arc::clone(&self.room.bytes);
            self.held = room.try_acquire_many_owned(announced).ok();
            self.pace = Some((Instant::now() + PACE, self.unread.len()));
        }
        self.go_on();
    }

    /// Accepts frames of up to `limit` bytes from now on.
    pub(super) fn set_limit(&mut self, limit: u32) {
        self.frames.set_limit(limit);
    }

    /// Whether bytes are wanted now.
    pub(super) fn wants_bytes(&self) -> bool {
        self.needed.is_none()
    }

    /// Reads what is there; 0 bytes mean that the client has left.
    pub(super) fn read(&mut self, stream: &UnixStream) -> io::Result<usize> {
        if self.unread.capacity() == self.unread.len() {
            self.unread.reserve(SMALL);
        }
        stream.try_read_buf(&mut self.unread)
    }

    /// The next whole frame. `None` when more bytes, or room for them, are needed first.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if !self.may_grow() {
            return Ok(None);
        }
        let Some(bytes) = self.frames.next(&mut self.unread)? else {
            return Ok(None);
        };
        let begun = self.begun.take().unwrap_or_else(Instant::now);
        self.waiting_since = None;
        self.pace = None;
        let _room = self.held.take();
        Ok(Some(Frame {
            bytes,
            begun,
            _room,
        }))
    }

    /// To be called when the frames that were there are handed on. Frames are slices of the memory
    /// that was read into; it is let go here, so that it lives no longer than they do.
    pub(super) fn settle(&mut self, taken: bool) {
        if taken && self.held.is_none() && self.needed.is_none() {
            self.unread = BytesMut::from(&self.unread[..]);
        }
        if self.begun.is_none() && !self.unread.is_empty() {
            self.begun = Some(Instant::now());
            self.waiting_since = self.begun;
        }
    }

    /// Whether the frame at the front may be read on; when it may not, `needed` says what for.
    fn may_grow(&mut self) -> bool {
        let limit = self.frames.limit();
        let large = Frames::announced(&self.unread)
            .filter(|length| *length as usize > SMALL && *length <= limit);
        let (Some(length), true) = (large, self.held.is_none()) else {
            return true;
        };
        if self.unread.len() >= SMALL && self.needed.is_none() {
            self.needed = Some(length);
            self.room.waiting.fetch_add(1, Ordering::Relaxed);
        }
        false
    }

    /// Waits for the room that is needed.
    pub(super) fn poll_room(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<OwnedSemaphorePermit>> {
        let needed = self.needed.unwrap_or(0);
        self.queue.poll_acquire_many(context, needed)
    }

    pub(super) fn take_room(&mut self, held: Option<OwnedSemaphorePermit>) {
        self.stop_waiting();
        self.held = held;
        self.pace = Some((Instant::now() + PACE, self.unread.len()));
        self.go_on();
    }

    /// After a pause that was ours, the client's time counts anew.
    pub(super) fn go_on(&mut self) {
        self.waiting_since = self.waiting_since.map(|_| Instant::now());
    }

    /// The first moment at which [`look`](Self::look) has something to say.
    pub(super) fn timer(&self, stall: Duration) -> Option<Instant> {
        let stalled = self.waiting_since.map(|since| since + stall);
        let pace = self.pace.map(|(at, _)| at);
        stalled
            .into_iter()
            .chain(pace)
            .min()
            .filter(|_| self.needed.is_none())
    }

    /// Whether the request that is arriving is too late.
    pub(super) fn look(&mut self, now: Instant, stall: Duration) -> Option<Late> {
        if self.needed.is_some() {
            return None;
        }
        if self.waiting_since.is_some_and(|since| since + stall <= now) {
            return Some(Late::Stalled);
        }
        let (_, before) = self.pace.filter(|(at, _)| *at <= now)?;
        let crawls = self.unread.len() < before + SMALL;
        if crawls && self.room.waiting.load(Ordering::Relaxed) > 0 {
            return Some(Late::InTheWay);
        }
        self.pace = Some((now + PACE, self.unread.len()));
        None
    }

    fn stop_waiting(&mut self) {
        if self.needed.take().is_some() {
            self.room.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.stop_waiting();
    }
}
