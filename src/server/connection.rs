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

use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::incoming::{Incoming, Late};
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::translate::Wanted;
use super::{Context, Phase};
use crate::inference::{Finished, JobId, Ticket};
use crate::wire::{Code, Reply};

/// Requests of one client that are understood before the others have their turn.
const FRAMES_AT_ONCE: u32 = 32;

/// One client.
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) context: Arc<Context>,
    /// Whether the client said hello.
    pub(super) greeted: bool,
    pub(super) pending: HashMap<JobId, Pending>,
    /// Where the inference thread sends this client's outcomes.
    pub(super) finished: UnboundedSender<Finished>,
    /// Nothing more is read; what is unsent is written, and then it is over.
    pub(super) closing: bool,
    pub(super) incoming: Incoming,
    outgoing: Outgoing,
    /// Whole requests may have been read that are not understood yet.
    backlog: bool,
    outcomes: UnboundedReceiver<Finished>,
    phase: watch::Receiver<Phase>,
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
    Backlog,
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
            greeted: false,
            pending: HashMap::new(),
            finished,
            closing: false,
            incoming: Incoming::new(Arc::clone(&context.room)),
            outgoing: Outgoing::new(Arc::clone(&context.unsent)),
            backlog: false,
            outcomes,
            phase: context.phase.subscribe(),
            context,
        }
    }

    /// Serves the client until it leaves, is sent away, or the daemon ends. Dropping `pending` at
    /// the end gives up whatever the client still waited for.
    pub(super) async fn run(mut self) {
        tracing::debug!(peer = %self.peer, "connected");
        if let Err(reason) = self.context.access.admits(&self.peer).await {
            let error = Code::NotAllowed.error(None, reason);
            return self.context.refuse(&self.stream, &self.peer, error);
        }
        while !(self.closing && self.outgoing.is_empty()) {
            match self.next().await {
                Event::Finished(finished) => self.answer(finished),
                Event::Phase(phase) => self.enter(phase),
                Event::Room(room) => {
                    self.incoming.take_room(room);
                    self.take_frames();
                }
                Event::Backlog => self.take_frames(),
                Event::Readable => self.read(),
                Event::Writable => self.write(),
                Event::Timer => self.time_out(),
                Event::Broken(error) => self.lost(&error),
            }
            self.send_away_when_idle();
            if !self.outgoing.is_empty() {
                self.write();
            }
        }
        tracing::debug!(peer = %self.peer, unanswered = self.pending.len(), "connection closed");
    }

    /// Waits for the next thing to happen.
    async fn next(&mut self) -> Event {
        let listening = self.is_listening();
        let timer = self.next_timer();
        let waits_for_room = !self.incoming.wants_bytes();
        let incoming = &mut self.incoming;
        tokio::select! {
            biased;
            Some(finished) = self.outcomes.recv() => Event::Finished(finished),
            Ok(()) = self.phase.changed() => Event::Phase(*self.phase.borrow_and_update()),
            room = poll_fn(|cx| incoming.poll_room(cx)), if waits_for_room && !self.closing => {
                Event::Room(room)
            }
            ready = self.stream.writable(), if !self.outgoing.is_empty() => {
                ready.map_or_else(Event::Broken, |()| Event::Writable)
            }
            () = tokio::task::yield_now(), if listening && self.backlog => Event::Backlog,
            ready = self.stream.readable(), if listening && !self.backlog && !waits_for_room => {
                ready.map_or_else(Event::Broken, |()| Event::Readable)
            }
            () = tokio::time::sleep_until(timer.unwrap_or_else(Instant::now)),
                if timer.is_some() => Event::Timer,
        }
    }

    /// Whether we take requests from this client now.
    fn is_listening(&self) -> bool {
        !self.closing && !self.outgoing.is_full()
    }

    /// The first moment at which something would be too late.
    fn next_timer(&self) -> Option<Instant> {
        let stall = self.context.settings.stall_timeout;
        let reading = self.is_listening() && !self.backlog;
        let incoming = self.incoming.timer(stall).filter(|_| reading);
        let outgoing = self.outgoing.oldest().map(|since| since + stall);
        let deadlines = self.pending.values().map(|pending| pending.deadline);
        deadlines.chain(incoming).chain(outgoing).min()
    }

    /// Queues a reply for sending.
    pub(super) fn send(&mut self, reply: &Reply) {
        if self.outgoing.is_burden() {
            tracing::warn!(peer = %self.peer, "a client leaves too many replies unread");
            self.leave();
        } else {
            self.outgoing.push(reply);
        }
    }

    fn read(&mut self) {
        match self.incoming.read(&self.stream) {
            // End of stream: the client has left, also when only its sending side was closed.
            Ok(0) => self.leave(),
            Ok(_) => self.take_frames(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.lost(&error),
        }
    }

    /// Hands whole frames on, some at a time.
    fn take_frames(&mut self) {
        let mut taken = 0;
        self.backlog = false;
        while self.is_listening() && !self.backlog {
            match self.incoming.next() {
                Ok(Some(frame)) => {
                    taken += 1;
                    self.receive(&frame);
                }
                Ok(None) => break,
                Err(error) => {
                    self.send_away(Code::FrameTooLarge.error(None, error.to_string()));
                }
            }
            self.backlog = taken == FRAMES_AT_ONCE;
        }
        self.backlog |= self.outgoing.is_full();
        self.incoming.settle(taken > 0);
    }

    fn write(&mut self) {
        let was_full = self.outgoing.is_full();
        if let Err(error) = self.outgoing.write(&self.stream) {
            self.lost(&error);
        }
        if was_full && !self.outgoing.is_full() {
            self.incoming.go_on();
        }
    }

    fn time_out(&mut self) {
        let now = Instant::now();
        let stall = self.context.settings.stall_timeout;
        if self
            .outgoing
            .oldest()
            .is_some_and(|since| since + stall <= now)
        {
            tracing::warn!(peer = %self.peer, "a client does not read its replies");
            self.leave();
        } else if self.is_listening() && !self.backlog {
            self.hurry(now);
        }
        self.expire(now);
    }

    /// Sends the client away whose hello or request does not come in as it should.
    fn hurry(&mut self, now: Instant) {
        let stall = self.context.settings.stall_timeout;
        let what = if self.greeted {
            "a request"
        } else {
            "the hello"
        };
        let message = match self.incoming.look(now, stall) {
            None => return,
            Some(Late::Stalled) => {
                format!("{what} did not arrive within {} ms", stall.as_millis())
            }
            Some(Late::InTheWay) => format!("{what} came in too slowly while others waited"),
        };
        self.send_away(Code::Stalled.error(None, message));
    }

    fn lost(&mut self, error: &io::Error) {
        tracing::debug!(peer = %self.peer, %error, "connection lost");
        self.leave();
    }

    /// The client is gone: nothing more is read or sent, and its jobs are given up.
    fn leave(&mut self) {
        self.closing = true;
        self.outgoing.clear();
        self.give_up();
    }

    /// Gives up the jobs that are not answered; nobody will hear of them.
    pub(super) fn give_up(&mut self) {
        for (_, pending) in std::mem::take(&mut self.pending) {
            self.log(&pending, "cancelled");
            self.context.ledger().count("cancelled");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
