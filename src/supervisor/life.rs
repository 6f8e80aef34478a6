//! One life of the daemon: from its process's start to its end.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::process;
use crate::lifecycle::cgroup;

/// Who lived so long, or finished a picture, was no crash at the start.
const GOOD: Duration = Duration::from_secs(60);

/// How long it may take until it serves; a tenth of a CPU reads a large bundle in a few seconds.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long one that was told to abort may take.
const ABORT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(super) struct Life {
    pub(super) pid: Pid,
    since: Instant,
    /// Clients are served.
    ready: bool,
    /// It is to read its settings anew once they are: before, HUP may find no handler.
    reload_then: bool,
    /// A picture was finished.
    worked: bool,
    /// When it last said anything, and for how long it may say nothing.
    heard: Instant,
    silence: Duration,
    /// It was ended because it said nothing.
    pub(super) hung: bool,
    /// It was told to stop.
    pub(super) stopping: bool,
    kill_at: Option<Instant>,
    /// Of our control group, when it was started.
    memory_kills: Option<u64>,
}

impl Life {
    pub(super) fn begins(pid: Pid, silence: Duration) -> Self {
        let now = Instant::now();
        Life {
            pid,
            since: now,
            ready: false,
            reload_then: false,
            worked: false,
            heard: now,
            silence,
            hung: false,
            stopping: false,
            kill_at: None,
            memory_kills: cgroup::out_of_memory_kills(),
        }
    }

    pub(super) fn is_ready(&mut self) {
        self.ready = true;
        if std::mem::take(&mut self.reload_then) {
            self.reload();
        }
    }

    pub(super) fn reload(&mut self) {
        if self.ready {
            process::send(self.pid, Signal::SIGHUP);
        } else {
            self.reload_then = true;
        }
    }

    pub(super) fn has_worked(&mut self) {
        self.worked = true;
    }

    pub(super) fn was_heard(&mut self) {
        self.heard = Instant::now();
    }

    /// Whether it did, or could have done, something.
    pub(super) fn was_good(&self) -> bool {
        self.worked || self.since.elapsed() >= GOOD
    }

    /// Tells it to end, and kills it when it takes longer.
    pub(super) fn stop(&mut self, patience: Duration) {
        self.stopping = true;
        self.kill_at = Some(Instant::now() + patience);
        process::send(self.pid, Signal::SIGTERM);
    }

    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.kill_at.or_else(|| self.silent_at())
    }

    /// Ends one that says nothing any more, and kills one that does not end.
    pub(super) fn look_at(&mut self, now: Instant) {
        if self.kill_at.is_some_and(|at| at <= now) {
            tracing::warn!("the daemon does not end by itself and is killed");
            process::send(self.pid, Signal::SIGKILL);
            self.kill_at = None;
        } else if !self.stopping && self.silent_at().is_some_and(|at| at <= now) {
            if self.ready {
                let seconds = self.silence.as_secs();
                tracing::error!(seconds, "the daemon says nothing any more and is ended");
            } else {
                let seconds = START_LIMIT.as_secs();
                tracing::error!(seconds, "the daemon never came to serve and is ended");
            }
            self.hung = true;
            self.kill_at = Some(now + ABORT);
            process::send(self.pid, Signal::SIGABRT);
        }
    }

    /// When it will have said nothing for too long.
    fn silent_at(&self) -> Option<Instant> {
        let at = if self.ready {
            self.heard + self.silence
        } else {
            self.since + START_LIMIT
        };
        (!self.hung).then_some(at)
    }

    /// Whether it, or what it worked on, is to blame for its end; a kill from outside is nobody's, unless
    /// it was for want of memory.
    pub(super) fn is_to_blame(&self, status: ExitStatus) -> bool {
        match status.signal().map(Signal::try_from) {
            None => self.hung,
            Some(Ok(Signal::SIGKILL)) => self.hung || self.memory_ran_out(),
            Some(Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP)) => false,
            Some(_) => true,
        }
    }

    /// Somebody of our control group was killed for want of memory meanwhile.
    fn memory_ran_out(&self) -> bool {
        let kills = cgroup::out_of_memory_kills().zip(self.memory_kills);
        kills.is_some_and(|(now, before)| now > before)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn one_that_never_comes_to_serve_is_ended_and_counts_as_hung() {
        let mut child = Command::new("sleep").arg("600").spawn().expect("started");
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut life = Life::begins(pid, Duration::from_secs(1));
        let started = Instant::now();
        life.look_at(started + START_LIMIT - Duration::from_secs(1));
        assert!(!life.hung, "silence counts once it serves");
        life.look_at(started + START_LIMIT + Duration::from_secs(1));
        assert!(life.hung);
        let status = child.wait().expect("waited for");
        assert_eq!(status.signal(), Some(Signal::SIGABRT as i32));
        assert!(life.is_to_blame(status));
    }
}
