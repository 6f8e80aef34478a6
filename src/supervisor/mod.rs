//! `dermald run`: keeps a daemon running beside a command, for hosts that start one command and have no
//! init.
//!
//! One small process holds the listening socket and has two children: the daemon, and the command
//! (gunicorn, say). It never touches a picture. What it promises is told in `docs/run.md`: a daemon that
//! crashes is started again while the socket stays open, so that callers wait instead of being refused;
//! when the command ends, so does everything, with the command's exit code; nothing is left behind.
//!
//! - [`daemon`]: the daemon's life: backoff, heartbeat, giving up.
//! - [`command`]: the command's.
//! - [`notices`]: what the daemon tells us, by systemd's protocol.
//! - [`suspects`]: pictures at which the daemon crashed.
//! - [`process`]: starting and ending children, also those of others that came to us.
//! - [`signals`]: what the host tells us.

mod command;
mod daemon;
mod notices;
pub mod process;
mod signals;
mod suspects;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::server::socket::{Socket, SocketError};
use command::Command;
use daemon::{Daemon, Next};
use notices::Notices;
use signals::Signals;

/// The exit code when it is neither the command's nor about starting it, as `env` and `docker` have it.
pub const OWN_FAILURE: u8 = 125;

/// How long what a command left behind may take to end.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

/// How long is waited at most when nothing is to be waited for.
const LONG: Duration = Duration::from_secs(3600);

/// Who wakes so much later than it meant to was frozen, and the daemon with it: hosts put a service to sleep
/// that way.
const OVERSLEPT: Duration = Duration::from_secs(1);

/// After giving up, the daemon is tried again so often.
const TRY_AGAIN: Duration = Duration::from_secs(300);

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    /// Where the daemon is asked.
    pub socket: PathBuf,
    /// Whether other users than ours and root may ask.
    pub guests: bool,
    /// Arguments of `dermald serve`.
    pub serve: Vec<OsString>,
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// How long the command may take to end once it was told to.
    pub stop_timeout: Duration,
    /// The same of the daemon.
    pub grace: Duration,
    /// How long one step of a picture may take.
    pub hang_limit: Option<Duration>,
}

/// What stops the start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The socket cannot be ours.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The operating system refused a process, a socket or a handler.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// How the command ended, and since when everything else is ended.
#[derive(Clone, Copy, Debug)]
struct Ending {
    code: u8,
    /// What is left behind is killed then.
    kill_at: Instant,
}

struct Supervisor {
    plan: Plan,
    /// None after giving up.
    socket: Option<Socket>,
    notices: Notices,
    signals: Signals,
    daemon: Daemon,
    command: Command,
    ending: Option<Ending>,
}

/// Runs daemon and command until the command ends; gives the exit code.
///
/// # Errors
///
/// [`RunError`], before anything was started.
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
        let command = Command::start(&plan)?;
        let mut supervisor = Supervisor {
            socket: Some(socket),
            notices,
            signals,
            daemon,
            command,
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
            let signal = tokio::select! {
                signal = self.signals.next() => Some(signal),
                () = self.notices.readable() => None,
                () = tokio::time::sleep_until(moment) => None,
            };
            if let Some(signal) = signal {
                self.hear_signal(signal);
            }
            // Before the dead: what one said last must be known when it is judged.
            while let Some(notice) = self.notices.take() {
                self.daemon.hear(notice);
            }
            if moment + OVERSLEPT < Instant::now() {
                self.daemon.forgive_silence();
            }
            while let Some(status) = process::reap() {
                self.mourn(status);
            }
            self.look_at_the_clock();
            if let Some(ending) = self.ending
                && process::children().is_empty()
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
            }
            Signal::SIGHUP => {
                self.command.tell(signal);
                if self.daemon.has_given_up() {
                    self.begin_anew();
                } else {
                    self.daemon.tell(signal);
                }
            }
            _ => self.command.tell(signal),
        }
    }

    /// One of our children, or of those that were given to us, has ended.
    fn mourn(&mut self, status: WaitStatus) {
        let Some(pid) = status.pid() else { return };
        if pid == self.command.pid() {
            let strangers = self.strangers();
            let code = self.command.ended(status, &strangers);
            self.end(code);
        } else if self.daemon.is(pid) {
            match self.daemon.ended(status) {
                Next::Wait => {}
                Next::GiveUp => self.give_up(),
                Next::Fail => {
                    tracing::error!("the daemon cannot start: see above for why");
                    self.command.stop(Signal::SIGTERM, self.plan.stop_timeout);
                    self.command.fail(OWN_FAILURE);
                }
            }
        }
    }

    /// Children that are neither daemon nor command: they were theirs.
    fn strangers(&self) -> Vec<Pid> {
        let ours = |pid: &Pid| *pid == self.command.pid() || self.daemon.is(*pid);
        process::children()
            .into_iter()
            .filter(|pid| !ours(pid))
            .collect()
    }

    /// The command is over: so is everything else.
    fn end(&mut self, code: u8) {
        let strangers = self.strangers();
        for pid in &strangers {
            process::send(*pid, Signal::SIGTERM);
        }
        if let Some(socket) = &self.socket {
            socket.remove();
        }
        self.daemon.stop(self.plan.grace + LEFT_BEHIND);
        let kill_at = Instant::now() + LEFT_BEHIND;
        self.ending = Some(Ending { code, kill_at });
    }

    /// Without a daemon the site shall know at once, and not wait for one.
    fn give_up(&mut self) {
        self.socket = None;
        self.daemon.give_up(TRY_AGAIN);
        tracing::error!(
            minutes = TRY_AGAIN.as_secs() / 60,
            "the daemon crashes again and again and is given up; the site stays up without \
             predictions, and another attempt is made later, or now on HUP"
        );
    }

    /// Tries the daemon again after it was given up.
    fn begin_anew(&mut self) {
        match Socket::listen(&self.plan.socket, self.plan.guests) {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => {
                tracing::error!(%error, "the socket cannot be had again");
                return self.daemon.give_up(TRY_AGAIN);
            }
        }
        self.daemon.begin_anew();
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        self.command.look_at(now);
        self.daemon.look_at(now);
        if let Some(ending) = self.ending {
            if ending.kill_at <= now {
                for pid in self.strangers() {
                    process::send(pid, Signal::SIGKILL);
                }
            }
            return;
        }
        if self.daemon.is_due(now) {
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
    }

    /// When something is to be done although nothing happens.
    fn next_moment(&self) -> Instant {
        let moments = [
            self.daemon.next_moment(),
            self.command.next_moment(),
            self.ending.map(|ending| {
                ending
                    .kill_at
                    .max(Instant::now() + Duration::from_millis(100))
            }),
        ];
        let next = moments.into_iter().flatten().min();
        next.unwrap_or_else(|| Instant::now() + LONG)
    }
}
