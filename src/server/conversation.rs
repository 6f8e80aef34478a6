//! What is said on a connection: the hello, requests, answers, and the farewell.

use std::time::Duration;

use nix::unistd::geteuid;
use tokio::time::Instant;

use super::connection::{Connection, Pending};
use super::incoming::Frame;
use super::translate::Wanted;
use super::{Phase, metrics, report, translate};
use crate::inference::{Busy, Finished, Ticket};
use crate::wire::message::{self, About};
use crate::wire::{self, Code, Extensions, MessageError, Reply, Request, Text};

/// Name and version, as they stand in the welcome.
const DAEMON: &str = concat!("dermald/", env!("CARGO_PKG_VERSION"));

impl Connection {
    /// Understands one frame.
    pub(super) fn receive(&mut self, frame: &Frame) {
        match wire::decode::<Request>(&frame.bytes) {
            Ok(Request::Hello(hello)) if !self.greeted => self.greet(&hello),
            Ok(Request::Hello(_)) => {
                self.send_away(Code::HelloExpected.error(None, "a second hello"));
            }
            Err(MessageError::Malformed(reason)) => {
                self.send_away(Code::Malformed.error(None, reason));
            }
            _ if !self.greeted => {
                let message = "the first message must be a hello";
                self.send_away(Code::HelloExpected.error(None, message));
            }
            Ok(Request::Predict(request)) => self.predict(request, frame),
            Ok(Request::Health(about)) => self.tell_health(&about),
            Ok(Request::Status(About { id, .. })) => {
                let json = Text(report::status(&self.context));
                let extensions = Extensions::default();
                self.send(&Reply::Status(message::Status {
                    id,
                    json,
                    extensions,
                }));
            }
            Ok(Request::Metrics(About { id, .. })) => {
                let text = Text(metrics::text(&self.context));
                let extensions = Extensions::default();
                self.send(&Reply::Metrics(message::Metrics {
                    id,
                    text,
                    extensions,
                }));
            }
            Ok(Request::Renew(about)) => self.ask_for_renewal(&about),
            Err(error @ MessageError::Unknown { id, .. }) => {
                self.reject(Code::UnknownMessage.error(id, error.to_string()));
            }
        }
    }

    fn greet(&mut self, hello: &message::Hello) {
        let (oldest, newest) = (hello.oldest, hello.newest);
        let advice = if oldest > newest {
            Some("oldest is above newest: the hello makes no sense")
        } else if oldest > wire::VERSION {
            Some("this dermald is too old for the client: upgrade dermald")
        } else if newest < wire::VERSION {
            Some("the client is too old for this dermald: upgrade the client")
        } else {
            None
        };
        if let Some(advice) = advice {
            let spoken = wire::VERSION;
            return self.send_away(Code::UnsupportedVersion.error(
                None,
                format!("{advice} (the client speaks {oldest} to {newest}, the daemon {spoken})"),
            ));
        }
        tracing::debug!(peer = %self.peer, client = %hello.client, "hello");
        self.greet_back();
        self.send(&Reply::Welcome(message::Welcome {
            version: wire::VERSION,
            daemon: Text::from(DAEMON),
            limits: self.context.settings.limits.clone(),
            extensions: Extensions::default(),
        }));
    }

    fn tell_health(&mut self, about: &About) {
        let (state, message) = report::health(&self.context);
        self.send(&Reply::Health(message::Health {
            id: about.id,
            state: Text::from(state),
            message: Text(message),
            extensions: Extensions::default()
                .with("model", Some(self.context.bundle.digest.clone()))
                .with("version", Some(env!("CARGO_PKG_VERSION"))),
        }));
    }

    fn predict(&mut self, request: message::Predict, frame: &Frame) {
        let id = request.id;
        if self.pending.values().any(|pending| pending.wanted.id == id) {
            // An error with this id could not be told from the other request's answer.
            let message = format!("id {id} belongs to a request that is not answered yet");
            return self.send_away(Code::InvalidRequest.error(None, message));
        }
        if let Err(error) = self.admit(request, frame) {
            tracing::info!(outcome = %error.code, peer = %self.peer, "prediction not admitted");
            self.reject(error);
        }
    }

    /// Takes in again what an image before had admitted.
    pub(super) fn take_again(&mut self, frame: &Frame) {
        let Ok(Request::Predict(request)) = wire::decode::<Request>(&frame.bytes) else {
            return tracing::error!("the image before carried something that is no prediction");
        };
        let longest = self.longest();
        match translate::task(request, frame, &self.context.bundle, longest) {
            Ok((task, wanted)) => {
                let deadline = Instant::from_std(task.deadline);
                let ticket = self
                    .context
                    .inference
                    .submit_again(task, self.finished.clone());
                self.wait_for(ticket, wanted, deadline, frame);
            }
            // Possible when there is another model now.
            Err(error) => self.reject(error),
        }
    }

    /// Renewals are the owner's business: they read files and start programs.
    fn ask_for_renewal(&mut self, about: &About) {
        if ![geteuid().as_raw(), 0].contains(&self.peer.uid) {
            let message = "only root and the user that dermald runs as may renew it";
            return self.reject(Code::NotAllowed.error(Some(about.id), message));
        }
        if self.phase().is_ending() {
            let message = "the daemon stops";
            return self.reject(Code::GoingAway.error(Some(about.id), message));
        }
        self.renewals.push(about.id);
        self.context.asked.notify_one();
    }

    /// Answers those who asked for a renewal.
    pub(super) fn renewed(&mut self, outcome: &Result<Duration, String>) {
        for id in std::mem::take(&mut self.renewals) {
            match outcome {
                Ok(pause) => self.send(&Reply::Renewed(message::Renewed {
                    id,
                    pause_us: u32::try_from(pause.as_micros()).unwrap_or(u32::MAX),
                    extensions: Extensions::default(),
                })),
                Err(reason) => self.reject(Code::RenewalFailed.error(Some(id), reason.as_str())),
            }
        }
    }

    fn admit(&mut self, request: message::Predict, frame: &Frame) -> Result<(), message::Error> {
        let id = request.id;
        if self.phase().is_ending() {
            return Err(Code::GoingAway.error(Some(id), "the daemon stops; nothing was run"));
        }
        let limits = &self.context.settings.limits;
        if self.pending.len() >= limits.requests_per_connection as usize {
            let most = limits.requests_per_connection;
            let message = format!("{most} requests of this connection are unanswered");
            return Err(Code::InvalidRequest.error(Some(id), message));
        }
        self.context
            .taken()
            .ask(self.peer.uid, std::time::Instant::now())
            .map_err(|busy| {
                busy_error(
                    id,
                    busy,
                    "this user asks for more predictions than rate_limit allows",
                )
            })?;
        let longest = self.longest();
        let (task, wanted) = translate::task(request, frame, &self.context.bundle, longest)?;
        let deadline = Instant::from_std(task.deadline);
        let ticket = self
            .context
            .inference
            .submit(task, self.finished.clone())
            .map_err(|busy| busy_error(id, busy, "the queue is full"))?;
        self.wait_for(ticket, wanted, deadline, frame);
        Ok(())
    }

    /// The longest time that a request may take.
    fn longest(&self) -> Duration {
        Duration::from_millis(self.context.settings.limits.deadline_ms.into())
    }

    fn wait_for(&mut self, ticket: Ticket, wanted: Wanted, deadline: Instant, frame: &Frame) {
        let pending = Pending {
            wanted,
            deadline,
            arrived: frame.begun,
            ticket,
        };
        self.pending.insert(pending.ticket.id, pending);
    }

    /// Passes on what the inference thread made of a request. One that was answered otherwise
    /// meanwhile (its deadline passed) is unknown here and ignored.
    pub(super) fn answer(&mut self, finished: Finished) {
        let Some(pending) = self.pending.remove(&finished.id) else {
            return;
        };
        let wanted = &pending.wanted;
        match finished.outcome {
            Ok(answer) => {
                self.context.ledger().answered(&answer);
                self.log(&pending, "ok");
                let prediction = translate::prediction(answer, wanted, &self.context.bundle);
                self.send(&Reply::Prediction(prediction));
            }
            Err(failure) => {
                let error = translate::failure(&failure, wanted.id);
                self.log(&pending, &error.code);
                self.reject(error);
            }
        }
    }

    /// Answers every request whose deadline has passed. Its job is given up with it.
    pub(super) fn expire(&mut self, now: Instant) {
        let late = self
            .pending
            .extract_if(|_, pending| pending.deadline <= now);
        for (_, pending) in late.collect::<Vec<_>>() {
            let waited = pending.arrived.elapsed().as_millis();
            let message = format!("no answer within {waited} ms; the request was given up");
            self.log(&pending, Code::DeadlineExceeded.name());
            self.reject(Code::DeadlineExceeded.error(Some(pending.wanted.id), message));
        }
    }

    /// Follows the daemon towards its end.
    pub(super) fn enter(&mut self, phase: Phase) {
        if phase != Phase::Closing {
            return;
        }
        for (_, pending) in std::mem::take(&mut self.pending) {
            let message = "the daemon stops; the request was not finished";
            self.log(&pending, Code::GoingAway.name());
            self.reject(Code::GoingAway.error(Some(pending.wanted.id), message));
        }
        self.say_good_bye();
    }

    /// While the daemon drains, a client with nothing left to wait for is sent on its way.
    pub(super) fn send_away_when_idle(&mut self) {
        if self.phase().is_ending() && self.pending.is_empty() && !self.closing {
            self.say_good_bye();
        }
    }

    /// Says what is wrong, and ends the conversation.
    pub(super) fn send_away(&mut self, error: message::Error) {
        tracing::warn!(peer = %self.peer, code = %error.code, message = %error.message, "sent away");
        self.reject(error);
        self.give_up();
        self.closing = true;
    }

    fn say_good_bye(&mut self) {
        self.send(&Reply::GoingAway(message::GoingAway {
            reason: Text::from("stopping"),
            message: Text::from("the daemon was told to stop"),
            extensions: Extensions::default(),
        }));
        self.closing = true;
    }

    pub(super) fn reject(&mut self, error: message::Error) {
        self.context.ledger().count(&error.code);
        self.send(&Reply::Error(error));
    }

    fn phase(&self) -> Phase {
        *self.context.phase.borrow()
    }

    /// One line a request; nothing of the picture is in it.
    pub(super) fn log(&self, pending: &Pending, outcome: &str) {
        tracing::info!(
            outcome,
            took_ms = pending.arrived.elapsed().as_millis(),
            peer = %self.peer,
            traceparent = pending.wanted.traceparent.as_deref(),
            "prediction"
        );
    }
}

fn busy_error(id: u64, busy: Busy, why: &str) -> message::Error {
    let hint = u32::try_from(busy.retry_after.as_millis()).unwrap_or(u32::MAX);
    let message = format!("{why}; try again in {hint} ms");
    message::Error {
        retry_after_ms: Some(hint),
        ..Code::Busy.error(Some(id), message)
    }
}
