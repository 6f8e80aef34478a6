//! Pictures that were in work when the daemon crashed. One that was so twice would take it down a third
//! time: the next daemon is told not to touch it.

use std::collections::VecDeque;
use std::ffi::OsString;

use crate::lifecycle::supervised::CRASHES;

/// More are not remembered.
const MOST: usize = 64;

/// Crashes by picture.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    in_work: Option<String>,
    crashes: VecDeque<(String, u32)>,
}

impl Suspects {
    /// The daemon works on it now.
    pub(super) fn begins(&mut self, picture: String) {
        self.in_work = Some(picture);
    }

    /// What it worked on is done, and no suspect any more: a crash that it was once in work at had another
    /// reason.
    pub(super) fn finished(&mut self) {
        if let Some(picture) = self.in_work.take() {
            self.crashes.retain(|(known, _)| *known != picture);
        }
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
                    self.forget_one();
                }
                self.crashes.push_back((picture, 1));
            }
        }
    }

    /// The oldest that is not refused, if there is one.
    fn forget_one(&mut self) {
        let refused = |(_, crashes): &(String, u32)| *crashes >= CRASHES;
        let place = self.crashes.iter().position(|known| !refused(known));
        self.crashes.remove(place.unwrap_or(0));
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

    fn crash(suspects: &mut Suspects, picture: &str, crashed: bool) -> Option<OsString> {
        suspects.begins(picture.into());
        suspects.daemon_ended(crashed);
        suspects.refused()
    }

    #[test]
    fn picture_is_refused_after_two_crashes_and_no_other_is() {
        let mut suspects = Suspects::default();
        assert_eq!(crash(&mut suspects, "bad", true), None);
        assert_eq!(crash(&mut suspects, "good", false), None);
        assert_eq!(
            crash(&mut suspects, "good", false),
            None,
            "somebody else's fault, twice"
        );
        assert_eq!(crash(&mut suspects, "bad", true), Some("bad".into()));
        suspects.daemon_ended(true);
        assert_eq!(
            suspects.refused(),
            Some("bad".into()),
            "nothing was in work"
        );
    }

    #[test]
    fn picture_that_was_finished_is_forgiven() {
        let mut suspects = Suspects::default();
        assert_eq!(crash(&mut suspects, "photo", true), None);
        suspects.begins("photo".into());
        suspects.finished();
        assert_eq!(crash(&mut suspects, "photo", true), None, "its first again");
        assert_eq!(crash(&mut suspects, "photo", true), Some("photo".into()));
    }

    #[test]
    fn refused_pictures_are_the_last_to_be_forgotten() {
        let mut suspects = Suspects::default();
        for _ in 0..CRASHES {
            crash(&mut suspects, "bad", true);
        }
        for number in 0..2 * MOST {
            crash(&mut suspects, &number.to_string(), true);
        }
        assert_eq!(suspects.refused(), Some("bad".into()));
        assert_eq!(suspects.crashes.len(), MOST);
    }
}
