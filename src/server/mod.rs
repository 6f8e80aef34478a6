//! The server: connections on a Unix socket, and the only room that translates wire to inference.
//!
//! Everything here runs on one current-thread runtime and never waits for the inference thread, so
//! health, status and metrics are answered at once whatever the model does.
//!
//! - [`socket`]: the folder, the lock and the listening socket.
//! - [`peer`]: who may connect.
//! - [`connection`]: one client: its data, and the task that moves it; [`incoming`] and
//!   [`outgoing`] are its two directions, each with its bounds.
//! - [`conversation`]: what is said on a connection.
//! - [`translate`]: wire messages to tasks, answers to replies.
//! - [`report`]: health, status and metrics.
//! - [`ledger`]: what was counted since the start.

mod connection;
mod conversation;
mod incoming;
mod ledger;
mod outgoing;
pub mod peer;
mod report;
pub mod socket;
mod translate;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UnixStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::inference::Inference;
use crate::lifecycle::signals::Signal;
use crate::model::Bundle;
use crate::wire::{self, Code, Reply, message};
use connection::Connection;
use incoming::Room;
use ledger::Ledger;
use peer::{Access, Peer};
use socket::Socket;

/// How long connections may take to say good-bye once everything else is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long is looked for connections that came before the socket was gone.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// What the server is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What clients are told.
    pub limits: message::Limits,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long a hello, a request or the reading of a reply may take.
    pub stall_timeout: Duration,
    /// How long admitted requests may go on when the daemon stops.
    pub grace: Duration,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not at all.
    Serving,
    /// Nothing new is admitted; what was admitted goes on.
    Draining,
    /// Everything that is not finished is given up.
    Closing,
}

/// What all connections share.
struct Context {
    settings: Settings,
    bundle: Arc<Bundle>,
    inference: Inference,
    access: Access,
    ledger: Mutex<Ledger>,
    connections: AtomicUsize,
    phase: watch::Sender<Phase>,
    /// What large requests share while they arrive: as many bytes as one request may have.
    room: Arc<Room>,
    /// Bytes of replies that clients have not taken.
    unsent: Arc<AtomicUsize>,
}

impl Context {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .expect("no code panics with the ledger locked")
    }

    /// Says why and hangs up. A new socket always has room for one small frame.
    fn refuse(&self, stream: &UnixStream, peer: &Peer, error: message::Error) {
        let first = self.ledger().count(&error.code);
        // A client that comes again and again shall not fill the log.
        if first.is_power_of_two() {
            let (code, message, times) = (&error.code, &error.message, first);
            tracing::warn!(%peer, %code, %message, times, "refused a client");
        }
        let mut frame = BytesMut::new();
        wire::encode(&Reply::Error(error), &mut frame);
        if let Err(error) = stream.try_write(&frame) {
            tracing::debug!(%error, "a refusal could not be sent");
        }
    }
}

/// A server that listens.
pub struct Server {
    socket: Socket,
    context: Arc<Context>,
    clients: JoinSet<()>,
}

impl Server {
    /// Takes over `socket`; nothing is accepted before [`run`](Self::run).
    #[must_use]
    pub fn new(
        socket: Socket,
        settings: Settings,
        access: Access,
        bundle: Arc<Bundle>,
        inference: Inference,
    ) -> Self {
        let context = Context {
            room: Arc::new(Room::new(settings.limits.frame_bytes as usize)),
            unsent: Arc::new(AtomicUsize::new(0)),
            settings,
            bundle,
            inference,
            access,
            ledger: Mutex::new(Ledger::new()),
            connections: AtomicUsize::new(0),
            phase: watch::Sender::new(Phase::Serving),
        };
        Server {
            socket,
            context: Arc::new(context),
            clients: JoinSet::new(),
        }
    }

    /// Serves until a stop signal, then drains.
    ///
    /// The order of the end: the socket is removed, so that nobody new comes; what was admitted is
    /// finished within the grace period; what is left is answered with `going_away`; every
    /// connection is told; the inference thread ends.
    pub async fn run(mut self, mut signals: UnboundedReceiver<Signal>) {
        self.serve(&mut signals).await;
        let grace = Instant::now() + self.context.settings.grace;
        self.context.phase.send_replace(Phase::Draining);
        self.socket.remove();
        self.admit_the_last().await;
        tracing::info!(connections = self.clients.len(), "stopping");
        tokio::select! {
            () = self.all_left() => {}
            () = tokio::time::sleep_until(grace) => tracing::warn!("the grace period is over"),
            () = told_to_stop(&mut signals) => tracing::warn!("told to stop a second time"),
        }
        self.context.phase.send_replace(Phase::Closing);
        if timeout(FAREWELL, self.all_left()).await.is_err() {
            tracing::warn!(
                connections = self.clients.len(),
                "clients did not read their good-bye"
            );
        }
        self.clients.shutdown().await;
        match Arc::into_inner(self.context) {
            Some(context) => context.inference.stop(),
            None => tracing::error!("a connection outlived the server"),
        }
    }

    async fn serve(&mut self, signals: &mut UnboundedReceiver<Signal>) {
        loop {
            tokio::select! {
                accepted = self.socket.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream),
                    Err(error) => {
                        // Out of descriptors, most likely: wait for some to come back, without
                        // asking for them a million times a second.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(_) = self.clients.join_next() => {}
                signal = signals.recv() => match signal {
                    Some(Signal::Reload) => tracing::warn!(
                        "SIGHUP: the configuration is read at the start only; nothing changed"
                    ),
                    Some(Signal::Stop) | None => return,
                },
            }
        }
    }

    /// Takes in who had connected before the socket was gone, to tell them as well.
    async fn admit_the_last(&mut self) {
        // Not a look without waiting: the runtime must ask the kernel once before it knows of them.
        while let Ok(Ok((stream, _))) = timeout(LAST_LOOK, self.socket.listener.accept()).await {
            self.admit(stream);
        }
    }

    async fn all_left(&mut self) {
        while self.clients.join_next().await.is_some() {}
    }

    fn admit(&mut self, stream: UnixStream) {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => return tracing::warn!(%error, "a peer has no credentials"),
        };
        let context = &self.context;
        let most = context.settings.max_connections;
        if context.connections.load(Ordering::Relaxed) >= most {
            let mut error = Code::TooManyConnections.error(
                None,
                format!("{most} connections are open, and no more are accepted"),
            );
            error.retry_after_ms = Some(1000);
            return context.refuse(&stream, &peer, error);
        }
        context.connections.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(stream, peer, Arc::clone(context));
        self.clients.spawn(connection.run());
    }
}

/// Waits for a stop signal and hears a reload without minding it: a `select!` branch whose pattern
/// does not match would be switched off by the first HUP.
async fn told_to_stop(signals: &mut UnboundedReceiver<Signal>) {
    while let Some(Signal::Reload) = signals.recv().await {}
}
