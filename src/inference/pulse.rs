//! Whether the inference thread moves, for whoever would end a daemon that hangs.
//!
//! The thread says so itself, at each step of its work. Anything else that ticked for it would tick on
//! when it hangs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// When the thread last took a step; nothing while it waits for work.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    last: Arc<Mutex<Option<Instant>>>,
}

impl Pulse {
    /// A step is begun.
    pub(super) fn beat(&self) {
        self.set(Some(Instant::now()));
    }

    /// There is nothing to do.
    pub(super) fn rest(&self) {
        self.set(None);
    }

    /// How long the thread has been in the step that it is in; zero while it waits for work.
    ///
    /// # Panics
    ///
    /// Never: no code panics with the pulse locked.
    #[must_use]
    pub fn in_step_for(&self) -> Duration {
        let last = self
            .last
            .lock()
            .expect("no code panics with the pulse locked");
        last.map_or(Duration::ZERO, |last| last.elapsed())
    }

    fn set(&self, moment: Option<Instant>) {
        *self
            .last
            .lock()
            .expect("no code panics with the pulse locked") = moment;
    }
}
