//! Inference: one thread that owns the ONNX session, fed by a bounded queue.
//!
//! Decoding, inference and rendering all happen on that one thread, so nothing needs a lock around
//! the session, concurrent first requests cannot load the model twice, and the memory of a job is
//! never there more than once. This room knows pictures and the model's contract; it refuses to
//! know sockets and wire messages.
//!
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
pub mod interrupt;
pub mod job;
pub mod panics;
pub mod preparation;
pub mod pulse;
pub mod queue;
mod round;
pub mod runtime;
mod trial;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use crate::image::PictureLimits;
use crate::lifecycle::renewal::Measure;
use crate::model::Bundle;
use crate::model::prepared::Cache;
pub use job::{Answer, Explain, Failure, Finished, Job, JobId, Outcome, Priority, Task, Timings};
pub use panics::Panics;
pub use pulse::Pulse;
use queue::Queue;
pub use queue::QueueLimits;
pub use round::Fingerprint;
use round::{Question, fingerprint};

/// How often is looked whether the thread hangs: the longer, the further it is from the limit.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// How long the thread may take to end.
const PARTING: Duration = Duration::from_secs(3);

/// What the inference thread works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model.
    pub bundle: Arc<Bundle>,
    /// Where prepared models lie.
    pub cache: Cache,
    /// ONNX Runtime's library, when it was named.
    pub library: Option<PathBuf>,
    /// Threads inside one operator.
    pub threads: usize,
    /// Whether waiting threads spin.
    pub spin: bool,
    /// Whether explanations are made at all.
    pub grad_cam: bool,
    /// What a picture may cost.
    pub pictures: PictureLimits,
    /// What may wait.
    pub queue: QueueLimits,
    /// What the process may take before it renews itself.
    pub memory: Option<MemoryLimit>,
    /// Pictures that are not worked on: the process crashed over each of them.
    pub refused: Vec<Fingerprint>,
    /// Bytes that each job leaks, for tests of what is done about leaks.
    pub leak: usize,
}

/// A limit that the loaded model must fit into.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    /// In bytes.
    pub bytes: u64,
    /// What it is compared with.
    pub measure: Measure,
    /// What requests may take that wait or arrive, in bytes.
    pub buffers: u64,
}

/// Where the model stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// It will be loaded at the first request.
    Unloaded,
    /// It is being loaded.
    Loading,
    /// It is in memory.
    Loaded {
        /// Whether it is a copy that was optimised for this CPU.
        prepared: bool,
    },
    /// It could not be loaded; the next request tries again.
    Failed(String),
}

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When there is likely to be room.
    pub retry_after: Duration,
}

/// What waits now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait.
    pub waiting: usize,
    /// Bytes of their pictures.
    pub bytes: usize,
    /// Whether a job is running.
    pub running: bool,
    /// How many wait for its answer.
    pub sharing: usize,
}

/// What the thread has done since it was started.
#[derive(Clone, Copy, Debug)]
pub struct Activity {
    /// Jobs that ended.
    pub jobs: u64,
    /// Whether it ever did anything but wait.
    pub has_worked: bool,
    /// Since when it waits; the present while it works.
    pub since: Instant,
}

/// What the thread and its callers share.
#[derive(Debug)]
pub(crate) struct Shared {
    queue: Mutex<Queue>,
    /// Told when something was queued or the queue was closed.
    wake: Condvar,
    state: Mutex<ModelState>,
    panics: panics::Counters,
    pulse: Pulse,
    refused: Mutex<Vec<Fingerprint>>,
    next_id: AtomicU64,
    /// How often the thread came to rest, be it for a moment.
    rests: watch::Sender<u64>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .expect("no code panics with the queue locked")
    }

    fn refused(&self) -> MutexGuard<'_, Vec<Fingerprint>> {
        self.refused
            .lock()
            .expect("no code panics with the list locked")
    }

    fn set_state(&self, state: ModelState) {
        *self
            .state
            .lock()
            .expect("no code panics with the state locked") = state;
    }
}

/// The handle on the inference thread.
#[derive(Debug)]
pub struct Inference {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Inference {
    /// Starts the thread. Neither runtime nor model are loaded yet.
    ///
    /// # Errors
    ///
    /// When the operating system gives no thread.
    pub fn start(settings: Settings) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(settings.queue)),
            wake: Condvar::new(),
            state: Mutex::new(ModelState::Unloaded),
            panics: panics::Counters::default(),
            pulse: Pulse::default(),
            refused: Mutex::new(settings.refused.clone()),
            next_id: AtomicU64::new(1),
            rests: watch::Sender::new(0),
        });
        let worker = worker::Worker::new(Arc::clone(&shared), settings);
        let thread = std::thread::Builder::new()
            .name("inference".into())
            .spawn(move || worker.run())?;
        Ok(Inference {
            shared,
            thread: Some(thread),
        })
    }

    /// Queues `task`. Its outcome goes to `reply`; dropping the ticket gives the job up.
    ///
    /// # Errors
    ///
    /// [`Busy`] at once when count or bytes are at their limit; nothing waits for room.
    pub fn submit(
        &self,
        task: Task,
        reply: tokio::sync::mpsc::UnboundedSender<Finished>,
    ) -> Result<Ticket, Busy> {
        let wanted = self.shared.queue().asks(&Question::of(&task));
        let (mut job, ticket) = self.job(task, reply);
        // The hash of a picture takes milliseconds: it is made when sizes and questions are equal.
        if let Some(picture) = wanted
            && fingerprint(job.picture()) == picture
        {
            let Some(back) = self.shared.queue().join(job, picture) else {
                return Ok(ticket);
            };
            job = back;
        }
        let pushed = self.shared.queue().push(job);
        // A ticket asks the queue for its job when it is dropped: the lock must be free by then.
        pushed?;
        self.shared.wake.notify_one();
        Ok(ticket)
    }

    /// Queues a task that was admitted once already, whatever the limits are now.
    pub fn submit_again(
        &self,
        task: Task,
        reply: tokio::sync::mpsc::UnboundedSender<Finished>,
    ) -> Ticket {
        let (job, ticket) = self.job(task, reply);
        self.shared.queue().push_again(job);
        self.shared.wake.notify_one();
        ticket
    }

    fn job(
        &self,
        task: Task,
        reply: tokio::sync::mpsc::UnboundedSender<Finished>,
    ) -> (Job, Ticket) {
        let id = JobId(self.shared.next_id.fetch_add(1, Ordering::Relaxed));
        let job = Job::new(id, task, reply);
        let shared = Arc::clone(&self.shared);
        (job, Ticket { id, shared })
    }

    /// Begins nothing more until [`resume`](Self::resume); what is under way is finished.
    pub fn pause(&self) {
        self.shared.queue().pause(true);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.shared.queue().pause(false);
        self.shared.wake.notify_one();
    }

    /// Waits until nothing is under way. Outcomes have been sent by then.
    pub async fn at_rest(&self) {
        let mut rests = self.rests();
        while self.shared.queue().is_at_work() {
            if rests.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes each time that the thread comes to rest, be it for a moment.
    #[must_use]
    pub fn rests(&self) -> watch::Receiver<u64> {
        self.shared.rests.subscribe()
    }

    /// Takes everything out that waits, in the order in which it came: which job, and what it was made
    /// from. Their tickets are of no use any more.
    #[must_use]
    pub fn take_waiting(&self) -> Vec<(JobId, Bytes)> {
        self.shared.queue().take_all()
    }

    /// What the thread has done.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.shared.queue().activity()
    }

    /// Loads runtime and model in the background, before the first request.
    pub fn preload(&self) {
        self.shared.set_state(ModelState::Loading);
        self.shared.queue().preload = true;
        self.shared.wake.notify_one();
    }

    /// Whether the thread moves.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.shared.pulse.clone()
    }

    /// Waits until the thread has been in one step for `limit`, and tells for how long it has been;
    /// for ever when there is no limit.
    pub async fn hung(&self, limit: Option<Duration>) -> Duration {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        loop {
            let taken = self.shared.pulse.in_step_for();
            if taken >= limit {
                return taken;
            }
            tokio::time::sleep(((limit - taken) / 2).clamp(SHORTEST_LOOK, LONGEST_LOOK)).await;
        }
    }

    /// Tells everybody who waits for what the thread hangs over that it is given up. Gives back the
    /// picture, when it is one.
    pub fn give_up(&self, hung: Duration) -> Option<Fingerprint> {
        let round = self.shared.queue().give_up()?;
        let picture = round.picture();
        round.end(&Err(Failure::Hung(hung)));
        picture
    }

    /// This picture is not worked on any more.
    ///
    /// # Panics
    ///
    /// Never: no code panics with the list locked.
    pub fn refuse(&self, picture: Fingerprint) {
        let mut refused = self.shared.refused();
        if !refused.contains(&picture) {
            refused.push(picture);
        }
    }

    /// Where the model stands.
    ///
    /// # Panics
    ///
    /// Never: no code panics with the state locked.
    #[must_use]
    pub fn model_state(&self) -> ModelState {
        self.shared
            .state
            .lock()
            .expect("no code panics with the state locked")
            .clone()
    }

    /// What waits now.
    #[must_use]
    pub fn load(&self) -> Load {
        self.shared.queue().load()
    }

    /// Counts panics of an image before as well.
    pub fn add_panics(&self, panics: Panics) {
        self.shared.panics.add(panics);
    }

    /// How many panics were caught since the start.
    #[must_use]
    pub fn panics(&self) -> Panics {
        self.shared.panics.read()
    }

    /// Gives up what waits and what runs, and ends the thread. Callers hear nothing more.
    ///
    /// Blocks for [`PARTING`] at most: a run that cannot be stopped ends with the process.
    pub fn stop(mut self) {
        self.shared.queue().close();
        self.shared.wake.notify_one();
        let Some(thread) = self.thread.take() else {
            return;
        };
        let give_up = Instant::now() + PARTING;
        while !thread.is_finished() {
            if Instant::now() >= give_up {
                return tracing::warn!("the inference thread does not end; it is left behind");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if thread.join().is_err() {
            tracing::error!("the inference thread ended by a panic");
        }
    }
}

/// A job that somebody waits for. Dropping it takes the job from the queue, or stops its run.
#[derive(Debug)]
pub struct Ticket {
    /// The job.
    pub id: JobId,
    shared: Arc<Shared>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // The job, with its picture, is dropped after the lock is released.
        let removed = self.shared.queue().remove(self.id);
        drop(removed);
    }
}
