//! What the host, or whoever looks after the site, tells us.

use std::io;
use std::os::unix::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use signal_hook::{flag, low_level};
use tokio::net::UnixStream;

/// What is heard: to stop, of children, and what gunicorn knows beside that. Of several that came together
/// the first here is taken first: a host that tells everybody to stop is heard before our children's ends.
const HEARD: [Signal; 10] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGCHLD,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
    Signal::SIGWINCH,
];

/// What has come and was not taken yet. Several of a kind count once.
pub(super) struct Signals {
    came: Vec<(Signal, Arc<AtomicBool>)>,
    /// A byte comes out for each signal, after its flag was set.
    bell: UnixStream,
}

impl Signals {
    /// Catches them from here on.
    pub(super) fn watch() -> io::Result<Self> {
        let (bell, rope) = net::UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let mut came = Vec::new();
        for signal in HEARD {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: who hears the bell finds the flag.
            flag::register(signal as i32, Arc::clone(&flag))?;
            low_level::pipe::register(signal as i32, rope.try_clone()?)?;
            came.push((signal, flag));
        }
        let bell = UnixStream::from_std(bell)?;
        Ok(Signals { came, bell })
    }

    /// Waits for the next. May be dropped and called again without losing one.
    pub(super) async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.take() {
                return signal;
            }
            if self.bell.readable().await.is_ok() {
                let _ = self.bell.try_read(&mut [0; 64]);
            }
        }
    }

    /// One that has come already.
    pub(super) fn take(&self) -> Option<Signal> {
        let mut came = self.came.iter();
        let (signal, _) = came.find(|(_, flag)| flag.swap(false, Ordering::SeqCst))?;
        Some(*signal)
    }
}
