//! Inference: one thread that owns the ONNX session, fed by a bounded queue.
//!
//! Decoding, inference and rendering all happen on that one thread, so nothing needs a lock around
//! the session, concurrent first requests cannot load the model twice, and the memory of a job is
//! never there more than once. This room knows pictures and the model's contract; it refuses to
//! know sockets and wire messages.
//!
//! - `handle`: how jobs get to the thread, and what is asked of it; `state` is what both share.
//! - `settings`: what the thread works with.
//! - [`queue`]: what waits, bounded in count and bytes.
//! - [`job`]: what is asked and what comes of it.
//! - `round`: equal jobs are one.
//! - [`interrupt`]: how a job that nobody waits for any more is stopped, also in the middle.
//! - [`worker`]: the thread.
//! - [`engine`]: the ONNX session; [`contract`] holds it against the manifest.
//! - [`preparation`]: optimises a graph for this CPU, in a process of its own.
//! - `architecture`: the processor that its library was built for.
//! - `trial`: the self-test of a bundle, and how long a run takes.
//! - [`pulse`]: whether the thread moves.
//! - [`panics`]: what a defect costs, and how many were met.
//! - [`runtime`]: finding and loading ONNX Runtime's library.

mod architecture;
pub mod contract;
pub mod engine;
mod handle;
pub mod interrupt;
pub mod job;
pub mod panics;
pub mod preparation;
pub mod pulse;
pub mod queue;
mod round;
pub mod runtime;
mod settings;
mod state;
mod trial;
mod worker;

pub use handle::{Inference, Ticket};
pub use job::{Answer, Explain, Failure, Finished, Job, JobId, Outcome, Priority, Task, Timings};
pub use panics::Panics;
pub use pulse::Pulse;
pub use queue::QueueLimits;
pub use round::Fingerprint;
pub use settings::{MemoryLimit, Settings};
pub use state::{Activity, Busy, Load, ModelState};
