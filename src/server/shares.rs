//! What one user may take of the daemon, so that the others get theirs. A user is who the kernel says is
//! at the other end; an image starts with full allowances.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::inference::Busy;

/// So many seconds' worth may be asked for at once, by who asked for nothing before.
const BURST_SECONDS: f64 = 10.0;

/// What each user may take.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Predictions a second.
    pub rate: Option<f64>,
    /// Connections at a time.
    pub connections: usize,
}

/// What each user has taken.
#[derive(Debug)]
pub(super) struct Taken {
    shares: Shares,
    connections: HashMap<u32, usize>,
    /// What is left of the allowance, and when that was so.
    allowances: HashMap<u32, (f64, Instant)>,
}

impl Taken {
    pub(super) fn new(shares: Shares) -> Self {
        Taken {
            shares,
            connections: HashMap::new(),
            allowances: HashMap::new(),
        }
    }

    /// Whether `user` may have another connection.
    pub(super) fn has_room(&self, user: u32) -> bool {
        self.connections.get(&user).copied().unwrap_or(0) < self.shares.connections
    }

    pub(super) fn connected(&mut self, user: u32) {
        *self.connections.entry(user).or_default() += 1;
    }

    pub(super) fn left(&mut self, user: u32) {
        if let Some(count) = self.connections.get_mut(&user) {
            *count -= 1;
            if *count == 0 {
                self.connections.remove(&user);
            }
        }
    }

    /// Counts a prediction that `user` asks for.
    ///
    /// # Errors
    ///
    /// When the allowance is used up, with the time after which one more may be asked for.
    pub(super) fn ask(&mut self, user: u32, now: Instant) -> Result<(), Busy> {
        let Some(rate) = self.shares.rate else {
            return Ok(());
        };
        let most = (rate * BURST_SECONDS).max(1.0);
        let (left, at) = self.allowances.entry(user).or_insert((most, now));
        *left = (*left + now.saturating_duration_since(*at).as_secs_f64() * rate).min(most);
        *at = now;
        if *left < 1.0 {
            return Err(Busy {
                retry_after: Duration::from_secs_f64((1.0 - *left) / rate),
            });
        }
        *left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_an_allowance_that_comes_back_with_time() {
        let shares = Shares {
            rate: Some(0.5),
            connections: 2,
        };
        let mut taken = Taken::new(shares);
        let start = Instant::now();
        for _ in 0..5 {
            assert_eq!(taken.ask(7, start), Ok(()));
        }
        let busy = taken.ask(7, start).expect_err("five were allowed");
        assert_eq!(busy.retry_after, Duration::from_secs(2));
        assert_eq!(taken.ask(8, start), Ok(()), "another user");
        assert_eq!(taken.ask(7, start + busy.retry_after), Ok(()));
        assert!(taken.ask(7, start + busy.retry_after).is_err());
        let hour = start + Duration::from_secs(3600);
        assert_eq!((0..9).filter(|_| taken.ask(7, hour).is_ok()).count(), 5);
    }

    #[test]
    fn each_user_has_so_many_connections() {
        let shares = Shares {
            rate: None,
            connections: 1,
        };
        let mut taken = Taken::new(shares);
        taken.connected(7);
        assert!(!taken.has_room(7) && taken.has_room(8));
        taken.left(7);
        assert!(taken.has_room(7));
    }
}
