//! Connections that have not said hello. When all places are taken, the one that has been silent for
//! longest makes room: who opens connections and says nothing keeps nobody out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// A client gets this long for its hello, also when others wait for its place.
const LEAST: Duration = Duration::from_millis(250);

/// All of them, the longest silent first.
#[derive(Debug, Default)]
pub(super) struct Silent {
    waiting: VecDeque<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    since: Instant,
    displaced: Arc<Notify>,
}

impl Silent {
    /// Takes one in; it is to listen to what is given back, beside its number.
    pub(super) fn enter(&mut self, now: Instant) -> (u64, Arc<Notify>) {
        let (number, displaced) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.waiting.push_back(Entry {
            number,
            since: now,
            displaced: Arc::clone(&displaced),
        });
        (number, displaced)
    }

    /// It said hello, or left.
    pub(super) fn leave(&mut self, number: u64) {
        let found = self
            .waiting
            .binary_search_by_key(&number, |entry| entry.number);
        if let Ok(place) = found {
            self.waiting.remove(place);
        }
    }

    /// Has the longest silent one give up its place, if there is one that had its time.
    pub(super) fn displace(&mut self, now: Instant) -> bool {
        let had_its_time = |entry: &Entry| now.saturating_duration_since(entry.since) >= LEAST;
        if !self.waiting.front().is_some_and(had_its_time) {
            return false;
        }
        let entry = self.waiting.pop_front();
        entry
            .inspect(|entry| entry.displaced.notify_one())
            .is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_silent_goes_first_and_nobody_before_their_time() {
        let mut silent = Silent::default();
        let start = Instant::now();
        let numbers: Vec<u64> = (0..3).map(|_| silent.enter(start).0).collect();
        assert!(!silent.displace(start));
        silent.leave(numbers[0]);
        assert!(silent.displace(start + LEAST));
        let left: Vec<u64> = silent.waiting.iter().map(|entry| entry.number).collect();
        assert_eq!(left, [numbers[2]]);
        silent.leave(numbers[1]);
        assert!(silent.displace(start + LEAST) && !silent.displace(start + LEAST));
    }
}
