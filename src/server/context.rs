//! What all connections share: settings, the inference thread's handle, what is counted, how far the end
//! has come.

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};

use super::hang::OnHang;
use super::incoming::Room;
use super::ledger::Ledger;
use super::peer::{Access, Peer};
use super::shares::{Shares, Taken};
use super::silent::Silent;
use crate::inference::Inference;
use crate::lifecycle::history::History;
use crate::lifecycle::renewal::Limits;
use crate::lifecycle::sandbox::Sandbox;
use crate::model::Bundle;
use crate::wire::{self, Reply, message};

/// What the server is told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What clients are told.
    pub limits: message::Limits,
    /// Connections at a time.
    pub max_connections: usize,
    /// What of it all one user may take.
    pub shares: Shares,
    /// How long a hello, a request or the reading of a reply may take.
    pub stall_timeout: Duration,
    /// How long admitted requests may go on when the daemon stops.
    pub grace: Duration,
    /// When this image is to be followed by another.
    pub renewal: Limits,
    /// After how long in one step the inference thread counts as hung.
    pub hang_limit: Option<Duration>,
    /// What is done then.
    pub on_hang: OnHang,
    /// What the process has given up.
    pub sandbox: Sandbox,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not at all.
    Serving,
    /// The running request is finished; then another image takes over.
    Renewing,
    /// Connections are handed in, to be carried over.
    Leaving,
    /// Nothing new is admitted; what was admitted goes on.
    Draining,
    /// Everything that is not finished is given up.
    Closing,
}

impl Phase {
    /// Whether there will be no answer to what comes now.
    pub(super) fn is_ending(self) -> bool {
        matches!(self, Phase::Draining | Phase::Closing)
    }
}

/// What all connections share.
pub(super) struct Context {
    pub(super) settings: Settings,
    pub(super) bundle: Arc<Bundle>,
    pub(super) inference: Inference,
    pub(super) access: Access,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) history: Mutex<History>,
    /// Why the last reload was refused.
    pub(super) problem: Mutex<Option<String>>,
    /// Whether an image before us had loaded the model.
    pub(super) took_over: AtomicBool,
    /// Told when a client asks for a renewal.
    pub(super) asked: Notify,
    pub(super) connections: AtomicUsize,
    pub(super) taken: Mutex<Taken>,
    pub(super) silent: Mutex<Silent>,
    pub(super) phase: watch::Sender<Phase>,
    /// What large requests share while they arrive: as many bytes as one request may have.
    pub(super) room: Arc<Room>,
    /// Bytes of replies that clients have not taken.
    pub(super) unsent: Arc<AtomicUsize>,
}

impl Context {
    pub(super) fn new(
        settings: Settings,
        access: Access,
        bundle: Arc<Bundle>,
        inference: Inference,
    ) -> Self {
        Context {
            room: Arc::new(Room::new(settings.limits.frame_bytes as usize)),
            unsent: Arc::new(AtomicUsize::new(0)),
            bundle,
            inference,
            access,
            ledger: Mutex::new(Ledger::new()),
            history: Mutex::default(),
            problem: Mutex::default(),
            took_over: AtomicBool::new(false),
            asked: Notify::new(),
            connections: AtomicUsize::new(0),
            taken: Mutex::new(Taken::new(settings.shares)),
            silent: Mutex::default(),
            phase: watch::Sender::new(Phase::Serving),
            settings,
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger
            .lock()
            .expect("no code panics with the ledger locked")
    }

    pub(super) fn history(&self) -> MutexGuard<'_, History> {
        self.history
            .lock()
            .expect("no code panics with the history locked")
    }

    pub(super) fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken
            .lock()
            .expect("no code panics with the shares locked")
    }

    pub(super) fn silent(&self) -> MutexGuard<'_, Silent> {
        self.silent
            .lock()
            .expect("no code panics with the silent ones locked")
    }

    pub(super) fn problem(&self) -> MutexGuard<'_, Option<String>> {
        self.problem
            .lock()
            .expect("no code panics with the problem locked")
    }

    /// Says why and hangs up. A new socket always has room for one small frame.
    pub(super) fn refuse(&self, stream: &UnixStream, peer: &Peer, error: message::Error) {
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
