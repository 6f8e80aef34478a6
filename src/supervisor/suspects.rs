//! Pictures that were in work when the daemon crashed. One that was so twice would take it down a third
//! time: the next daemon is told not to touch it.

use std::collections::VecDeque;
use std::ffi::OsString;

use crate::lifecycle::supervised::CRASHES;

/// More are not remembered; the oldest is forgotten first.
const MOST: usize = 64;

/// Crashes by picture.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    in_work: Option<String>,
    crashes: VecDeque<(String, u32)>,
}

impl Suspects {
    /// What the daemon works on now.
    pub(super) fn begins(&mut self, picture: Option<String>) {
        self.in_work = picture;
    }

    /// The daemon has ended, by its own or the picture's fault (`crashed`) or by somebody else's.
    pub(super) fn daemon_ended(&mut self, crashed: bool) {
        let Some(picture) = self.in_work.take().filter(|_| crashed) else {
            return;
        };
        match self.crashes.iter_mut().find(|(known, _)| *known == picture) {
            Some((_, crashes)) => {
                *crashes += 1;
                tracing::error!(
                    crashes,
                    "the same picture was in work at each of these crashes; it is refused from now on"
                );
            }
            None => {
                if self.crashes.len() == MOST {
                    self.crashes.pop_front();
                }
                self.crashes.push_back((picture, 1));
            }
        }
    }

    /// What the next daemon is not to touch, as [`crate::config::environment::REFUSED_PICTURES`] has it.
    pub(super) fn refused(&self) -> Option<OsString> {
        let refused = self
            .crashes
            .iter()
            .filter(|(_, crashes)| *crashes >= CRASHES);
        let digests: Vec<&str> = refused.map(|(digest, _)| digest.as_str()).collect();
        (!digests.is_empty()).then(|| digests.join(",").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_is_refused_after_two_crashes_and_no_other_is() {
        let mut suspects = Suspects::default();
        let mut crash = |picture: &str, crashed| {
            suspects.begins(Some(picture.into()));
            suspects.daemon_ended(crashed);
            suspects.refused()
        };
        assert_eq!(crash("bad", true), None);
        assert_eq!(crash("good", false), None);
        assert_eq!(crash("good", false), None, "somebody else's fault, twice");
        assert_eq!(crash("bad", true), Some("bad".into()));
        suspects.daemon_ended(true);
        assert_eq!(
            suspects.refused(),
            Some("bad".into()),
            "nothing was in work"
        );
    }
}
