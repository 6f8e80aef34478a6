//! What of the server passes to the next image: plain data, without descriptors.
//!
//! A request that waits passes as the frame that it came in. The new image understands it anew, so
//! there is one way in which a request becomes a task, and a new model checks it by its own classes.

use bincode::{Decode, Encode};

use super::ledger::Ledger;
use crate::inference::{Fingerprint, Panics};
use crate::lifecycle::clock::Moment;
use crate::lifecycle::history::{Crossed, History};
use crate::wire::{Frames, frame};

/// Everything.
#[derive(Debug, Encode, Decode)]
pub struct Carried {
    /// Of each connection, in the order of their descriptors.
    pub(super) connections: Vec<Client>,
    pub(super) ledger: Ledger,
    pub(super) history: History,
    pub(super) panics: Panics,
    /// Pictures that the inference thread hung over.
    pub(super) hung: Vec<Fingerprint>,
    /// Why the last reload was refused.
    pub(super) problem: Option<String>,
    /// From when on nothing was read from clients.
    pub(super) paused: Moment,
    pub(super) crossed: Crossed,
    pub(super) rss: u64,
}

/// One connection.
#[derive(Debug, Encode, Decode)]
pub(super) struct Client {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) pid: Option<i32>,
    pub(super) admitted: bool,
    pub(super) greeted: bool,
    pub(super) closing: bool,
    pub(super) unread: Unread,
    pub(super) unsent: Unsent,
    pub(super) waiting: Vec<Waiting>,
    /// Ids of requests that wait for the renewal itself.
    pub(super) renewals: Vec<u64>,
}

/// What has arrived and was not understood yet.
#[derive(Debug, Encode, Decode)]
pub(super) struct Unread {
    pub(super) bytes: Vec<u8>,
    pub(super) begun: Option<Moment>,
    pub(super) waiting_since: Option<Moment>,
    pub(super) holds_room: bool,
}

/// What is ready and was not sent yet.
#[derive(Debug, Encode, Decode)]
pub(super) struct Unsent {
    pub(super) bytes: Vec<u8>,
    /// Of each reply where it ends in `bytes`, and when it was ready.
    pub(super) replies: Vec<(u64, Moment)>,
    /// Whether `bytes` begins with the beginning of a reply.
    pub(super) between: bool,
}

/// A request that waits for the inference thread.
#[derive(Debug, Encode, Decode)]
pub(super) struct Waiting {
    /// Its place among all that wait.
    pub(super) order: u64,
    pub(super) frame: Vec<u8>,
    pub(super) begun: Moment,
}

impl Carried {
    /// The set-up was read anew and is in use.
    pub(crate) fn reloaded(&mut self) {
        self.problem = None;
    }

    /// It was read anew and cannot be used.
    pub(crate) fn refused(&mut self, reason: &str) {
        self.problem = Some(format!("the last reload was refused: {reason}"));
    }
}

impl Unread {
    fn is_half_a_frame(&self) -> bool {
        let (announced, arrived) = (Frames::announced(&self.bytes), self.bytes.len());
        let whole = announced.map(|length| length as usize + frame::PREFIX);
        arrived > 0 && whole.is_none_or(|whole| arrived < whole)
    }
}

impl Client {
    /// Adds what is under way here to `crossed`.
    pub(super) fn count(&self, crossed: &mut Crossed) {
        crossed.connections += 1;
        crossed.half_read += u64::from(self.unread.is_half_a_frame());
        crossed.half_written += u64::from(!self.unsent.between);
        crossed.queued += self.waiting.len() as u64;
    }
}
