//! What the inference thread and its callers share, and what is told of it.

use std::sync::atomic::AtomicU64;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::queue::Queue;
use super::{Fingerprint, Pulse, panics};

/// Where the model stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// It will be loaded at the first request.
    Unloaded,
    /// It is being loaded.
    Loading,
    /// It is in memory.
    Loaded {
        /// Whether it is a copy that was optimised for this CPU.
        prepared: bool,
    },
    /// It could not be loaded; the next request tries again.
    Failed(String),
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When there is likely to be room.
    pub retry_after: Duration,
}

/// What waits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait.
    pub waiting: usize,
    /// Bytes of their pictures.
    pub bytes: usize,
    /// Whether a job is running.
    pub running: bool,
    /// How many wait for its answer.
    pub sharing: usize,
}

/// What the thread has done since it was started.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// Jobs that ended.
    pub jobs: u64,
    /// Whether it ever did anything but wait.
    pub has_worked: bool,
    /// Since when it waits; the present while it works.
    pub since: Instant,
}

/// What the thread and its callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) queue: Mutex<Queue>,
    /// Told when something was queued or the queue was closed.
    pub(super) wake: Condvar,
    pub(super) state: Mutex<ModelState>,
    pub(super) panics: panics::Counters,
    pub(super) pulse: Pulse,
    pub(super) refused: Mutex<Vec<Fingerprint>>,
    pub(super) next_id: AtomicU64,
    /// How often the thread came to rest, be it for a moment.
    pub(super) rests: watch::Sender<u64>,
}

impl Shared {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("no code panics with the queue locked")
    }

    pub(super) fn refused(&self) -> MutexGuard<'_, Vec<Fingerprint>> {
        self.refused
            .lock()
            .expect("no code panics with the list locked")
    }

    pub(super) fn set_state(&self, state: ModelState) {
        *self
            .state
            .lock()
            .expect("no code panics with the state locked") = state;
    }
}
