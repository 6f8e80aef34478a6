//! `dermald run`: keeps a daemon running beside a command, for hosts that start one command and have no
//! init.
//!
//! One small process holds the listening socket and has two children: the daemon, and the command
//! (gunicorn, say). It never touches a picture. What it promises is told in `docs/run.md`: a daemon that
//! crashes is started again while the socket stays open, so that callers wait instead of being refused;
//! when the command ends, so does everything, with the command's exit code; nothing is left behind.
//!
//! - [`daemon`]: the daemon's lives: backoff, giving up; [`life`]: one of them, and its heartbeat.
//! - [`command`]: the command's; [`program`]: the file that it names.
//! - [`ending`]: the order in which everything ends.
//! - [`notices`]: what the daemon tells us, by systemd's protocol.
//! - [`suspects`]: pictures at which the daemon crashed.
//! - [`process`]: starting and ending children, also those of others that came to us.
//! - [`signals`]: what the host tells us.

mod command;
mod daemon;
mod ending;
mod life;
mod notices;
mod plan;
pub mod process;
pub mod program;
mod signals;
mod suspects;

use std::os::fd::AsFd;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use crate::config::environment::rehearses;
use crate::server::socket::Socket;
use command::Command;
use daemon::{Daemon, Next};
use ending::Ending;
use notices::Notices;
pub use plan::{Plan, RunError};
use signals::Signals;

/// The exit code when it is neither the command's nor about starting it, as `env` and `docker` have it.
pub const OWN_FAILURE: u8 = 125;

/// How long is waited at most when nothing is to be waited for.
const LONG: Duration = Duration::from_secs(3600);

/// How often what should have ended is looked for.
const AGAIN: Duration = Duration::from_millis(100);

/// Who wakes so much later than it meant to was frozen, and the daemon with it: hosts put a service to sleep
/// that way.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// After giving up, the daemon is tried again so often.
const TRY_AGAIN: Duration = Duration::from_secs(300);

fn try_again() -> Duration {
    TRY_AGAIN / if rehearses("impatience") { 100 } else { 1 }
}

struct Supervisor {
    plan: Plan,
    /// None after giving up.
    socket: Option<Socket>,
    notices: Notices,
    signals: Signals,
    daemon: Daemon,
    command: Command,
    /// The command is to be started once the daemon serves.
    waits: bool,
    ending: Option<Ending>,
}

/// Runs daemon and command until the command ends; gives the exit code.
///
/// # Errors
///
/// [`RunError`], before the command was started; a daemon that was ends with this process.
pub fn run(plan: Plan) -> Result<u8, RunError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        process::adopt_orphans()?;
        let signals = Signals::watch()?;
        let socket = Socket::listen(&plan.socket, plan.guests)?;
        let notices = Notices::beside(&plan.socket)?;
        let mut daemon = Daemon::new(&plan);
        daemon.start(socket.listener.as_fd(), notices.path())?;
        let mut command = Command::default();
        if !plan.wait_ready {
            command.start(&plan)?;
        }
        let mut supervisor = Supervisor {
            socket: Some(socket),
            notices,
            signals,
            daemon,
            command,
            waits: plan.wait_ready,
            ending: None,
            plan,
        };
        Ok(supervisor.keep_running().await)
    })
}

impl Supervisor {
    async fn keep_running(&mut self) -> u8 {
        loop {
            let moment = self.next_moment();
            let mut signal = tokio::select! {
                signal = self.signals.next() => Some(signal),
                () = self.notices.readable() => None,
                () = tokio::time::sleep_until(moment) => None,
            };
            while let Some(heard) = signal {
                self.hear_signal(heard);
                signal = self.signals.take();
            }
            self.hear_daemon();
            if moment + OVERSLEPT < Instant::now() {
                self.daemon.forgive_silence();
            }
            self.mourn();
            self.look_at_the_clock();
            if let Some(ending) = &self.ending
                && self.daemon.has_stopped()
                && !process::has_children()
            {
                return ending.code;
            }
        }
    }

    fn hear_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGCHLD => {}
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT => {
                tracing::info!(%signal, "told to stop: the command first, then the daemon");
                self.command.stop(signal, self.plan.stop_timeout);
                self.never_start(128 + signal as u8);
            }
            Signal::SIGHUP => {
                self.command.tell(signal);
                if self.daemon.has_given_up() {
                    self.begin_anew();
                } else {
                    self.daemon.reload();
                }
            }
            _ => self.command.tell(signal),
        }
    }

    fn hear_daemon(&mut self) {
        while let Some(notice) = self.notices.take() {
            self.daemon.hear(notice);
        }
        if self.waits && self.daemon.has_served() {
            self.start_command();
        }
    }

    /// Learns who of our children, and of those that were given to us, has ended.
    fn mourn(&mut self) {
        let mut dead: Vec<_> = std::iter::from_fn(process::reap).collect();
        // The command last: what ended before it was not left behind.
        dead.sort_by_key(|(pid, _)| self.command.is(*pid));
        for (pid, status) in dead {
            if self.command.is(pid) {
                let left = self.strangers().len();
                let code = self.command.ended(status, left);
                self.end(code);
            } else if self.daemon.is(pid) {
                // What it said last must be known when it is judged.
                self.hear_daemon();
                self.daemon_ended(status);
            }
        }
    }

    fn daemon_ended(&mut self, status: ExitStatus) {
        match self.daemon.ended(status, self.command.told().is_some()) {
            Next::Wait => {}
            Next::GiveUp => self.give_up(),
            Next::Fail => {
                tracing::error!("the daemon cannot start: see above for why");
                self.command.stop(Signal::SIGTERM, self.plan.stop_timeout);
                self.command.fail(OWN_FAILURE);
                self.never_start(OWN_FAILURE);
            }
        }
    }

    fn start_command(&mut self) {
        self.waits = false;
        if let Err(error) = self.command.start(&self.plan) {
            tracing::error!(%error, "the command cannot be started");
            self.end(OWN_FAILURE);
        }
    }

    /// Without a daemon the site shall know at once, and not wait for one.
    fn give_up(&mut self) {
        self.socket = None;
        self.daemon.give_up(try_again());
        tracing::error!(
            minutes = TRY_AGAIN.as_secs() / 60,
            "the daemon crashes again and again and is given up; the site stays up without \
             predictions, and another attempt is made later, or now on HUP"
        );
        if self.waits {
            self.start_command();
        }
    }

    /// Tries the daemon again after it was given up.
    fn begin_anew(&mut self) {
        match Socket::listen(&self.plan.socket, self.plan.guests) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                tracing::error!(%error, "the socket cannot be had again");
                return self.daemon.give_up(try_again());
            }
        }
        self.daemon.begin_anew();
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        self.command.look_at(now);
        self.daemon.look_at(now);
        self.end_others(now);
        if !self.daemon.is_due(now) {
            return;
        }
        if self.daemon.has_given_up() {
            self.begin_anew();
        }
        if let Some(socket) = &self.socket
            && let Err(error) = self
                .daemon
                .start(socket.listener.as_fd(), self.notices.path())
        {
            tracing::error!(%error, "the daemon cannot be started now");
        }
    }

    /// When something is to be done although nothing happens.
    fn next_moment(&self) -> Instant {
        let ending = self.ending.as_ref();
        let moments = [
            self.daemon.next_moment(),
            self.command.next_moment(),
            ending.map(|ending| ending.kill_at.max(Instant::now() + AGAIN)),
        ];
        let next = moments.into_iter().flatten().min();
        next.unwrap_or_else(|| Instant::now() + LONG)
    }
}
