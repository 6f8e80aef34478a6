//! The command beside the daemon.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::{OWN_FAILURE, Plan, process};

/// It is to run, runs, or has run.
#[derive(Debug, Default)]
pub(super) struct Command {
    /// While it runs: afterwards the number may be another's.
    pid: Option<Pid>,
    /// When it, and what it left behind, was first told to stop.
    told: Option<Instant>,
    /// When it is killed, as it does not end by itself.
    kill_at: Option<Instant>,
    /// It was told to let a newer one take over.
    follows: bool,
    /// The exit code to end with, whatever its own is.
    failed: Option<u8>,
}

impl Command {
    /// Starts it, with the socket's path in its environment, where the client looks for it.
    pub(super) fn start(&mut self, plan: &Plan) -> io::Result<()> {
        let socket = plan.socket.clone().into_os_string();
        let variables = [("DERMALD_SOCKET", Some(socket))];
        let pid = process::start(&plan.command, Signal::SIGTERM, &variables)?;
        self.pid = Some(pid);
        Ok(())
    }

    pub(super) fn is(&self, pid: Pid) -> bool {
        self.pid == Some(pid)
    }

    /// When it was first told to stop.
    pub(super) fn told(&self) -> Option<Instant> {
        self.told
    }

    /// Passes a signal on.
    pub(super) fn tell(&mut self, signal: Signal) {
        let Some(pid) = self.pid else { return };
        if process::is_becoming(pid) {
            tracing::warn!(%signal, "the command has not begun yet, and is not told");
            return;
        }
        self.follows |= signal == Signal::SIGUSR2;
        process::send(pid, signal);
    }

    /// Tells it to end, and kills it when it takes longer.
    pub(super) fn stop(&mut self, signal: Signal, patience: Duration) {
        let told = *self.told.get_or_insert_with(Instant::now);
        if let Some(pid) = self.pid {
            process::send(pid, signal);
            self.kill_at.get_or_insert(told + patience);
        }
    }

    /// Has everything end with this code.
    pub(super) fn fail(&mut self, code: u8) {
        self.failed = Some(code);
    }

    /// The exit code that its end means, when it left so many processes to us.
    pub(super) fn ended(&mut self, status: ExitStatus, left: usize) -> u8 {
        (self.pid, self.kill_at) = (None, None);
        let code = match (status.code(), status.signal()) {
            (Some(code), _) => u8::try_from(code).unwrap_or(OWN_FAILURE),
            (None, Some(signal)) => 128 + u8::try_from(signal).unwrap_or(0),
            (None, None) => OWN_FAILURE,
        };
        let fate = process::fate(status);
        tracing::info!(fate, "the command has ended");
        if left == 0 {
            return self.failed.unwrap_or(code);
        }
        // Who was told to stop may leave others behind: gunicorn does when its workers take too long.
        if code == 0 && self.told.is_none() && self.failed.is_none() {
            let why = if self.follows {
                "a newer one took over on USR2, which `dermald run` does not follow (start \
                 `dermald run` itself anew)"
            } else {
                "it went into the background: `dermald run` needs a command that stays (leave out \
                 gunicorn's --daemon)"
            };
            tracing::error!(
                left,
                "the command left processes behind, which are ended: {why}"
            );
            return OWN_FAILURE;
        }
        tracing::warn!(left, "the command left processes behind; they are ended");
        self.failed.unwrap_or(code)
    }

    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.kill_at
    }

    pub(super) fn look_at(&mut self, now: Instant) {
        if let Some(pid) = self.pid
            && self.kill_at.is_some_and(|at| at <= now)
        {
            tracing::warn!("the command does not end by itself and is killed");
            process::send(pid, Signal::SIGKILL);
            self.kill_at = None;
        }
    }
}
