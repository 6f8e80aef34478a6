//! The daemon's lives, and what comes between them.

use std::ffi::OsString;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::life::Life;
use super::notices::Notice;
use super::suspects::Suspects;
use super::{Plan, process};
use crate::config::environment::{REFUSED_PICTURES, rehearses};
use crate::lifecycle::binary;

/// The pause after the first crash; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// So many crashes in a row, without a picture that was finished, and it is given up: after pauses of 25
/// seconds together, in which a bundle is copied to its end or memory comes free. Callers wait 30.
const CRASHES_IN_A_ROW: u32 = 10;

/// The pause when the kernel gave no process.
const NO_PROCESS: Duration = Duration::from_secs(30);

/// A daemon that says nothing for this long is ended, or for as long as one step may take where that is
/// less. It speaks twice as often; a busy host with a tenth of a CPU may still keep it for seconds.
const SILENCE: Duration = Duration::from_secs(30);
const LEAST_SILENCE: Duration = Duration::from_secs(1);

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
    Running(Life),
    /// It is started then.
    Pausing(Instant),
    /// It is tried again then, on a socket of its own.
    GivenUp(Instant),
    /// It was told to stop, and did.
    Stopped,
}

pub(super) struct Daemon {
    binary: PathBuf,
    arguments: Vec<OsString>,
    state: State,
    /// How many lives there were.
    lives: u64,
    /// Crashes in a row.
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
            lives: 0,
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
        self.state = State::Pausing(Instant::now() + NO_PROCESS);
        let pid = process::start_with(listener, &command, Signal::SIGKILL, &variables)?;
        self.lives += 1;
        self.state = State::Running(Life::begins(pid, self.silence));
        Ok(())
    }

    pub(super) fn is(&self, pid: Pid) -> bool {
        matches!(&self.state, State::Running(life) if life.pid == pid)
    }

    /// Whether one ever served.
    pub(super) fn has_served(&self) -> bool {
        self.has_served
    }

    pub(super) fn has_given_up(&self) -> bool {
        matches!(self.state, State::GivenUp(_))
    }

    /// It was told to stop, and did.
    pub(super) fn has_stopped(&self) -> bool {
        matches!(self.state, State::Stopped)
    }

    /// It was told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        match &self.state {
            State::Running(life) => life.stopping,
            state => matches!(state, State::Stopped),
        }
    }

    /// Has it read its settings anew.
    pub(super) fn reload(&mut self) {
        if let State::Running(life) = &mut self.state {
            life.reload();
        }
    }

    pub(super) fn hear(&mut self, notice: Notice) {
        let State::Running(life) = &mut self.state else {
            return;
        };
        life.was_heard();
        match notice {
            Notice::Ready => {
                life.is_ready();
                self.has_served = true;
            }
            Notice::Alive => {}
            Notice::InWork(Some(picture)) => self.suspects.begins(picture),
            Notice::InWork(None) => {
                life.has_worked();
                self.suspects.finished();
            }
        }
    }

    /// It could not speak: its silence counts from now on.
    pub(super) fn forgive_silence(&mut self) {
        if let State::Running(life) = &mut self.state {
            life.was_heard();
        }
    }

    /// It has ended. `told` says that the host told all of us to stop: some tell the daemon as well, which
    /// the command may still need.
    pub(super) fn ended(&mut self, status: ExitStatus, told: bool) -> Next {
        let State::Running(life) = std::mem::replace(&mut self.state, State::Stopped) else {
            return Next::Wait;
        };
        self.suspects
            .daemon_ended(!life.stopping && life.is_to_blame(status));
        let obeyed = status.success() || status.signal() == Some(Signal::SIGTERM as i32);
        if life.stopping {
            return Next::Wait;
        }
        if told && obeyed {
            tracing::info!("the daemon was told to stop by another and is started again");
            self.state = State::Pausing(Instant::now() + FIRST_PAUSE);
            return Next::Wait;
        }
        let never_began = self.lives == 1 && !self.has_served && !life.hung;
        if never_began && status.code().is_some_and(|code| code != 0) {
            return Next::Fail;
        }
        if life.was_good() {
            self.crashes = 0;
        }
        self.crashes += 1;
        if self.crashes >= CRASHES_IN_A_ROW {
            return Next::GiveUp;
        }
        let fate = if life.hung {
            "it hung".into()
        } else {
            process::fate(status)
        };
        // Tests wait for the last of them.
        let first = FIRST_PAUSE / if rehearses("haste") { 10 } else { 1 };
        let pause = first * 2_u32.pow(self.crashes - 1);
        let pause_ms = pause.as_millis();
        tracing::error!(fate, pause_ms, "the daemon has ended and is started again");
        self.state = State::Pausing(Instant::now() + pause);
        Next::Wait
    }

    /// Tells it to end, and kills it when it takes longer.
    pub(super) fn stop(&mut self, patience: Duration) {
        match &mut self.state {
            State::Running(life) => life.stop(patience),
            state => *state = State::Stopped,
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
            State::Running(life) => life.next_moment(),
            State::Stopped => None,
        }
    }

    pub(super) fn look_at(&mut self, now: Instant) {
        if let State::Running(life) = &mut self.state {
            life.look_at(now);
        }
    }
}
