//! The handle on the inference thread: how jobs get there, and what is asked of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use super::queue::Queue;
use super::round::{Question, fingerprint};
use super::state::Shared;
use super::{
    Activity, Busy, Failure, Fingerprint, Finished, Job, JobId, Load, ModelState, Panics, Pulse,
    Settings, Task, panics, worker,
};

/// How often is looked whether the thread hangs: the longer, the further it is from the limit.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// How long the thread may take to end.
const PARTING: Duration = Duration::from_secs(3);

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
