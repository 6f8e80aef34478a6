//! Stopping a job that nobody waits for any more: before it starts, or in the middle of its run.

use std::sync::{Arc, Mutex, MutexGuard};

use ort::session::RunOptions;

/// The run options through which a run can be ended from another thread. Only those without
/// selected outputs may be shared between threads, so every run computes all outputs: the heatmap
/// costs about 1 % of a run.
pub(super) type Run = RunOptions;

/// Shared between a job and whoever waits for it.
#[derive(Default)]
pub(crate) struct Interrupt(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    Waiting,
    Running(Arc<Run>),
    Cancelled,
}

impl Interrupt {
    /// Gives the job up. A run under way ends at its next operator.
    pub(super) fn cancel(&self) {
        if let State::Running(run) = std::mem::replace(&mut *self.lock(), State::Cancelled)
            && let Err(error) = run.terminate()
        {
            tracing::warn!(%error, "a run could not be stopped");
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        matches!(*self.lock(), State::Cancelled)
    }

    /// Announces that `run` begins; `false` when the job was given up before.
    pub(super) fn begin(&self, run: &Arc<Run>) -> bool {
        let mut state = self.lock();
        if matches!(*state, State::Cancelled) {
            return false;
        }
        *state = State::Running(Arc::clone(run));
        true
    }

    /// Announces that the run ended; `false` when the job was given up meanwhile.
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        let kept = !matches!(*state, State::Cancelled);
        if kept {
            *state = State::Waiting;
        }
        kept
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no code panics with an interrupt locked")
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupt")
    }
}
