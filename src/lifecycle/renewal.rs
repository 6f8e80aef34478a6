//! Why the process is to replace itself, and when: a pure question of a sample and the limits. Doing it
//! is [`handover`](super::handover)'s and the daemon's business.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use bincode::{Decode, Encode};

use super::memory::Memory;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Reason {
    /// Memory is past its limit.
    Memory,
    /// Nobody asked anything for long.
    Idle,
    /// As many requests as one image shall answer.
    Requests,
    /// HUP: configuration, model and binary anew.
    Reload,
    /// The owner asked for it.
    Asked,
    /// The inference thread hung.
    Hang,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 6] = [
        Reason::Memory,
        Reason::Idle,
        Reason::Requests,
        Reason::Reload,
        Reason::Asked,
        Reason::Hang,
    ];

    /// As it stands in logs, status and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Memory => "memory",
            Reason::Idle => "idle",
            Reason::Requests => "requests",
            Reason::Reload => "reload",
            Reason::Asked => "asked",
            Reason::Hang => "hang",
        }
    }
}

/// Which figure the memory limit is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// All that is resident, pages that are mapped from files included.
    Rss,
    /// What cannot be evicted.
    Anonymous,
}

impl Measure {
    /// As it stands in the configuration and in status.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Measure::Rss => "rss",
            Measure::Anonymous => "anonymous",
        }
    }

    /// The figure.
    #[must_use]
    pub fn of(self, memory: &Memory) -> u64 {
        match self {
            Measure::Rss => memory.rss,
            Measure::Anonymous => memory.anonymous,
        }
    }
}

/// When a renewal is due.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory in bytes, by `measure`.
    pub memory: Option<u64>,
    /// What the memory limit is compared with.
    pub measure: Measure,
    /// Time without a request.
    pub idle: Option<Duration>,
    /// Requests of one image, at least.
    pub requests: Option<u64>,
    /// How many more they may be; where between is drawn for each image.
    pub requests_jitter: u64,
    /// An image lives at least this long, unless somebody asks for another.
    pub least_lifetime: Duration,
}

impl Limits {
    /// The same with the number of requests drawn, for one image.
    #[must_use]
    pub fn drawn(mut self) -> Self {
        let random = RandomState::new().build_hasher().finish();
        let more = random.checked_rem(self.requests_jitter.saturating_add(1));
        self.requests = self.requests.map(|least| least + more.unwrap_or(0));
        self.requests_jitter = 0;
        self
    }
}

/// What is known of this image at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What it holds.
    pub memory: Memory,
    /// Whether more was done in it than to wait: a fresh image gains nothing by another.
    pub has_worked: bool,
    /// Whether the model could not be loaded. Another image could not do it either.
    pub failed: bool,
    /// Jobs that ended in it.
    pub requests: u64,
    /// Time since the last of them.
    pub idle: Duration,
    /// Time since it began.
    pub lifetime: Duration,
}

/// The renewal that is due by itself, if any.
#[must_use]
pub fn due(limits: &Limits, sample: &Sample) -> Option<Reason> {
    if !sample.has_worked || sample.lifetime < limits.least_lifetime {
        return None;
    }
    let memory = limits.measure.of(&sample.memory);
    if !sample.failed && limits.memory.is_some_and(|limit| memory > limit) {
        Some(Reason::Memory)
    } else if limits.requests.is_some_and(|most| sample.requests >= most) {
        Some(Reason::Requests)
    } else if limits.idle.is_some_and(|most| sample.idle >= most) {
        Some(Reason::Idle)
    } else {
        None
    }
}

/// What a daemon takes when it does nothing wrong: the loaded model, every weight touched, and every
/// buffer as full as it may be.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    /// What the process holds with the model loaded, in bytes, by the measure.
    pub loaded: u64,
    /// Weights that are mapped and not yet touched, when the measure counts them.
    pub weights: u64,
    /// Requests that wait or arrive.
    pub queue: u64,
}

impl Floor {
    /// Refuses a limit that would be passed without any leak.
    ///
    /// # Errors
    ///
    /// A sentence with the figures and a limit that would do.
    pub fn fits(&self, limit: u64) -> Result<(), String> {
        if self.total() <= limit {
            return Ok(());
        }
        // A fifth more is room for a job's own memory.
        let enough = mib(self.total() + self.total() / 5).next_multiple_of(10);
        Err(format!(
            "memory_limit is {} MiB, but {self}: the daemon would renew itself for ever; set memory_limit \
             to {enough} MiB or more, or lower queue_bytes and frame_bytes",
            mib(limit),
        ))
    }

    /// All of it, in bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.loaded + self.weights + self.queue
    }
}

impl fmt::Display for Floor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the loaded model ({} MiB) and a full queue ({} MiB) take {} MiB without any leak",
            mib(self.loaded + self.weights),
            mib(self.queue),
            mib(self.total()),
        )
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory: Some(100),
        measure: Measure::Rss,
        idle: Some(Duration::from_secs(60)),
        requests: Some(10),
        requests_jitter: 0,
        least_lifetime: Duration::from_secs(10),
    };

    fn sample() -> Sample {
        Sample {
            memory: Memory {
                rss: 100,
                anonymous: 40,
                ..Memory::default()
            },
            has_worked: true,
            failed: false,
            requests: 9,
            idle: Duration::from_secs(59),
            lifetime: Duration::from_secs(10),
        }
    }

    #[test]
    fn each_limit_has_its_reason_and_nothing_is_due_at_it() {
        assert_eq!(due(&LIMITS, &sample()), None);
        let mut grown = sample();
        grown.memory.rss = 101;
        assert_eq!(due(&LIMITS, &grown), Some(Reason::Memory));
        let anonymous = Limits {
            measure: Measure::Anonymous,
            ..LIMITS
        };
        assert_eq!(due(&anonymous, &grown), None, "40 of 100 are anonymous");
        let requests = 10;
        let asked = Sample {
            requests,
            ..sample()
        };
        assert_eq!(due(&LIMITS, &asked), Some(Reason::Requests));
        let idle = Duration::from_secs(60);
        let forgotten = Sample { idle, ..sample() };
        assert_eq!(due(&LIMITS, &forgotten), Some(Reason::Idle));
    }

    #[test]
    fn young_fresh_and_failed_images_do_not_loop() {
        let mut grown = sample();
        grown.memory.rss = 1000;
        let lifetime = Duration::from_secs(9);
        assert_eq!(due(&LIMITS, &Sample { lifetime, ..grown }), None);
        let has_worked = false;
        assert_eq!(
            due(
                &LIMITS,
                &Sample {
                    has_worked,
                    ..grown
                }
            ),
            None
        );
        let failed = true;
        assert_eq!(due(&LIMITS, &Sample { failed, ..grown }), None);
    }

    #[test]
    fn requests_are_drawn_within_their_jitter() {
        let wide = Limits {
            requests_jitter: 5,
            ..LIMITS
        };
        let drawn: Vec<u64> = (0..200).filter_map(|_| wide.drawn().requests).collect();
        assert!(drawn.iter().all(|number| (10..=15).contains(number)));
        assert!(drawn.contains(&10) && drawn.contains(&15), "{drawn:?}");
    }

    #[test]
    fn limit_below_the_floor_is_refused_with_one_that_would_do() {
        let floor = Floor {
            loaded: 40 << 20,
            weights: 80 << 20,
            queue: 52 << 20,
        };
        assert_eq!(floor.fits(172 << 20), Ok(()));
        let message = floor.fits(171 << 20).expect_err("a MiB too low");
        assert!(message.contains("memory_limit is 171 MiB"), "{message}");
        assert!(message.contains("set memory_limit to 210 MiB"), "{message}");
    }
}
