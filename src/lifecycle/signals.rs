//! Signals as messages, so that they are handled where everything else is: on the I/O thread.
//!
//! TERM, INT and HUP are [held](hold) before the first thread starts, so every thread is born with
//! them held, and [`watch`] lets them through on the I/O thread alone, once their handlers stand. A
//! renewal holds them there too. From then on the kernel keeps what comes until the next image lets it
//! through: none is lost between two images, and none meets a default action, which for HUP is death.

use std::io;
use std::os::unix::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal as Number};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use tokio::net::UnixStream;

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT: finish and leave.
    Stop,
    /// HUP: read the configuration anew.
    Reload,
}

/// What has come and was not taken yet. Several of a kind count once.
#[derive(Debug)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    /// A byte comes out for each signal, after its flag was set.
    bell: UnixStream,
}

/// Holds TERM, INT and HUP back in this thread and in those that it starts.
///
/// # Errors
///
/// Never on Linux.
pub fn hold() -> io::Result<()> {
    Ok(ours().thread_block()?)
}

/// Lets them through in this thread.
///
/// # Errors
///
/// Never on Linux.
pub fn let_through() -> io::Result<()> {
    Ok(ours().thread_unblock()?)
}

fn ours() -> SigSet {
    [Number::SIGTERM, Number::SIGINT, Number::SIGHUP]
        .into_iter()
        .collect()
}

/// Catches TERM, INT and HUP on this thread from here on.
///
/// # Errors
///
/// When the handlers cannot be set up.
///
/// # Panics
///
/// Outside a tokio runtime.
pub fn watch() -> io::Result<Signals> {
    let (bell, rope) = net::UnixStream::pair()?;
    bell.set_nonblocking(true)?;
    let signals = Signals {
        stop: Arc::default(),
        reload: Arc::default(),
        bell: UnixStream::from_std(bell)?,
    };
    for (number, came) in [
        (SIGTERM, &signals.stop),
        (SIGINT, &signals.stop),
        (SIGHUP, &signals.reload),
    ] {
        // In this order: who hears the bell finds the flag.
        flag::register(number, Arc::clone(came))?;
        low_level::pipe::register(number, rope.try_clone()?)?;
    }
    let_through()?;
    Ok(signals)
}

impl Signals {
    /// Waits for the next signal. May be dropped and called again without losing one.
    pub async fn next(&mut self) -> Signal {
        loop {
            if let Some(signal) = self.take() {
                return signal;
            }
            if self.bell.readable().await.is_ok() {
                let _ = self.bell.try_read(&mut [0; 64]);
            }
        }
    }

    /// Whether a stop has come that nobody took.
    #[must_use]
    pub fn stop_is_pending(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Whether a reload has come that nobody took.
    #[must_use]
    pub fn reload_is_pending(&self) -> bool {
        self.reload.load(Ordering::SeqCst)
    }

    /// What has come already: a stop before anything else.
    fn take(&self) -> Option<Signal> {
        let took = |flag: &AtomicBool| flag.swap(false, Ordering::SeqCst);
        if took(&self.stop) {
            Some(Signal::Stop)
        } else if took(&self.reload) {
            Some(Signal::Reload)
        } else {
            None
        }
    }
}
