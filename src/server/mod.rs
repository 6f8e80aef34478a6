//! The server: connections on a Unix socket, and the only room that translates wire to inference.
//!
//! Everything here runs on one current-thread runtime and never waits for the inference thread, so
//! health, status and metrics are answered at once whatever the model does.
//!
//! - [`socket`]: the folder, the lock and the listening socket; [`place`]: what may lie there instead.
//! - [`peer`]: who may connect; [`shares`]: how much of it all one user may take; [`silent`]: who says
//!   nothing and makes room.
//! - [`connection`]: one client: its data, and the task that moves it; [`incoming`] and
//!   [`outgoing`] are its two directions, each with its bounds.
//! - [`conversation`]: what is said on a connection.
//! - [`translate`]: wire messages to tasks, answers to replies.
//! - [`context`]: what all connections share.
//! - [`report`]: health and status; [`metrics`].
//! - [`ledger`]: what was counted since the start.
//! - [`hang`]: what is done when the inference thread hangs.
//! - [`renewal`]: leaving for another image, and taking over from one; [`wanted`] says when, and
//!   [`carried`] is what passes.

mod carried;
mod connection;
mod context;
mod conversation;
mod hang;
mod incoming;
mod ledger;
mod metrics;
mod outgoing;
pub mod peer;
pub mod place;
mod renewal;
mod report;
mod shares;
mod silent;
pub mod socket;
mod translate;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout, timeout_at};

use crate::inference::Inference;
use crate::lifecycle::renewal::Reason;
use crate::lifecycle::signals::{Signal, Signals};
use crate::model::Bundle;
use crate::wire::Code;
use connection::Connection;
pub use context::Settings;
use context::{Context, Phase};
use hang::Hangs;
pub use hang::OnHang;
use peer::{Access, Peer};
pub use shares::Shares;
use socket::Socket;
use wanted::Renewals;

pub use carried::Carried;
pub use renewal::{Arrival, Departure, dismiss};
pub use wanted::Check;

/// How long connections may take to say good-bye once everything else is over.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long is looked for connections that came before the socket was gone.
const LAST_LOOK: Duration = Duration::from_millis(20);

/// A server that listens.
pub struct Server {
    socket: Socket,
    context: Arc<Context>,
    /// Each gives itself back when it is to be carried over.
    clients: JoinSet<Option<Connection>>,
    renewals: Renewals,
    hangs: Hangs,
}

/// How serving ended.
#[derive(Debug)]
pub enum End {
    /// A signal said stop; everything was said and done.
    Stopped,
    /// Another image is to go on.
    Renew(Box<Departure>),
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
        check: Check,
    ) -> Self {
        let renewals = Renewals::new(settings.renewal, check);
        Server {
            socket,
            context: Arc::new(Context::new(settings, access, bundle, inference)),
            clients: JoinSet::new(),
            renewals,
            hangs: Hangs::default(),
        }
    }

    /// The socket that is listened on.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Serves until a signal says stop, then [drains](Self::drain), or until another image is to go on.
    /// After a departure that failed, [`take_over`](Self::take_over) what departed and run again.
    pub async fn run(&mut self, signals: &mut Signals) -> End {
        match self.serve(signals).await {
            Some(reason) => End::Renew(Box::new(self.depart(reason).await)),
            None => {
                self.drain(signals).await;
                End::Stopped
            }
        }
    }

    /// The order of the end: the socket is removed, so that nobody new comes; what was admitted is
    /// finished within the grace period; what is left is answered with `going_away`; every
    /// connection is told.
    pub async fn drain(&mut self, signals: &mut Signals) {
        let grace = Instant::now() + self.context.settings.grace;
        self.renewals.give_up();
        self.context.phase.send_replace(Phase::Draining);
        self.context.inference.resume();
        self.socket.remove();
        self.admit_the_last().await;
        tracing::info!(connections = self.clients.len(), "stopping");
        tokio::select! {
            () = self.all_left() => {}
            () = tokio::time::sleep_until(grace) => tracing::warn!("the grace period is over"),
            () = told_to_stop(signals) => tracing::warn!("told to stop a second time"),
        }
        self.context.phase.send_replace(Phase::Closing);
        if timeout(FAREWELL, self.all_left()).await.is_err() {
            tracing::warn!(
                connections = self.clients.len(),
                "clients did not read their good-bye"
            );
        }
        self.clients.shutdown().await;
    }

    /// Ends the inference thread.
    pub fn stop(self) {
        match Arc::into_inner(self.context) {
            Some(context) => context.inference.stop(),
            None => tracing::error!("a connection outlived the server"),
        }
    }

    /// Serves until a stop signal, or until another image is to go on and nothing is under way.
    async fn serve(&mut self, signals: &mut Signals) -> Option<Reason> {
        let context = Arc::clone(&self.context);
        let limit = context.settings.hang_limit;
        let mut rests = context.inference.rests();
        let mut clock = tokio::time::interval(self.renewals.look_every());
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = self.renewals.wanted;
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
                signal = signals.next() => match signal {
                    Signal::Reload => self.renewals.check(),
                    Signal::Stop => return None,
                },
                checked = self.renewals.checked() => self.checked(checked),
                () = context.asked.notified() => self.want(Reason::Asked),
                Ok(()) = rests.changed() => self.consider(),
                _ = clock.tick() => self.consider(),
                () = context.inference.at_rest(), if wanted.is_some() => return wanted,
                hung = context.inference.hung(limit), if self.hangs.may_act() => {
                    if let Some(reason) = self.hangs(hung) {
                        return Some(reason);
                    }
                }
            }
        }
    }

    /// Takes in who had connected before the socket was gone, to tell them as well.
    async fn admit_the_last(&mut self) {
        // Not a look without waiting: the runtime must ask the kernel once before it knows of them. And
        // one look for all: to a socket that others hold (systemd's) clients may come for ever.
        let end = Instant::now() + LAST_LOOK;
        while let Ok(Ok((stream, _))) = timeout_at(end, self.socket.listener.accept()).await {
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
        let is_full = context.connections.load(Ordering::Relaxed) >= most;
        let full = if !context.taken().has_room(peer.uid) {
            Some(format!(
                "user {} has all connections that it may have",
                peer.uid
            ))
        } else if is_full && !context.silent().displace(std::time::Instant::now()) {
            Some(format!(
                "{most} connections are open, and no more are accepted"
            ))
        } else {
            None
        };
        if let Some(message) = full {
            let mut error = Code::TooManyConnections.error(None, message);
            error.retry_after_ms = Some(1000);
            return context.refuse(&stream, &peer, error);
        }
        let connection = Connection::new(stream, peer, Arc::clone(context));
        self.clients.spawn(connection.run());
    }
}

/// Waits for a stop signal and hears a reload without minding it: a `select!` branch whose pattern
/// does not match would be switched off by the first HUP.
async fn told_to_stop(signals: &mut Signals) {
    while signals.next().await == Signal::Reload {}
}
