//! The daemon's life.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::notices::Notice;
use super::suspects::Suspects;
use super::{Plan, process};
use crate::config::environment::REFUSED_PICTURES;
use crate::lifecycle::{binary, cgroup};

/// The pause after the first crash; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// It grows no further.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// So many crashes in a row, without a picture that was finished, and it is given up.
const CRASHES_IN_A_ROW: u32 = 6;

/// Whoever lived so long was no crash at the start.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// A daemon that says nothing for this long is ended, or for as long as one step may take where that is
/// less. It speaks twice as often; a busy host with a tenth of a CPU may still keep it for seconds.
const SILENCE: Duration = Duration::from_secs(30);
const LEAST_SILENCE: Duration = Duration::from_secs(1);

/// How long one that was told to abort may take.
const ABORT: Duration = Duration::from_secs(3);

/// What is to be done after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing before the next moment.
    Wait,
    /// It never started: whatever is wrong will be so the next time.
    Fail,
    /// It crashes again and again.
    GiveUp,
}

#[derive(Debug)]
enum State {
    Running(Running),
    /// It is started then.
    Pausing(Instant),
    /// It is tried again then, on a socket of its own.
    GivenUp(Instant),
    /// It was told to stop, and did.
    Stopped,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    since: Instant,
    /// Clients are served.
    ready: bool,
    /// A picture was finished.
    worked: bool,
    /// When it last said anything, and for how long it may say nothing.
    heard: Instant,
    silence: Duration,
    /// It was ended because it said nothing.
    hung: bool,
    stopping: bool,
    kill_at: Option<Instant>,
    /// Of our control group, when it was started.
    memory_kills: Option<u64>,
}

pub(super) struct Daemon {
    binary: PathBuf,
    arguments: Vec<OsString>,
    state: State,
    /// In a row.
    crashes: u32,
    /// Whether one ever served.
    has_served: bool,
    suspects: Suspects,
    silence: Duration,
}

impl Daemon {
    pub(super) fn new(plan: &Plan) -> Self {
        Daemon {
            binary: binary::on_disk(),
            arguments: plan.serve.clone(),
            state: State::Stopped,
            crashes: 0,
            has_served: false,
            suspects: Suspects::default(),
            silence: plan
                .hang_limit
                .map_or(SILENCE, |limit| limit.clamp(LEAST_SILENCE, SILENCE)),
        }
    }

    /// Starts it on a listener that stays ours, telling us how it is at `notices`.
    pub(super) fn start(&mut self, listener: BorrowedFd<'_>, notices: &Path) -> io::Result<()> {
        let silence = self.silence.as_micros().to_string();
        let variables = [
            ("NOTIFY_SOCKET", Some(notices.as_os_str().to_owned())),
            ("WATCHDOG_USEC", Some(silence.into())),
            ("WATCHDOG_PID", None),
            (REFUSED_PICTURES, self.suspects.refused()),
        ];
        let mut command = vec![
            binary::for_the_next_image(&self.binary).into_os_string(),
            "serve".into(),
        ];
        command.extend_from_slice(&self.arguments);
        let now = Instant::now();
        // Should it fail: once more after the longest pause.
        self.state = State::Pausing(now + LONGEST_PAUSE);
        let pid = process::start_with(listener, &command, Signal::SIGKILL, &variables)?;
        self.state = State::Running(Running {
            pid,
            since: now,
            ready: false,
            worked: false,
            heard: now,
            silence: self.silence,
            hung: false,
            stopping: false,
            kill_at: None,
            memory_kills: cgroup::out_of_memory_kills(),
        });
        Ok(())
    }

    pub(super) fn is(&self, pid: Pid) -> bool {
        self.running().is_some_and(|running| running.pid == pid)
    }

    pub(super) fn has_given_up(&self) -> bool {
        matches!(self.state, State::GivenUp(_))
    }

    /// Passes a signal on.
    pub(super) fn tell(&self, signal: Signal) {
        if let Some(running) = self.running() {
            process::send(running.pid, signal);
        }
    }

    pub(super) fn hear(&mut self, notice: Notice) {
        let State::Running(running) = &mut self.state else {
            return;
        };
        running.heard = Instant::now();
        match notice {
            Notice::Ready => {
                running.ready = true;
                self.has_served = true;
            }
            Notice::Alive => {}
            Notice::InWork(picture) => {
                running.worked |= picture.is_none();
                self.suspects.begins(picture);
            }
        }
    }

    /// It could not speak: its silence counts from now on.
    pub(super) fn forgive_silence(&mut self) {
        if let State::Running(running) = &mut self.state {
            running.heard = Instant::now();
        }
    }

    /// It has ended, and was told to or not.
    pub(super) fn ended(&mut self, status: WaitStatus) -> Next {
        let State::Running(running) = std::mem::replace(&mut self.state, State::Stopped) else {
            return Next::Wait;
        };
        if running.stopping {
            self.suspects.daemon_ended(false);
            return Next::Wait;
        }
        let fate = if running.hung {
            "it hung".into()
        } else {
            process::fate(status)
        };
        self.suspects.daemon_ended(running.is_to_blame(status));
        if !self.has_served && matches!(status, WaitStatus::Exited(..)) {
            return Next::Fail;
        }
        if running.worked || running.since.elapsed() >= GOOD_LIFE {
            self.crashes = 0;
        }
        self.crashes += 1;
        if self.crashes > CRASHES_IN_A_ROW {
            return Next::GiveUp;
        }
        let pause = (FIRST_PAUSE * 2_u32.pow(self.crashes - 1)).min(LONGEST_PAUSE);
        let pause_ms = pause.as_millis();
        tracing::error!(fate, pause_ms, "the daemon has ended and is started again");
        self.state = State::Pausing(Instant::now() + pause);
        Next::Wait
    }

    /// Tells it to end, and kills it when it takes longer.
    pub(super) fn stop(&mut self, patience: Duration) {
        if let State::Running(running) = &mut self.state {
            running.stopping = true;
            running.kill_at = Some(Instant::now() + patience);
            process::send(running.pid, Signal::SIGTERM);
        } else {
            self.state = State::Stopped;
        }
    }

    pub(super) fn give_up(&mut self, pause: Duration) {
        self.state = State::GivenUp(Instant::now() + pause);
    }

    /// Forgets what was, and is due at once.
    pub(super) fn begin_anew(&mut self) {
        self.crashes = 0;
        self.state = State::Pausing(Instant::now());
    }

    /// Whether it is to be started, or tried again, now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.state {
            State::Pausing(until) | State::GivenUp(until) => until <= now,
            State::Running(_) | State::Stopped => false,
        }
    }

    pub(super) fn next_moment(&self) -> Option<Instant> {
        match &self.state {
            State::Pausing(until) | State::GivenUp(until) => Some(*until),
            State::Running(running) => running.kill_at.or_else(|| running.silent_at()),
            State::Stopped => None,
        }
    }

    /// Ends one that says nothing any more.
    pub(super) fn look_at(&mut self, now: Instant) {
        let State::Running(running) = &mut self.state else {
            return;
        };
        if running.kill_at.is_some_and(|at| at <= now) {
            tracing::warn!("the daemon does not end by itself and is killed");
            process::send(running.pid, Signal::SIGKILL);
            running.kill_at = None;
        } else if !running.stopping && running.silent_at().is_some_and(|at| at <= now) {
            let seconds = running.silence.as_secs();
            tracing::error!(seconds, "the daemon says nothing any more and is ended");
            running.hung = true;
            running.kill_at = Some(now + ABORT);
            process::send(running.pid, Signal::SIGABRT);
        }
    }

    fn running(&self) -> Option<&Running> {
        match &self.state {
            State::Running(running) => Some(running),
            _ => None,
        }
    }
}

impl Running {
    /// When it has said nothing for too long, once it serves.
    fn silent_at(&self) -> Option<Instant> {
        (self.ready && !self.hung).then(|| self.heard + self.silence)
    }

    /// Whether it, or what it worked on, is to blame for its end; a kill from outside is nobody's, unless
    /// it was for want of memory.
    fn is_to_blame(&self, status: WaitStatus) -> bool {
        match status {
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => {
                self.hung || cgroup::out_of_memory_kills() > self.memory_kills
            }
            WaitStatus::Signaled(_, Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP, _) => false,
            WaitStatus::Signaled(..) => true,
            _ => self.hung,
        }
    }
}
