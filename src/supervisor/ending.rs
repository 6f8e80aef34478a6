//! The order in which everything ends: the command, what it left behind, the daemon.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::{Supervisor, process};

/// How long what a command left behind may take to end.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

/// The command is over. What it left behind ends next, and the daemon, which that may still need, last.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) code: u8,
    /// Those of its processes that were told to end.
    told: Vec<Pid>,
    /// They are killed then.
    pub(super) kill_at: Instant,
}

impl Supervisor {
    /// Ends everything with this code, if the command was not started yet.
    pub(super) fn never_start(&mut self, code: u8) {
        if std::mem::take(&mut self.waits) {
            self.end(code);
        }
    }

    /// Children that are neither daemon nor command: they were theirs.
    pub(super) fn strangers(&self) -> Vec<Pid> {
        let mut children = process::children();
        children.retain(|pid| !self.command.is(*pid) && !self.daemon.is(*pid));
        children
    }

    /// The command is over: so is everything else. What it left behind has as long as the command had.
    pub(super) fn end(&mut self, code: u8) {
        let least = Instant::now() + LEFT_BEHIND;
        let told = self.command.told().map(|at| at + self.plan.stop_timeout);
        self.ending = Some(Ending {
            code,
            told: Vec::new(),
            kill_at: told.map_or(least, |at| at.max(least)),
        });
    }

    /// Ends what the command left behind, and when that is done, the daemon.
    pub(super) fn end_others(&mut self, now: Instant) {
        let Some(mut ending) = self.ending.take() else {
            return;
        };
        let strangers = self.strangers();
        let is_late = ending.kill_at <= now;
        for pid in &strangers {
            if is_late {
                process::send(*pid, Signal::SIGKILL);
            } else if !ending.told.contains(pid) {
                process::send(*pid, Signal::SIGTERM);
                ending.told.push(*pid);
            }
        }
        self.ending = Some(ending);
        if (is_late || strangers.is_empty()) && !self.daemon.is_stopping() {
            if let Some(socket) = &self.socket {
                socket.remove();
            }
            self.daemon.stop(self.plan.grace + LEFT_BEHIND);
        }
    }
}
