//! Whether the inference thread moves, for whoever would end a daemon that hangs.
//!
//! The thread says so itself, at each step of its work. Anything else that ticked for it would tick on
//! when it hangs. Time is counted by another thread that ticks, so that a process which was frozen, as
//! hosts do with sleeping services, is not taken for one that hangs.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// The longest and the shortest time between two ticks.
const LONGEST_TICK: Duration = Duration::from_secs(5);
const SHORTEST_TICK: Duration = Duration::from_millis(20);

/// For how long the thread has been in one step.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Mutex<Step>>);

#[derive(Debug, Default)]
struct Step {
    /// Nothing is counted while the thread waits for work.
    at_work: bool,
    taken: Duration,
}

impl Pulse {
    /// A step is begun.
    pub(super) fn beat(&self) {
        *self.step() = Step {
            at_work: true,
            taken: Duration::ZERO,
        };
    }

    /// There is nothing to do.
    pub(super) fn rest(&self) {
        *self.step() = Step::default();
    }

    /// How long the thread has been in the step that it is in, as far as this process ran; zero while it
    /// waits for work.
    #[must_use]
    pub fn in_step_for(&self) -> Duration {
        self.step().taken
    }

    /// Counts the time, closely enough for `limit`. Never ends.
    pub async fn keep_time(self, limit: Duration) {
        let tick = (limit / 8).clamp(SHORTEST_TICK, LONGEST_TICK);
        let mut clock = tokio::time::interval(tick);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.pass(tick);
        }
    }

    fn pass(&self, time: Duration) {
        let mut step = self.step();
        if step.at_work {
            step.taken += time;
        }
    }

    fn step(&self) -> MutexGuard<'_, Step> {
        self.0.lock().expect("no code panics with the pulse locked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_last_beat_and_not_at_rest() {
        let pulse = Pulse::default();
        let second = Duration::from_secs(1);
        pulse.pass(second);
        assert_eq!(pulse.in_step_for(), Duration::ZERO);
        pulse.beat();
        pulse.pass(second);
        pulse.pass(second);
        assert_eq!(pulse.in_step_for(), 2 * second);
        pulse.beat();
        pulse.pass(second);
        assert_eq!(pulse.in_step_for(), second);
        pulse.rest();
        pulse.pass(second);
        assert_eq!(pulse.in_step_for(), Duration::ZERO);
    }
}
