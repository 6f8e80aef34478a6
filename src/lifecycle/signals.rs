//! Signals as messages, so that they are handled where everything else is: on the I/O thread.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// TERM or INT: finish and leave.
    Stop,
    /// HUP: read the configuration anew.
    Reload,
}

/// Catches TERM, INT and HUP from here on. HUP is caught because its default is death.
///
/// # Errors
///
/// When the handlers or their thread cannot be set up.
pub fn watch() -> io::Result<UnboundedReceiver<Signal>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = unbounded_channel();
    std::thread::Builder::new()
        .name("signals".into())
        .stack_size(64 * 1024)
        .spawn(move || {
            for signal in signals.forever() {
                let signal = if signal == SIGHUP {
                    Signal::Reload
                } else {
                    Signal::Stop
                };
                if sender.send(signal).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}
