//! Panics on the inference thread: what one costs, and how many there were.
//!
//! A panic is a defect of ours or of a decoder that we chose, never the caller's fault, and it may
//! cost a request its answer but never the thread its life. What it costs beyond that depends on
//! where it happens. Work on a picture (decoding, resizing, drawing) owns everything that it touches
//! and shares nothing with the session: the model stays loaded. Anywhere else a session may be left
//! in the middle of a run, and the model is loaded anew.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use bincode::{Decode, Encode};

use super::Failure;

/// How many panics were caught.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Panics {
    /// In the work on a picture.
    pub picture: u64,
    /// In everything else: the model was unloaded.
    pub model: u64,
}

/// The counters; they only grow.
#[derive(Debug, Default)]
pub(super) struct Counters {
    picture: AtomicU64,
    model: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> Panics {
        Panics {
            picture: self.picture.load(Ordering::Relaxed),
            model: self.model.load(Ordering::Relaxed),
        }
    }

    /// Counts those of an image before as well.
    pub(super) fn add(&self, panics: Panics) {
        self.picture.fetch_add(panics.picture, Ordering::Relaxed);
        self.model.fetch_add(panics.model, Ordering::Relaxed);
    }

    /// Does work on a picture. The same file would do the same again, so its caller is not told to
    /// try again.
    ///
    /// `work` must own, or only read, what it uses: what it leaves half changed is used no more.
    pub(super) fn picture<T>(
        &self,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            self.picture.fetch_add(1, Ordering::Relaxed);
            let reason = text(&*panic);
            tracing::error!(reason, "a bug stopped the work on a picture");
            Err(Failure::PicturePanic(reason))
        })
    }

    /// Does any other work; the caller must load the model anew when it fails.
    pub(super) fn model<T>(&self, work: impl FnOnce() -> T) -> Result<T, String> {
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
            self.model.fetch_add(1, Ordering::Relaxed);
            text(&*panic)
        })
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it left no message".into())
}

/// What a debug build takes for files that a decoder panics, crashes and hangs over, as no real one is
/// known that does: the tests' only way to see what becomes of that in a running daemon. A release build
/// has nothing of it.
#[cfg(debug_assertions)]
pub(super) fn rehearse(picture: &[u8]) {
    let asks = |fault: &[u8]| {
        let rest = picture.strip_prefix(b"dermald, rehearse a ");
        rest.is_some_and(|rest| rest.starts_with(fault))
    };
    assert!(!asks(b"panic"), "a panic was rehearsed");
    if asks(b"crash") {
        std::process::abort();
    }
    if asks(b"hang") {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
