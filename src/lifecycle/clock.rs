//! Moments that mean the same before and after a renewal.
//!
//! An [`Instant`] is a number of this image only as far as anybody promises. CLOCK_BOOTTIME is the
//! kernel's, counts on while a machine sleeps, and is never set back.

use std::time::{Duration, Instant};

use bincode::{Decode, Encode};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Moment(u64);

impl Moment {
    /// The present.
    ///
    /// # Panics
    ///
    /// Never: every Linux that runs us has this clock.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux has this clock");
        Moment(nanoseconds(Duration::from(now)))
    }

    /// The moment of `instant`, before or after the present.
    #[must_use]
    pub fn of(instant: Instant) -> Self {
        let (now, here) = (Moment::now(), Instant::now());
        match instant.checked_duration_since(here) {
            Some(ahead) => now.after(ahead),
            None => Moment(now.0.saturating_sub(nanoseconds(here - instant))),
        }
    }

    /// The same moment on the clock that timers go by.
    #[must_use]
    pub fn instant(self) -> Instant {
        let (now, here) = (Moment::now(), Instant::now());
        if self >= now {
            here + Duration::from_nanos(self.0 - now.0)
        } else {
            here.checked_sub(Duration::from_nanos(now.0 - self.0))
                .unwrap_or(here)
        }
    }

    /// This much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Moment(self.0.saturating_add(nanoseconds(time)))
    }

    /// How long ago it was; zero for what is still to come.
    #[must_use]
    pub fn age(self) -> Duration {
        Moment::now().since(self)
    }

    /// The time from `earlier` to this; zero when it is the other way round.
    #[must_use]
    pub fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// 584 years fit.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_come_back_from_both_sides_of_the_present() {
        let here = Instant::now();
        let away = Duration::from_secs(5);
        for instant in [
            here + away,
            here,
            here.checked_sub(away).expect("after the start"),
        ] {
            let back = Moment::of(instant).instant();
            let error = back.max(instant) - back.min(instant);
            assert!(error < Duration::from_millis(50), "{error:?}");
        }
        assert!(Moment::of(here + away).age().is_zero());
    }
}
