//! What is done when the inference thread hangs: nothing in this process can stop a thread that does not
//! come back, so another image, or another process, takes its place.

use std::process::abort;
use std::time::{Duration, Instant};

use super::Server;
use crate::inference::Fingerprint;
use crate::lifecycle::renewal::Reason;
use crate::lifecycle::supervised::CRASHES;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHang {
    /// Another image takes over. Who waits for what the thread hangs over is told that it is given up.
    Renew,
    /// The process aborts, for whoever starts it again.
    Exit,
    /// Nothing; somebody else sees to it.
    Wait,
}

/// When renewals fail, the next attempt is not made at once.
const NEXT_ATTEMPT: Duration = Duration::from_secs(10);

/// Pictures that are remembered as ones that the thread hung over.
const REMEMBERED: usize = 64;

/// What is known of hangs in this image and the ones before.
#[derive(Debug, Default)]
pub(super) struct Hangs {
    last: Option<Instant>,
    /// Each as often as the thread hung over it, the oldest first.
    pub(super) pictures: Vec<Fingerprint>,
}

impl Hangs {
    /// Whether something may be done about a hang at this moment.
    pub(super) fn may_act(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= NEXT_ATTEMPT)
    }

    fn remember(&mut self, picture: Fingerprint) {
        if self.pictures.len() == REMEMBERED {
            self.pictures.remove(0);
        }
        self.pictures.push(picture);
    }

    /// Those that the thread hung over too often.
    pub(super) fn refused(&self) -> impl Iterator<Item = Fingerprint> {
        let times = |picture: &Fingerprint| {
            let hangs = self.pictures.iter().filter(|other| *other == picture);
            hangs.count()
        };
        let refused = self.pictures.iter();
        refused
            .filter(move |picture| times(picture) >= CRASHES as usize)
            .copied()
    }
}

impl Server {
    /// The thread has been in one step for `taken`, which is too long.
    pub(super) fn hangs(&mut self, taken: Duration) -> Option<Reason> {
        self.hangs.last = Some(Instant::now());
        let (seconds, action) = (taken.as_secs(), self.context.settings.on_hang);
        tracing::error!(seconds, ?action, "the inference thread hangs (hang_limit)");
        match action {
            OnHang::Wait => None,
            OnHang::Exit => abort(),
            OnHang::Renew => {
                if let Some(picture) = self.context.inference.give_up(taken) {
                    self.hangs.remember(picture);
                }
                Some(Reason::Hang)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_is_refused_after_two_hangs_and_few_are_remembered() {
        let mut hangs = Hangs::default();
        hangs.remember([1; 32]);
        assert_eq!(hangs.refused().count(), 0);
        hangs.remember([2; 32]);
        hangs.remember([1; 32]);
        assert!(hangs.refused().all(|picture| picture == [1; 32]));
        assert!(hangs.refused().next().is_some());
        for _ in 0..REMEMBERED {
            hangs.remember([3; 32]);
        }
        assert_eq!(hangs.pictures.len(), REMEMBERED);
        assert!(hangs.refused().all(|picture| picture == [3; 32]));
    }
}
