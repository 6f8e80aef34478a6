//! When the server leaves for another image, and how it takes over from one.
//!
//! Leaving: the inference thread is paused and finishes what it runs, while clients are served as ever.
//! Once it is at rest, every connection hands itself in at the point where it waits, so nothing of it is
//! half-done; requests that wait are taken out of the queue. What the kernel's socket buffers hold stays
//! there. Taking over is the same backwards.
//!
//! A reload is first tried by a process of its own (`dermald check`), which reads the configuration,
//! the model and the binary that the new image would be made of. Only when it is content is anything
//! given up here.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::net;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use tokio::net::UnixStream;

use super::carried::{Carried, Client};
use super::connection::Connection;
use super::incoming::Frame;
use super::{Phase, Server};
use crate::inference::ModelState;
use crate::lifecycle::clock::Moment;
use crate::lifecycle::history::{Crossed, Renewal};
use crate::lifecycle::memory::Memory;
use crate::lifecycle::renewal::{Reason, Sample, due};
use crate::wire::message::GoingAway;
use crate::wire::{self, Extensions, Reply, Text};

/// Everything that another image needs of the server.
#[derive(Debug)]
pub struct Departure {
    /// Why.
    pub reason: Reason,
    /// Whether the model was in memory.
    pub loaded: bool,
    /// Whether a reload was asked for that this is not.
    pub reload_asked: bool,
    /// Digest of the model that a reload was found good with.
    pub checked_model: Option<String>,
    /// Plain data.
    pub carried: Carried,
    /// Each connection's descriptor, and whether it stands between two replies.
    pub connections: Vec<(OwnedFd, bool)>,
}

/// What a server takes over: from an image before, or back from a departure that failed.
#[derive(Debug)]
pub struct Arrival {
    /// Plain data.
    pub carried: Carried,
    /// Each connection's descriptor, in the same order.
    pub connections: Vec<OwnedFd>,
    /// Whether to load the model again.
    pub load: bool,
    /// Whether a reload is to be tried.
    pub reload_asked: bool,
    /// What was renewed, or why nothing was.
    pub outcome: Result<Reason, String>,
}

impl Server {
    /// Looks at memory and clock, and wants what is due.
    pub(super) fn consider(&mut self) {
        let memory = Memory::read();
        self.context.history().sample(&memory);
        if self.renewals.wanted.is_some() || self.renewals.checking.is_some() {
            return;
        }
        let activity = self.context.inference.activity();
        let sample = Sample {
            memory,
            has_worked: activity.has_worked,
            failed: matches!(self.context.inference.model_state(), ModelState::Failed(_)),
            requests: activity.jobs,
            idle: activity.since.elapsed(),
            lifetime: self.renewals.born.elapsed(),
        };
        if let Some(reason) = due(&self.renewals.limits, &sample) {
            self.want(reason);
        }
    }

    /// Leaves as soon as the inference thread is at rest.
    pub(super) fn want(&mut self, reason: Reason) {
        // A reload does what all the others do, and more.
        if self.renewals.wanted.is_none() || reason == Reason::Reload {
            self.renewals.wanted = Some(reason);
        }
        self.context.inference.pause();
        self.context.phase.send_replace(Phase::Renewing);
    }

    /// After the trial of a reload.
    pub(super) fn checked(&mut self, result: Result<String, String>) {
        match result {
            // If another was asked for meanwhile, the next image tries that.
            Ok(digest) => {
                self.renewals.checked_model = Some(digest);
                self.want(Reason::Reload);
            }
            Err(_) if std::mem::take(&mut self.renewals.once_more) => self.renewals.check(),
            Err(reason) => {
                tracing::error!(reason, "the reload was refused; everything stays as it is");
                *self.context.problem() = Some(format!("the last reload was refused: {reason}"));
                self.context.ledger().count("reload_refused");
            }
        }
    }

    /// Gathers everything that is to pass.
    pub(super) async fn depart(&mut self, reason: Reason) -> Departure {
        let reload_asked = self.renewals.end_check().await;
        let paused = Moment::now();
        let rss = Memory::read().rss;
        self.context.phase.send_replace(Phase::Leaving);
        let mut handed_in = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            handed_in.extend(ended.ok().flatten());
        }
        let waiting = self.context.inference.take_waiting();
        let mut waiting: HashMap<_, Bytes> = waiting.into_iter().collect();
        let (mut clients, mut connections) = (Vec::new(), Vec::new());
        let mut crossed = Crossed::default();
        for connection in handed_in {
            match connection.carry(&mut waiting) {
                Ok((fd, client)) => {
                    client.count(&mut crossed);
                    connections.push((fd, client.unsent.between));
                    clients.push(client);
                }
                Err(error) => tracing::error!(%error, "a connection could not be handed in"),
            }
        }
        let model = self.context.inference.model_state();
        Departure {
            reason,
            reload_asked,
            checked_model: self.renewals.checked_model.take(),
            // One that does not come to an end is not loaded again before somebody asks for it.
            loaded: matches!(model, ModelState::Loaded { .. })
                || (model == ModelState::Loading && reason != Reason::Hang),
            carried: Carried {
                connections: clients,
                ledger: self.context.ledger().clone(),
                history: self.context.history().clone(),
                panics: self.context.inference.panics(),
                hung: self.hangs.pictures.clone(),
                problem: self.context.problem().clone(),
                paused,
                crossed,
                rss,
            },
            connections,
        }
    }

    /// Goes on with what an image before, or a departure that failed, left.
    pub fn take_over(&mut self, arrival: Arrival) {
        let Arrival {
            carried,
            connections,
            load,
            reload_asked,
            outcome,
        } = arrival;
        self.renewals.wanted = None;
        // After a failure the next attempt is not made at once.
        self.renewals.born = Instant::now();
        self.context.phase.send_replace(Phase::Serving);
        *self.context.ledger() = carried.ledger;
        *self.context.history() = carried.history;
        *self.context.problem() = carried.problem;
        self.context.took_over.store(load, Ordering::Relaxed);
        self.hangs.pictures = carried.hung;
        for picture in self.hangs.refused() {
            self.context.inference.refuse(picture);
        }
        let pause = carried.paused.age();
        let restored = self.restore(carried.connections, connections);
        match &outcome {
            Ok(reason) => {
                self.context.inference.add_panics(carried.panics);
                let renewal = Renewal {
                    at: Moment::now(),
                    reason: *reason,
                    pause,
                    rss_before: carried.rss,
                    crossed: carried.crossed,
                };
                tell(&renewal);
                self.context.history().renewed(renewal);
            }
            Err(error) => {
                tracing::error!(error, "there was no renewal; the old image goes on");
                *self.context.problem() = Some(format!("there was no renewal: {error}"));
            }
        }
        let outcome = outcome.map(|_| pause);
        for mut connection in restored {
            connection.renewed(&outcome);
            self.clients.spawn(connection.run());
        }
        if load {
            self.context.inference.preload();
        }
        self.context.inference.resume();
        if reload_asked {
            self.renewals.check();
        }
    }

    /// Connections as they were, with the requests that waited in their order.
    fn restore(&self, clients: Vec<Client>, connections: Vec<OwnedFd>) -> Vec<Connection> {
        let (mut restored, mut waiting) = (Vec::new(), Vec::new());
        for (client, fd) in clients.into_iter().zip(connections) {
            let stream = match stream(fd) {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::error!(%error, "a connection could not be taken over");
                    continue;
                }
            };
            let (connection, requests) = Connection::restore(stream, client, &self.context);
            let place = restored.len();
            waiting.extend(requests.into_iter().map(|request| (request, place)));
            restored.push(connection);
        }
        waiting.sort_unstable_by_key(|(request, _)| request.order);
        for (request, place) in waiting {
            let frame = Frame::again(Bytes::from(request.frame), request.begun);
            restored[place].take_again(&frame);
        }
        restored
    }
}

fn stream(fd: OwnedFd) -> std::io::Result<UnixStream> {
    let stream = net::UnixStream::from(fd);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn tell(renewal: &Renewal) {
    let Crossed {
        connections,
        half_read,
        queued,
        half_written,
    } = renewal.crossed;
    tracing::info!(
        reason = renewal.reason.name(),
        pause_ms = renewal.pause.as_millis(),
        rss_mib_before = renewal.rss_before >> 20,
        rss_mib = Memory::read().rss >> 20,
        connections,
        half_read,
        queued,
        half_written,
        "renewed"
    );
}

/// Sends clients away whose state cannot be read. Where a reply is half-written, hanging up is all that
/// can be said.
pub fn dismiss(connections: Vec<(OwnedFd, bool)>) {
    let mut frame = BytesMut::new();
    wire::encode(
        &Reply::GoingAway(GoingAway {
            reason: Text::from("renewing"),
            message: Text::from("another version of the daemon took over; connect again"),
            extensions: Extensions::default(),
        }),
        &mut frame,
    );
    for (fd, between) in connections {
        let stream = net::UnixStream::from(fd);
        if between
            && let Err(error) = stream
                .set_nonblocking(true)
                .and_then(|()| std::io::Write::write_all(&mut &stream, &frame))
        {
            tracing::debug!(%error, "a client could not be sent away");
        }
    }
}
