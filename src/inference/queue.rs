//! What waits for the inference thread, bounded in count and in bytes.
//!
//! When a bound is reached, a job is refused at once with a hint when to come again; nothing is
//! pushed out and nobody is kept waiting for room.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::round::{Fingerprint, Question, Round, Work};
use super::{Activity, Busy, Job, JobId, Load, Priority};

/// While people wait, every so many-th job is taken from the batch, so that a batch never starves.
const BATCH_SHARE: u32 = 8;

/// The hint before any job was timed.
const FIRST_PACE: Duration = Duration::from_millis(200);

/// A hint is never shorter or longer than this.
const HINT: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(50)..=Duration::from_secs(30);

/// What may wait.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Jobs.
    pub jobs: usize,
    /// Bytes of their pictures.
    pub bytes: usize,
}

/// The queue; its owner locks it.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    interactive: VecDeque<Job>,
    batch: VecDeque<Job>,
    bytes: usize,
    /// Interactive jobs taken since the batch had its turn.
    since_batch: u32,
    /// How long a job takes: a running mean that forgets.
    pace: Duration,
    /// What the thread works on.
    round: Option<Round>,
    /// Whether the thread does anything but wait.
    at_work: bool,
    /// Nothing is begun.
    paused: bool,
    activity: Activity,
    /// The model shall be loaded before a job comes.
    pub(super) preload: bool,
    closed: bool,
}

/// What the thread is to do next.
#[derive(Debug)]
pub(super) enum Next {
    Run(Box<Work>),
    Preload,
    Wait,
    Stop,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Queue {
            limits,
            interactive: VecDeque::new(),
            batch: VecDeque::new(),
            bytes: 0,
            since_batch: 0,
            pace: FIRST_PACE,
            round: None,
            at_work: false,
            paused: false,
            activity: Activity {
                jobs: 0,
                has_worked: false,
                since: Instant::now(),
            },
            preload: false,
            closed: false,
        }
    }

    pub(super) fn push(&mut self, job: Job) -> Result<(), Busy> {
        let bytes = self.bytes + job.task.origin.len();
        if self.waiting() >= self.limits.jobs || bytes > self.limits.bytes {
            return Err(Busy {
                retry_after: self.hint(),
            });
        }
        self.push_again(job);
        Ok(())
    }

    /// Takes in a job that was admitted once, whatever the limits are now.
    pub(super) fn push_again(&mut self, job: Job) {
        self.bytes += job.task.origin.len();
        match job.task.priority {
            Priority::Interactive => self.interactive.push_back(job),
            Priority::Batch => self.batch.push_back(job),
        }
    }

    pub(super) fn next(&mut self) -> Next {
        if self.closed {
            return Next::Stop;
        }
        if self.paused {
            return Next::Wait;
        }
        let next = match self.pop() {
            Some(job) => {
                let equal = self.take_equal(&job);
                let (round, work) = Round::begin(job, equal);
                self.round = Some(round);
                Next::Run(Box::new(work))
            }
            None if std::mem::take(&mut self.preload) => Next::Preload,
            None => return Next::Wait,
        };
        self.at_work = true;
        next
    }

    /// Takes out who asks the same of the same picture as `job`.
    fn take_equal(&mut self, job: &Job) -> Vec<Job> {
        let question = Question::of(&job.task);
        let is_equal = |other: &Job| {
            Question::of(&other.task) == question && other.task.picture == job.task.picture
        };
        let mut equal = Vec::new();
        for line in [&mut self.interactive, &mut self.batch] {
            if line.iter().any(is_equal) {
                let (same, others): (Vec<Job>, _) =
                    std::mem::take(line).into_iter().partition(is_equal);
                *line = others.into();
                equal.extend(same);
            }
        }
        self.bytes -= equal.iter().map(|job| job.task.origin.len()).sum::<usize>();
        equal
    }

    /// Notes which picture is worked on; who asks the same of it may join in from now on.
    pub(super) fn tell(&mut self, picture: Fingerprint) {
        if let Some(round) = &mut self.round {
            round.tell(picture);
        }
    }

    /// What a picture must be for `question` to be the one that is being worked on.
    pub(super) fn asks(&self, question: &Question) -> Option<Fingerprint> {
        self.round.as_ref()?.asks(question)
    }

    /// Has `job`, whose picture has this fingerprint, wait for what is being worked on. Gives it back
    /// when that is something else.
    pub(super) fn join(&mut self, job: Job, picture: Fingerprint) -> Option<Job> {
        match &mut self.round {
            Some(round) if round.asks(&Question::of(&job.task)) == Some(picture) => {
                round.join(job);
                None
            }
            _ => Some(job),
        }
    }

    /// Notes that the work ended, and how long it took when it was done to its end. Gives back who
    /// waits for it.
    pub(super) fn done(&mut self, took: Option<Duration>) -> Option<Round> {
        if let Some(took) = took {
            self.pace = (self.pace * 3 + took) / 4;
        }
        self.activity.jobs += 1;
        self.round.take()
    }

    /// Takes away from the thread what it works on. Gives back who waits for it.
    pub(super) fn give_up(&mut self) -> Option<Round> {
        self.round.take()
    }

    /// Notes that nothing of what was begun is left.
    pub(super) fn rest(&mut self) {
        self.at_work = false;
        self.activity.has_worked = true;
        self.activity.since = Instant::now();
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.at_work
    }

    pub(super) fn activity(&self) -> Activity {
        let mut activity = self.activity;
        if self.at_work || self.waiting() > 0 {
            activity.since = Instant::now();
        }
        activity
    }

    /// Takes everything out that waits, in the order in which it came.
    pub(super) fn take_all(&mut self) -> Vec<(JobId, Bytes)> {
        self.bytes = 0;
        let lines = [&mut self.interactive, &mut self.batch];
        let mut jobs: Vec<(JobId, Bytes)> = lines
            .into_iter()
            .flat_map(std::mem::take)
            .map(|job| (job.id, job.task.origin))
            .collect();
        jobs.sort_unstable_by_key(|(id, _)| *id);
        jobs
    }

    /// Takes a job out before its turn, or out of what is being worked on.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let waiting = [&mut self.interactive, &mut self.batch]
            .into_iter()
            .find_map(|line| {
                let place = line.iter().position(|job| job.id == id)?;
                line.remove(place)
            });
        match &waiting {
            Some(job) => self.bytes -= job.task.origin.len(),
            None => {
                if let Some(round) = &mut self.round {
                    round.leave(id);
                }
            }
        }
        waiting
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.interactive.clear();
        self.batch.clear();
        self.bytes = 0;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn load(&self) -> Load {
        Load {
            waiting: self.waiting(),
            bytes: self.bytes,
            running: self.round.is_some(),
            sharing: self.round.as_ref().map_or(0, Round::members),
        }
    }

    fn waiting(&self) -> usize {
        self.interactive.len() + self.batch.len()
    }

    fn pop(&mut self) -> Option<Job> {
        let batch_turn = self.interactive.is_empty() || self.since_batch >= BATCH_SHARE - 1;
        let job = if batch_turn && !self.batch.is_empty() {
            self.since_batch = 0;
            self.batch.pop_front()
        } else {
            self.since_batch = self.since_batch.saturating_add(1);
            self.interactive.pop_front()
        }?;
        self.bytes -= job.task.origin.len();
        Some(job)
    }

    /// When half of what waits will be done: by then a caller that comes again finds room.
    fn hint(&self) -> Duration {
        let half = u32::try_from(self.waiting() / 2 + 1).unwrap_or(u32::MAX);
        self.pace
            .saturating_mul(half)
            .clamp(*HINT.start(), *HINT.end())
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::super::{Explain, Task};
    use super::*;

    fn job(id: u64, bytes: usize, priority: Priority) -> Job {
        // Each its own picture.
        let origin = Bytes::from(vec![id.to_le_bytes()[0]; bytes]);
        let task = Task {
            picture: origin.clone(),
            origin,
            target: None,
            explain: Explain::None,
            deadline: Instant::now(),
            priority,
        };
        Job::new(JobId(id), task, unbounded_channel().0)
    }

    fn queue(jobs: usize, bytes: usize) -> Queue {
        Queue::new(QueueLimits { jobs, bytes })
    }

    #[test]
    fn count_and_bytes_are_bounded_and_room_comes_back() {
        let mut queue = queue(2, 100);
        assert_eq!(queue.push(job(1, 60, Priority::Interactive)), Ok(()));
        assert!(
            queue.push(job(2, 41, Priority::Batch)).is_err(),
            "101 bytes"
        );
        assert_eq!(queue.push(job(3, 40, Priority::Batch)), Ok(()));
        assert!(
            queue.push(job(4, 0, Priority::Interactive)).is_err(),
            "three jobs"
        );
        assert!(queue.remove(JobId(1)).is_some());
        assert!(queue.remove(JobId(1)).is_none());
        assert_eq!(queue.push(job(5, 60, Priority::Interactive)), Ok(()));
        assert_eq!(queue.load().bytes, 100);
    }

    #[test]
    fn people_go_first_and_the_batch_never_starves() {
        let mut queue = queue(100, 1000);
        for id in 0..20 {
            queue.push(job(100 + id, 1, Priority::Batch)).expect("room");
            queue.push(job(id, 1, Priority::Interactive)).expect("room");
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop())
            .map(|job| job.id.0)
            .collect();
        assert_eq!(&order[..9], [0, 1, 2, 3, 4, 5, 6, 100, 7]);
        assert_eq!(order.len(), 40);
        assert_eq!(queue.load().bytes, 0);
    }

    #[test]
    fn what_waits_is_taken_out_in_its_order_and_comes_back_past_the_limits() {
        let mut line = queue(3, 100);
        for (id, priority) in [
            (1, Priority::Batch),
            (2, Priority::Interactive),
            (3, Priority::Batch),
        ] {
            line.push(job(id, 30, priority)).expect("room");
        }
        let ids: Vec<u64> = line.take_all().iter().map(|(id, _)| id.0).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!((line.load().waiting, line.load().bytes), (0, 0));
        let mut smaller = queue(1, 10);
        smaller.push_again(job(1, 30, Priority::Batch));
        smaller.push_again(job(2, 30, Priority::Batch));
        assert_eq!(smaller.load().waiting, 2);
        assert!(smaller.push(job(3, 1, Priority::Batch)).is_err());
    }

    #[test]
    fn paused_queue_begins_nothing_and_forgets_nothing() {
        let mut queue = queue(3, 100);
        queue.push(job(1, 1, Priority::Interactive)).expect("room");
        queue.pause(true);
        assert!(matches!(queue.next(), Next::Wait));
        assert!(!queue.is_at_work());
        queue.pause(false);
        assert!(matches!(queue.next(), Next::Run(_)));
        assert!(queue.is_at_work());
    }

    #[test]
    fn hint_follows_the_pace() {
        let mut queue = queue(1, 10);
        queue.push(job(1, 1, Priority::Interactive)).expect("room");
        let before = queue
            .push(job(2, 1, Priority::Interactive))
            .expect_err("full");
        for _ in 0..20 {
            queue.done(Some(Duration::from_secs(4)));
        }
        let after = queue
            .push(job(2, 1, Priority::Interactive))
            .expect_err("full");
        assert!(
            after.retry_after > before.retry_after * 10,
            "{before:?} {after:?}"
        );
    }
}
