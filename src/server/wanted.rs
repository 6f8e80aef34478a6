//! Whether another image is wanted, and the trial of what a reload would bring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::lifecycle::history;
use crate::lifecycle::renewal::{Limits, Reason};

/// Tries what a reload would bring, as long as the flag stays true, and gives the digest of the model
/// that was found good; or says what is wrong.
pub type Check = Arc<dyn Fn(&AtomicBool) -> Result<String, String> + Send + Sync>;

/// The shortest time between two looks at the clock, whatever is configured.
const LEAST_LOOK: Duration = Duration::from_millis(20);

/// What is wanted, and what is being tried.
pub(super) struct Renewals {
    pub(super) limits: Limits,
    /// When this image began, or the last attempt to leave it failed.
    pub(super) born: Instant,
    pub(super) wanted: Option<Reason>,
    check: Check,
    pub(super) checking: Option<JoinHandle<Result<String, String>>>,
    pub(super) checked_model: Option<String>,
    /// Another reload was asked for meanwhile.
    pub(super) once_more: bool,
    go_on: Arc<AtomicBool>,
}

impl Renewals {
    pub(super) fn new(limits: Limits, check: Check) -> Self {
        Renewals {
            limits: limits.drawn(),
            born: Instant::now(),
            wanted: None,
            check,
            checking: None,
            checked_model: None,
            once_more: false,
            go_on: Arc::new(AtomicBool::new(true)),
        }
    }

    /// How often memory and idleness are looked at when nothing happens.
    pub(super) fn look_every(&self) -> Duration {
        let idle = self.limits.idle.map(|idle| idle / 4);
        history::STEP
            .min(idle.unwrap_or(history::STEP))
            .max(LEAST_LOOK)
    }

    /// Begins to try a reload. One that is being tried may have read its files before this was asked for,
    /// so there is another afterwards.
    pub(super) fn check(&mut self) {
        if self.checking.is_some() {
            self.once_more = true;
            return;
        }
        tracing::info!("told to reload: trying configuration and model first");
        let (check, go_on) = (Arc::clone(&self.check), Arc::clone(&self.go_on));
        self.checking = Some(tokio::task::spawn_blocking(move || check(&go_on)));
    }

    /// Waits for the end of the trial; for ever when there is none.
    pub(super) async fn checked(&mut self) -> Result<String, String> {
        let Some(checking) = &mut self.checking else {
            return std::future::pending().await;
        };
        let result = checking.await;
        self.checking = None;
        result.unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Ends the trial, if there is one, and its process; tells whether there was.
    pub(super) async fn end_check(&mut self) -> bool {
        self.give_up();
        let once_more = std::mem::take(&mut self.once_more);
        let Some(checking) = self.checking.take() else {
            return once_more;
        };
        let _ = checking.await;
        true
    }

    /// Nothing is tried and nothing is wanted any more.
    pub(super) fn give_up(&mut self) {
        self.wanted = None;
        self.go_on.store(false, Ordering::Relaxed);
        self.go_on = Arc::new(AtomicBool::new(true));
    }
}
