//! What is asked of the inference thread, and what comes of it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::engine::{LoadError, RunError};
use crate::image::{Heatmap, Overlay, OverlayForm, PictureError};
use crate::lifecycle::supervised::CRASHES;

/// Names a job for the life of the daemon. A client's own id may come again; this one does not, so
/// an answer can never reach another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One picture to classify.
#[derive(Debug)]
pub struct Task {
    /// The file as it was uploaded.
    pub picture: Bytes,
    /// What the task came in and can be made from again; the picture is a slice of it. Counted as what
    /// the task keeps in memory.
    pub origin: Bytes,
    /// The class to explain; `None` for the most probable one. Below the number of classes.
    pub target: Option<u32>,
    /// Which explanation is wanted.
    pub explain: Explain,
    /// After this the answer is of no use.
    pub deadline: Instant,
    /// Who waits.
    pub priority: Priority,
}

/// Which explanation is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Explain {
    /// None.
    None,
    /// The heatmap's values.
    Values,
    /// A rendered picture.
    Overlay(OverlayForm),
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A person.
    Interactive,
    /// Nobody in particular.
    Batch,
}

/// A task in the queue.
#[derive(Debug)]
pub struct Job {
    pub(super) id: JobId,
    pub(super) task: Task,
    pub(super) queued: Instant,
    /// Unbounded by type, bounded by use: one message a job, and jobs are bounded by the queue.
    reply: UnboundedSender<Finished>,
}

impl Job {
    pub(super) fn new(id: JobId, task: Task, reply: UnboundedSender<Finished>) -> Self {
        Job {
            id,
            task,
            queued: Instant::now(),
            reply,
        }
    }

    /// The file as it was uploaded.
    pub(super) fn picture(&self) -> &Bytes {
        &self.task.picture
    }

    /// Splits the job into what is to be done and where the outcome goes.
    pub(super) fn split(self) -> (Task, Instant, Return) {
        let back = Return {
            id: self.id,
            reply: self.reply,
        };
        (self.task, self.queued, back)
    }
}

/// Where an outcome goes.
#[derive(Debug)]
pub(super) struct Return {
    id: JobId,
    reply: UnboundedSender<Finished>,
}

impl Return {
    /// Sends the outcome. A receiver that is gone has given the job up.
    pub(super) fn send(self, outcome: Outcome) {
        let finished = Finished {
            id: self.id,
            outcome,
        };
        if self.reply.send(finished).is_err() {
            tracing::debug!("the client left before its answer");
        }
    }
}

/// A job that is done.
#[derive(Debug)]
pub struct Finished {
    /// Which.
    pub id: JobId,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a job.
pub type Outcome = Result<Answer, Failure>;

/// A classified picture.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Probability of every class in output order, each in 0..1.
    pub probabilities: Vec<f32>,
    /// The class that the explanation is about.
    pub explained: Option<u32>,
    /// The heatmap's values, when they were asked for.
    pub heatmap: Option<Heatmap>,
    /// The overlay, when it was asked for.
    pub overlay: Option<Overlay>,
    /// Why the explanation that was asked for is missing.
    pub unexplained: Option<String>,
    /// Whether this is a copy of the answer that another request got at the same time.
    pub shared: bool,
    /// Where the time went.
    pub timings: Timings,
}

/// Where the time of a job went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Waiting.
    pub queue: Duration,
    /// Loading runtime and model; zero when they were loaded.
    pub load: Duration,
    /// Decoding and resizing.
    pub decode: Duration,
    /// In ONNX Runtime.
    pub inference: Duration,
    /// Rendering the overlay; zero without one.
    pub render: Duration,
}

/// Why a job has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The picture is at fault.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// Runtime or model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// ONNX Runtime reported an error.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The deadline passed in the queue; nothing was run.
    #[error("the deadline passed after {} ms in the queue; nothing was run", .0.as_millis())]
    Deadline(Duration),
    /// The thread did not come to an end with it.
    #[error("the inference thread hung for {} s over this picture; it is given up", .0.as_secs())]
    Hung(Duration),
    /// A bug in the work on the picture: the model has no part in it.
    #[error("a bug in dermald stopped the work on this picture: {0}")]
    PicturePanic(String),
    /// The process crashed over it too often.
    #[error("dermald crashed {CRASHES} times over this picture and does not try it again")]
    Refused,
    /// A bug: the code that worked on this job panicked.
    #[error("a bug in dermald stopped this request: {0}")]
    Panic(String),
}
