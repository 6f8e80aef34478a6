//! What the process held over time, and when it was renewed. Survives renewals.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bincode::{Decode, Encode};

use super::clock::Moment;
use super::memory::Memory;
use super::renewal::Reason;

/// An hour in steps of ten seconds.
const FINE: (Duration, usize) = (Duration::from_secs(10), 360);

/// A day in steps of five minutes.
const COARSE: (Duration, usize) = (Duration::from_secs(300), 288);

/// Renewals that are told one by one; all are counted.
const TOLD: usize = 64;

/// How often a sample is wanted.
pub const STEP: Duration = FINE.0;

/// The highest figures within one step, in bytes.
#[derive(Clone, Copy, Debug, Encode, Decode)]
#[expect(missing_docs, reason = "as in `Memory`")]
pub struct Sample {
    /// When the step began.
    pub at: Moment,
    pub rss: u64,
    pub anonymous: u64,
    pub peak: u64,
}

/// Samples of the same step, oldest first.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Ring {
    step: Duration,
    most: usize,
    samples: VecDeque<Sample>,
}

/// One renewal.
#[derive(Clone, Copy, Debug, Encode, Decode)]
pub struct Renewal {
    /// When the new image served.
    pub at: Moment,
    /// Why.
    pub reason: Reason,
    /// How long nothing was read from clients.
    pub pause: Duration,
    /// Resident memory before, in bytes.
    pub rss_before: u64,
    /// What was under way and was carried over.
    pub crossed: Crossed,
}

/// What was under way on connections, counted in connections or requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Crossed {
    /// Established connections.
    pub connections: u64,
    /// Of them with a request half-read.
    pub half_read: u64,
    /// Requests that waited for the inference thread.
    pub queued: u64,
    /// Connections with a reply half-written.
    pub half_written: u64,
}

/// All of it.
#[derive(Clone, Debug, Encode, Decode)]
pub struct History {
    /// The last hour.
    pub fine: Ring,
    /// The last day.
    pub coarse: Ring,
    /// The last renewals, oldest first.
    pub renewals: VecDeque<Renewal>,
    /// All renewals.
    pub counts: BTreeMap<Reason, u64>,
    /// What all renewals carried over.
    pub crossed: Crossed,
}

impl Default for History {
    fn default() -> Self {
        History {
            fine: Ring::new(FINE),
            coarse: Ring::new(COARSE),
            renewals: VecDeque::new(),
            counts: Reason::ALL.map(|reason| (reason, 0)).into(),
            crossed: Crossed::default(),
        }
    }
}

impl History {
    /// Notes what the process holds.
    pub fn sample(&mut self, memory: &Memory) {
        let sample = Sample {
            at: Moment::now(),
            rss: memory.rss,
            anonymous: memory.anonymous,
            peak: memory.peak,
        };
        self.fine.add(sample);
        self.coarse.add(sample);
    }

    /// Notes a renewal.
    pub fn renewed(&mut self, renewal: Renewal) {
        *self.counts.entry(renewal.reason).or_default() += 1;
        self.crossed.connections += renewal.crossed.connections;
        self.crossed.half_read += renewal.crossed.half_read;
        self.crossed.queued += renewal.crossed.queued;
        self.crossed.half_written += renewal.crossed.half_written;
        if self.renewals.len() == TOLD {
            self.renewals.pop_front();
        }
        self.renewals.push_back(renewal);
    }
}

impl Ring {
    fn new((step, most): (Duration, usize)) -> Self {
        Ring {
            step,
            most,
            samples: VecDeque::new(),
        }
    }

    /// Time from one sample to the next.
    #[must_use]
    pub fn step(&self) -> Duration {
        self.step
    }

    /// The samples, oldest first.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    fn add(&mut self, sample: Sample) {
        match self.samples.back_mut() {
            Some(last) if sample.at.since(last.at) < self.step => {
                last.rss = last.rss.max(sample.rss);
                last.anonymous = last.anonymous.max(sample.anonymous);
                last.peak = last.peak.max(sample.peak);
            }
            _ => {
                if self.samples.len() == self.most {
                    self.samples.pop_front();
                }
                self.samples.push_back(sample);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_keep_their_highest_and_the_ring_its_length() {
        let mut ring = Ring::new((Duration::from_secs(10), 3));
        let start = Moment::now();
        for (second, rss) in [(0, 5), (4, 9), (9, 1), (10, 2), (25, 3), (40, 4)] {
            ring.add(Sample {
                at: start.after(Duration::from_secs(second)),
                rss,
                anonymous: rss,
                peak: rss,
            });
        }
        let kept: Vec<u64> = ring.samples().map(|sample| sample.rss).collect();
        assert_eq!(
            kept,
            [2, 3, 4],
            "9 was the highest of the first ten seconds"
        );
    }
}
