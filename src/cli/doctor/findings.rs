//! What was found, a verdict for each.

use crate::cli::print;

/// Told one by one as they are made: should the next step end this process, the ones before are known.
#[derive(Default)]
pub(in crate::cli) struct Findings {
    /// All of them, as they were printed.
    pub(in crate::cli) lines: Vec<String>,
    /// How many are wrong.
    pub(in crate::cli) wrong: usize,
    /// What standard output could not take.
    failed: Option<String>,
}

impl Findings {
    pub(super) fn ok(&mut self, topic: &str, what: &str) {
        self.line("ok", topic, what);
    }

    pub(super) fn note(&mut self, topic: &str, what: &str) {
        self.line("note", topic, what);
    }

    pub(in crate::cli) fn wrong(&mut self, topic: &str, what: &str) {
        self.line("WRONG", topic, what);
    }

    /// A finding that is `ok` or wrong, by what it is.
    pub(super) fn judge<T>(
        &mut self,
        topic: &str,
        found: Result<T, String>,
        say: impl Fn(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(found) => {
                self.ok(topic, &say(&found));
                Some(found)
            }
            Err(why) => {
                self.wrong(topic, &why);
                None
            }
        }
    }

    /// Takes over a line that another process made.
    pub(super) fn take(&mut self, line: &str) {
        self.wrong += usize::from(line.starts_with("WRONG"));
        if let Err(error) = print(&format!("{line}\n")) {
            self.failed.get_or_insert(error);
        }
        self.lines.push(line.into());
    }

    /// Whether one of them is about `topic`.
    pub(super) fn tell_of(&self, topic: &str) -> bool {
        let about = |line: &String| line.get(7..).is_some_and(|rest| rest.starts_with(topic));
        self.lines.iter().any(about)
    }

    /// How many are wrong.
    ///
    /// # Errors
    ///
    /// When they could not be told.
    pub(in crate::cli) fn end(self) -> Result<usize, String> {
        self.failed.map_or(Ok(self.wrong), Err)
    }

    fn line(&mut self, verdict: &str, topic: &str, what: &str) {
        self.take(&format!("{verdict:<6} {topic:<14} {what}"));
    }
}
