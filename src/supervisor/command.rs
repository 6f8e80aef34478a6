//! The command beside the daemon.

use std::io;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use tokio::time::Instant;

use super::{OWN_FAILURE, Plan, process};

/// It runs, or has run.
pub(super) struct Command {
    pid: Pid,
    /// When it is killed, as it does not end by itself.
    kill_at: Option<Instant>,
    /// The exit code to end with, whatever its own is.
    failed: Option<u8>,
}

impl Command {
    /// Starts it, with the socket's path in its environment, where the client looks for it.
    pub(super) fn start(plan: &Plan) -> io::Result<Self> {
        let socket = plan.socket.clone().into_os_string();
        let variables = [("DERMALD_SOCKET", Some(socket))];
        let pid = process::start(&plan.command, Signal::SIGTERM, &variables)?;
        Ok(Command {
            pid,
            kill_at: None,
            failed: None,
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Passes a signal on.
    pub(super) fn tell(&self, signal: Signal) {
        process::send(self.pid, signal);
    }

    /// Tells it to end, and kills it when it takes longer.
    pub(super) fn stop(&mut self, signal: Signal, patience: Duration) {
        self.tell(signal);
        self.kill_at.get_or_insert(Instant::now() + patience);
    }

    /// Has everything end with this code.
    pub(super) fn fail(&mut self, code: u8) {
        self.failed = Some(code);
    }

    /// The exit code that its end means, when it left these processes to us.
    pub(super) fn ended(&mut self, status: WaitStatus, left: &[Pid]) -> u8 {
        self.kill_at = None;
        let code = match status {
            WaitStatus::Exited(_, code) => u8::try_from(code).unwrap_or(OWN_FAILURE),
            WaitStatus::Signaled(_, signal, _) => 128 + signal as u8,
            _ => OWN_FAILURE,
        };
        let (fate, processes) = (process::fate(status), left.len());
        tracing::info!(fate, "the command has ended");
        if code == 0 && processes > 0 && self.failed.is_none() {
            tracing::error!(
                processes,
                "the command went into the background and left processes behind, which are ended: \
                 `dermald run` needs a command that stays (leave out gunicorn's --daemon)"
            );
            return OWN_FAILURE;
        }
        if processes > 0 {
            tracing::warn!(
                processes,
                "the command left processes behind; they are ended"
            );
        }
        self.failed.unwrap_or(code)
    }

    pub(super) fn next_moment(&self) -> Option<Instant> {
        self.kill_at
    }

    pub(super) fn look_at(&mut self, now: Instant) {
        if self.kill_at.is_some_and(|at| at <= now) {
            tracing::warn!("the command does not end by itself and is killed");
            process::send(self.pid, Signal::SIGKILL);
            self.kill_at = None;
        }
    }
}
