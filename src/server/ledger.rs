//! What was counted since the start, over all images of the process. Plain numbers: how they are shown
//! is the business of [`super::report`] and [`super::metrics`].

use std::collections::BTreeMap;
use std::time::Duration;

use bincode::{Decode, Encode};

use crate::inference::Answer;
use crate::lifecycle::clock::Moment;

/// Upper bounds of the latency buckets, in seconds.
pub(super) const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The stages of a prediction, in their order.
pub(super) const STAGES: [&str; 5] = ["queue", "load", "decode", "inference", "render"];

/// Counters and histograms.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) struct Ledger {
    pub(super) started: Moment,
    /// Answers by outcome: `ok`, or the error's code. `cancelled` when the client had left.
    pub(super) outcomes: BTreeMap<String, u64>,
    /// Answers that were copies of another's: their pictures were not run again.
    pub(super) coalesced: u64,
    /// One histogram for each of [`STAGES`].
    pub(super) stages: [Histogram; STAGES.len()],
}

/// How often a stage took how long.
#[derive(Clone, Copy, Debug, Default, Encode, Decode)]
pub(super) struct Histogram {
    /// Not cumulative; the last bucket is everything above the last bound.
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) sum_seconds: f64,
}

impl Histogram {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS.len());
        self.buckets[bucket] += 1;
        self.sum_seconds += seconds;
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Ledger {
    pub(super) fn new() -> Self {
        Ledger {
            started: Moment::now(),
            outcomes: BTreeMap::new(),
            coalesced: 0,
            stages: [Histogram::default(); STAGES.len()],
        }
    }

    /// Counts an answer, and tells the how many-th of its kind it is.
    pub(super) fn count(&mut self, outcome: &str) -> u64 {
        let count = self.outcomes.entry(outcome.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// Answers that the model was run for.
    pub(super) fn runs(&self) -> u64 {
        self.stages[0].count()
    }

    /// Counts a prediction, and where its time went unless that was another's.
    pub(super) fn answered(&mut self, answer: &Answer) {
        self.count("ok");
        if answer.shared {
            self.coalesced += 1;
            return;
        }
        let timings = &answer.timings;
        // Mostly the model is loaded, and not everybody wants a picture: no time at all is no stage.
        let ran = |took: Duration| (!took.is_zero()).then_some(took);
        let took = [
            Some(timings.queue),
            ran(timings.load),
            Some(timings.decode),
            Some(timings.inference),
            ran(timings.render),
        ];
        for (stage, took) in self.stages.iter_mut().zip(took) {
            took.into_iter().for_each(|took| stage.add(took));
        }
    }
}
