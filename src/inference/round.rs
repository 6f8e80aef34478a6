//! What the thread works on: one picture and one question, for everybody who asks it meanwhile.
//!
//! A page that many open at once, or a form that is sent twice, asks the same of the same picture. Whoever
//! asks what is being worked on joins in and gets a copy of the answer; whoever waits with the same
//! question is taken along when the work begins. Equal means equal bytes: those that wait are compared
//! with each other, and against the picture that is being worked on, which is let go once it is decoded,
//! its SHA-256.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::interrupt::Interrupt;
use super::job::Return;
use super::{Explain, Job, JobId, Outcome, Task};

/// What is asked of a picture. Who asks, and until when, is no part of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Question {
    length: usize,
    target: Option<u32>,
    explain: Explain,
}

impl Question {
    pub(super) fn of(task: &Task) -> Self {
        Question {
            length: task.picture.len(),
            target: task.target,
            explain: task.explain,
        }
    }
}

/// SHA-256 of a picture.
pub type Fingerprint = [u8; 32];

pub(super) fn fingerprint(picture: &Bytes) -> Fingerprint {
    Sha256::digest(picture).into()
}

/// One who waits for the answer.
#[derive(Debug)]
struct Member {
    id: JobId,
    /// How long before the work began, or after it had begun.
    waited: Duration,
    back: Return,
}

/// Work under way, and everybody who waits for it.
#[derive(Debug)]
pub(super) struct Round {
    question: Question,
    /// Known once the thread has told it.
    picture: Option<Fingerprint>,
    members: Vec<Member>,
    interrupt: Arc<Interrupt>,
}

/// What the thread needs of a round.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) picture: Bytes,
    /// Holds the memory that `picture` lies in.
    pub(super) origin: Bytes,
    pub(super) target: Option<u32>,
    pub(super) explain: Explain,
    /// After this the answer is of no use to anybody who was there when it began.
    pub(super) deadline: Instant,
    /// How long the first one waited.
    pub(super) waited: Duration,
    pub(super) interrupt: Arc<Interrupt>,
}

impl Round {
    /// Begins the work on `first`, together with `others`, who ask the same of the same picture.
    pub(super) fn begin(first: Job, others: Vec<Job>) -> (Self, Work) {
        let question = Question::of(&first.task);
        let interrupt = Arc::new(Interrupt::default());
        let all = others.iter().chain([&first]);
        let latest = all.map(|job| job.task.deadline).max();
        let (task, first) = member(first);
        let work = Work {
            picture: task.picture,
            origin: task.origin,
            target: task.target,
            explain: task.explain,
            deadline: latest.unwrap_or(task.deadline),
            waited: first.waited,
            interrupt: Arc::clone(&interrupt),
        };
        let others = others.into_iter().map(|job| member(job).1);
        let round = Round {
            question,
            picture: None,
            members: [first].into_iter().chain(others).collect(),
            interrupt,
        };
        (round, work)
    }

    /// Lets others join in, from now on.
    pub(super) fn tell(&mut self, picture: Fingerprint) {
        self.picture = Some(picture);
    }

    /// What a picture of the same size must be for its question to be this one; `None` when it is
    /// another question in any case, or when nobody waits for this answer any more.
    pub(super) fn asks(&self, question: &Question) -> Option<Fingerprint> {
        self.picture
            .filter(|_| self.question == *question && !self.members.is_empty())
    }

    /// The picture, once the thread has told it.
    pub(super) fn picture(&self) -> Option<Fingerprint> {
        self.picture
    }

    /// How many wait for this answer.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    /// Has `job` wait for this answer.
    pub(super) fn join(&mut self, job: Job) {
        self.members.push(member(job).1);
    }

    /// Takes one out who does not wait any more. When nobody is left, the work is stopped.
    pub(super) fn leave(&mut self, id: JobId) {
        self.members.retain(|member| member.id != id);
        if self.members.is_empty() {
            self.interrupt.cancel();
        }
    }

    /// Tells everybody. The first one's answer is the run's own, the others' are copies.
    pub(super) fn end(self, outcome: &Outcome) {
        for (place, member) in self.members.into_iter().enumerate() {
            let mut outcome = outcome.clone();
            if let Ok(answer) = &mut outcome {
                answer.shared = place > 0;
                answer.timings.queue = member.waited;
            }
            member.back.send(outcome);
        }
    }
}

fn member(job: Job) -> (Task, Member) {
    let id = job.id;
    let (task, queued, back) = job.split();
    let waited = queued.elapsed();
    (task, Member { id, waited, back })
}
