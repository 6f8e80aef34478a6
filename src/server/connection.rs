//! One client: its data, and the task that moves bytes in and out.
//!
//! A connection is plain data (a descriptor, the bytes that were read and not yet understood, the
//! requests that are not yet answered, the bytes that are not yet sent). The task below only waits
//! for something to happen and moves bytes; what they mean is [`super::conversation`]'s business.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::PollSemaphore;

use super::peer::Peer;
use super::translate::Wanted;
use super::{Context, Phase};
use crate::inference::{Finished, JobId, Ticket};
use crate::wire::{self, Code, Frames, Reply, frame};

/// Requests below this size are read without asking for room among those that arrive.
const SMALL: u32 = 64 * 1024;

/// Room that is made before a read when nothing is known about what comes.
const READ: usize = 64 * 1024;

/// While more than this is unsent, nothing more is read from the client: it shall take its answers
/// first.
const UNSENT_LIMIT: usize = 1024 * 1024;

/// One client.
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) context: Arc<Context>,
    /// Name of the client, once it said hello.
    pub(super) greeted: Option<String>,
    pub(super) pending: HashMap<JobId, Pending>,
    /// Where the inference thread sends this client's outcomes.
    pub(super) finished: UnboundedSender<Finished>,
    /// Nothing more is read; what is unsent is written, and then it is over.
    pub(super) closing: bool,
    unread: BytesMut,
    unsent: BytesMut,
    pub(super) frames: Frames,
    outcomes: UnboundedReceiver<Finished>,
    phase: watch::Receiver<Phase>,
    arriving: PollSemaphore,
    /// Room for the large request that is arriving now.
    room: Option<OwnedSemaphorePermit>,
    /// Room that the request at the front of `unread` still waits for.
    room_needed: Option<u32>,
    /// When the hello or the request at the front of `unread` began to arrive.
    reading_since: Option<Instant>,
    /// When the client last took some of `unsent`.
    writing_since: Option<Instant>,
}

/// A request that is not answered yet.
pub(super) struct Pending {
    pub(super) wanted: Wanted,
    pub(super) deadline: Instant,
    pub(super) arrived: Instant,
    /// Dropping it gives the job up.
    pub(super) _ticket: Ticket,
}

/// What happened.
enum Event {
    Finished(Finished),
    Phase(Phase),
    Room(Option<OwnedSemaphorePermit>),
    Writable,
    Readable,
    Timer,
    Broken(io::Error),
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer, context: Arc<Context>) -> Self {
        let (finished, outcomes) = unbounded_channel();
        Connection {
            stream,
            peer,
            greeted: None,
            pending: HashMap::new(),
            finished,
            closing: false,
            unread: BytesMut::new(),
            unsent: BytesMut::new(),
            frames: Frames::new(frame::HELLO_LIMIT),
            outcomes,
            phase: context.phase.subscribe(),
            arriving: PollSemaphore::new(Arc::clone(&context.arriving)),
            room: None,
            room_needed: None,
            reading_since: Some(Instant::now()),
            writing_since: None,
            context,
        }
    }

    /// Serves the client until it leaves, is sent away, or the daemon ends. Dropping `pending` at
    /// the end gives up whatever the client still waited for.
    pub(super) async fn run(mut self) {
        tracing::debug!(peer = %self.peer, "connected");
        while !(self.closing && self.unsent.is_empty()) {
            match self.next().await {
                Event::Finished(finished) => self.answer(finished),
                Event::Phase(phase) => self.enter(phase),
                Event::Room(room) => self.take_room(room),
                Event::Readable => self.read(),
                Event::Writable => self.write(),
                Event::Timer => self.time_out(),
                Event::Broken(error) => self.lost(&error),
            }
            self.send_away_when_idle();
            if !self.unsent.is_empty() {
                self.write();
            }
        }
        tracing::debug!(peer = %self.peer, unanswered = self.pending.len(), "connection closed");
    }

    /// Waits for the next thing to happen.
    async fn next(&mut self) -> Event {
        let may_read =
            !self.closing && self.room_needed.is_none() && self.unsent.len() < UNSENT_LIMIT;
        let timer = self.next_timer();
        let (arriving, needed) = (&mut self.arriving, self.room_needed);
        tokio::select! {
            biased;
            Some(finished) = self.outcomes.recv() => Event::Finished(finished),
            Ok(()) = self.phase.changed() => Event::Phase(*self.phase.borrow_and_update()),
            room = poll_fn(|cx| arriving.poll_acquire_many(cx, needed.unwrap_or(0))),
                if needed.is_some() => Event::Room(room),
            ready = self.stream.writable(), if !self.unsent.is_empty() => {
                ready.map_or_else(Event::Broken, |()| Event::Writable)
            }
            ready = self.stream.readable(), if may_read => {
                ready.map_or_else(Event::Broken, |()| Event::Readable)
            }
            () = tokio::time::sleep_until(timer.unwrap_or_else(Instant::now)),
                if timer.is_some() => Event::Timer,
        }
    }

    /// The first moment at which something would be too late.
    fn next_timer(&self) -> Option<Instant> {
        let stall = self.context.settings.stall_timeout;
        let reading = self
            .reading_since
            .filter(|_| self.room_needed.is_none() && !self.closing);
        let deadlines = self.pending.values().map(|pending| pending.deadline);
        deadlines
            .chain(reading.map(|since| since + stall))
            .chain(self.writing_since.map(|since| since + stall))
            .min()
    }

    /// Queues a reply for sending.
    pub(super) fn send(&mut self, reply: &Reply) {
        if self.unsent.is_empty() {
            self.writing_since = Some(Instant::now());
        }
        wire::encode(reply, &mut self.unsent);
    }

    fn read(&mut self) {
        if self.unread.capacity() == self.unread.len() {
            self.unread.reserve(READ);
        }
        match self.stream.try_read_buf(&mut self.unread) {
            // End of stream: the client has left, also when only its sending side was closed.
            Ok(0) => self.leave(),
            Ok(_) => self.take_frames(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.lost(&error),
        }
    }

    /// Hands every whole frame on and makes sure that there is room for the rest of the next.
    fn take_frames(&mut self) {
        let mut taken = false;
        while !self.closing && self.has_room() {
            match self.frames.next(&mut self.unread) {
                Ok(Some(frame)) => {
                    // The room is the frame's until it was handed on; then the queue counts it.
                    let room = self.room.take();
                    self.reading_since = None;
                    taken = true;
                    self.receive(&frame);
                    drop((frame, room));
                }
                Ok(None) => break,
                Err(error) => {
                    self.send_away(Code::FrameTooLarge.error(None, error.to_string()));
                }
            }
        }
        // Frames are slices of the memory that was read into. It is let go here, so that it lives no
        // longer than they do.
        if taken && self.room.is_none() && self.room_needed.is_none() {
            self.unread = BytesMut::from(&self.unread[..]);
        }
        if self.reading_since.is_none() && !self.unread.is_empty() {
            self.reading_since = Some(Instant::now());
        }
    }

    /// Whether the frame at the front may be held; when it may not, `room_needed` says how much is
    /// waited for.
    fn has_room(&mut self) -> bool {
        let limit = self.frames.limit();
        let needed = Frames::announced(&self.unread)
            .filter(|length| *length > SMALL && *length <= limit && self.room.is_none());
        self.room_needed = needed;
        needed.is_none()
    }

    fn take_room(&mut self, room: Option<OwnedSemaphorePermit>) {
        self.room = room;
        self.room_needed = None;
        self.reading_since = Some(Instant::now());
        self.take_frames();
    }

    fn write(&mut self) {
        match self.stream.try_write(&self.unsent) {
            Ok(written) => {
                let _ = self.unsent.split_to(written);
                self.writing_since = Some(Instant::now());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.lost(&error),
        }
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
            self.writing_since = None;
        }
    }

    fn time_out(&mut self) {
        let now = Instant::now();
        let stall = self.context.settings.stall_timeout;
        let late = |since: Option<Instant>| since.is_some_and(|since| since + stall <= now);
        if late(self.writing_since) {
            tracing::warn!(peer = %self.peer, "a client does not read its replies");
            self.leave();
        } else if self.room_needed.is_none() && late(self.reading_since) {
            let what = if self.greeted.is_some() {
                "a request"
            } else {
                "the hello"
            };
            let message = format!("{what} did not arrive within {} ms", stall.as_millis());
            self.send_away(Code::Stalled.error(None, message));
        }
        self.expire(now);
    }

    fn lost(&mut self, error: &io::Error) {
        tracing::debug!(peer = %self.peer, %error, "connection lost");
        self.leave();
    }

    /// The client is gone: nothing more is read or sent, and its jobs are given up.
    fn leave(&mut self) {
        self.closing = true;
        self.unsent.clear();
        let mut ledger = self.context.ledger();
        for _ in self.pending.drain() {
            ledger.count("cancelled");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
