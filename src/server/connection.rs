//! One client: its data, and the task that moves bytes in and out.
//!
//! A connection is plain data (a descriptor, the bytes that were read and not yet understood, the
//! requests that are not yet answered, the bytes that are not yet sent). The task below only waits
//! for something to happen and moves bytes; what they mean is [`super::conversation`]'s business.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::carried::{Client, Waiting};
use super::incoming::{Incoming, Late};
use super::outgoing::Outgoing;
use super::peer::Peer;
use super::translate::Wanted;
use super::{Context, Phase};
use crate::inference::{Finished, JobId, Ticket};
use crate::lifecycle::clock::Moment;
use crate::wire::{Code, Reply};

/// Requests of one client that are understood before the others have their turn.
const FRAMES_AT_ONCE: u32 = 32;

/// One client.
pub(super) struct Connection {
    stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) context: Arc<Context>,
    /// Whether the client may use us; asked once.
    admitted: bool,
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
    /// Ids of requests that wait for a renewal.
    pub(super) renewals: Vec<u64>,
    counted: Counted,
}

/// Counts a connection as long as it lives, and as one that said nothing until it said hello.
struct Counted {
    context: Arc<Context>,
    user: u32,
    silent: Option<(u64, Arc<Notify>)>,
}

impl Counted {
    fn new(context: &Arc<Context>, user: u32) -> Self {
        context.connections.fetch_add(1, Ordering::Relaxed);
        context.taken().connected(user);
        Counted {
            silent: Some(context.silent().enter(now())),
            context: Arc::clone(context),
            user,
        }
    }

    fn greeted(&mut self) {
        if let Some((number, _)) = self.silent.take() {
            self.context.silent().leave(number);
        }
    }

    /// Waits until others need the place of a connection that said nothing.
    async fn displaced(&self) {
        match &self.silent {
            Some((_, displaced)) => displaced.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.greeted();
        self.context.taken().left(self.user);
        self.context.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn now() -> std::time::Instant {
    std::time::Instant::now()
}

/// A request that is not answered yet.
pub(super) struct Pending {
    pub(super) wanted: Wanted,
    pub(super) deadline: Instant,
    pub(super) arrived: Instant,
    /// Dropping it gives the job up.
    pub(super) ticket: Ticket,
}

/// What happened.
enum Event {
    Finished(Box<Finished>),
    Phase(Phase),
    Room(Option<OwnedSemaphorePermit>),
    Backlog,
    Writable,
    Readable,
    Timer,
    Displaced,
    Broken(io::Error),
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: Peer, context: Arc<Context>) -> Self {
        let (finished, outcomes) = unbounded_channel();
        Connection {
            stream,
            peer,
            admitted: false,
            greeted: false,
            pending: HashMap::new(),
            finished,
            closing: false,
            incoming: Incoming::new(Arc::clone(&context.room)),
            outgoing: Outgoing::new(Arc::clone(&context.unsent)),
            backlog: false,
            outcomes,
            phase: context.phase.subscribe(),
            renewals: Vec::new(),
            counted: Counted::new(&context, peer.uid),
            context,
        }
    }

    /// Serves the client until it leaves, is sent away, or the daemon ends. Dropping `pending` at
    /// the end gives up whatever the client still waited for.
    ///
    /// Gives the connection back when it is to be carried over to another image.
    pub(super) async fn run(mut self) -> Option<Self> {
        tracing::debug!(peer = %self.peer, "connected");
        if !self.admitted {
            let mut phase = self.phase.clone();
            let admitted = tokio::select! {
                admitted = self.context.access.admits(&self.peer) => admitted,
                // Whoever takes over asks again.
                Ok(_) = phase.wait_for(|phase| *phase == Phase::Leaving) => return Some(self),
            };
            if let Err(reason) = admitted {
                let error = Code::NotAllowed.error(None, reason);
                self.context.refuse(&self.stream, &self.peer, error);
                return None;
            }
            self.admitted = true;
        }
        while !(self.closing && self.outgoing.is_empty()) {
            match self.next().await {
                Event::Finished(finished) => self.answer(*finished),
                Event::Phase(Phase::Leaving) => {
                    // The inference thread is at rest; what it sent is all there.
                    while let Ok(finished) = self.outcomes.try_recv() {
                        self.answer(finished);
                    }
                    return Some(self);
                }
                Event::Phase(phase) => self.enter(phase),
                Event::Room(room) => {
                    self.incoming.take_room(room);
                    self.take_frames();
                }
                Event::Backlog => self.take_frames(),
                Event::Readable => self.read(),
                Event::Writable => self.write(),
                Event::Timer => self.time_out(),
                Event::Displaced => {
                    let message = "others needed the place of a connection that said nothing";
                    self.send_away(Code::TooManyConnections.error(None, message));
                }
                Event::Broken(error) => self.lost(&error),
            }
            self.send_away_when_idle();
            if !self.outgoing.is_empty() {
                self.write();
            }
        }
        tracing::debug!(peer = %self.peer, unanswered = self.pending.len(), "connection closed");
        None
    }

    /// Everything of this connection, for the next image. `waiting` holds what each request that waits
    /// came in, and its place; those of this connection are taken out.
    pub(super) fn carry(
        mut self,
        waiting: &mut HashMap<JobId, Bytes>,
    ) -> io::Result<(OwnedFd, Client)> {
        let pending = std::mem::take(&mut self.pending);
        let mut requests = Vec::new();
        for (id, pending) in pending {
            match waiting.remove(&id) {
                Some(frame) => requests.push(Waiting {
                    order: id.0,
                    frame: frame.to_vec(),
                    begun: Moment::of(pending.arrived.into_std()),
                }),
                // The thread is at rest, so a request is either answered or waits.
                None => {
                    let message = "a bug in dermald lost this request in a renewal";
                    self.reject(Code::Internal.error(Some(pending.wanted.id), message));
                }
            }
        }
        let client = Client {
            uid: self.peer.uid,
            gid: self.peer.gid,
            pid: self.peer.pid,
            admitted: self.admitted,
            greeted: self.greeted,
            closing: self.closing,
            unread: self.incoming.carry(),
            unsent: self.outgoing.carry(),
            waiting: requests,
            renewals: self.renewals,
        };
        // What it holds is in `client`; nothing of it shall count any more.
        self.outgoing.clear();
        Ok((self.stream.into_std()?.into(), client))
    }

    /// Goes on where the image before left off. The requests that waited are given back, to be admitted
    /// again in the order of all.
    pub(super) fn restore(
        stream: UnixStream,
        client: Client,
        context: &Arc<Context>,
    ) -> (Self, Vec<Waiting>) {
        let peer = Peer {
            uid: client.uid,
            gid: client.gid,
            pid: client.pid,
        };
        let mut connection = Connection::new(stream, peer, Arc::clone(context));
        connection.admitted = client.admitted;
        if client.greeted {
            connection.greet_back();
        }
        connection.closing = client.closing;
        connection.renewals = client.renewals;
        connection.backlog = !client.unread.bytes.is_empty();
        connection.incoming.restore(client.unread);
        connection.outgoing.restore(client.unsent);
        (connection, client.waiting)
    }

    /// The client has said hello: its place is its own, and its requests may be large.
    pub(super) fn greet_back(&mut self) {
        self.greeted = true;
        self.counted.greeted();
        self.incoming
            .set_limit(self.context.settings.limits.frame_bytes);
    }

    /// Waits for the next thing to happen.
    async fn next(&mut self) -> Event {
        let listening = self.is_listening();
        let timer = self.next_timer();
        let waits_for_room = !self.incoming.wants_bytes();
        let incoming = &mut self.incoming;
        tokio::select! {
            biased;
            Some(finished) = self.outcomes.recv() => Event::Finished(Box::new(finished)),
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
            () = self.counted.displaced(), if !self.closing => Event::Displaced,
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
