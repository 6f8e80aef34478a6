//! Health and status: what the daemon tells of itself. All of it is read from memory and
//! `/proc`; nothing here waits for the inference thread.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{Context, Phase};
use crate::inference::ModelState;
use crate::lifecycle::history::{Crossed, History, Renewal, Ring, Sample};
use crate::lifecycle::memory::Memory;

/// `state` and `message` of a health reply.
pub(super) fn health(context: &Context) -> (&'static str, String) {
    let (state, message) = match *context.phase.borrow() {
        Phase::Draining | Phase::Closing => ("stopping", "the daemon was told to stop".into()),
        Phase::Renewing | Phase::Leaving => (
            "renewing",
            "the daemon finishes a request, and then starts afresh".into(),
        ),
        Phase::Serving => stuck(context).unwrap_or_else(|| model(context)),
    };
    // What went wrong with a reload does not keep anybody from predictions, but somebody shall know.
    match context.problem().as_ref() {
        Some(problem) => (state, format!("{message}; {problem}")),
        None => (state, message),
    }
}

/// Whether the inference thread hangs.
fn stuck(context: &Context) -> Option<(&'static str, String)> {
    let taken = context.inference.pulse().in_step_for();
    let limit = context.settings.hang_limit?;
    let seconds = taken.as_secs();
    (taken >= limit).then(|| {
        let message =
            format!("the inference thread has been in one step for {seconds} s (hang_limit)");
        ("stuck", message)
    })
}

fn model(context: &Context) -> (&'static str, String) {
    match context.inference.model_state() {
        ModelState::Unloaded => ("ready", "the model is loaded at the first request".into()),
        ModelState::Loading if context.took_over.load(Ordering::Relaxed) => (
            "renewing",
            "the daemon started afresh; the model is being loaded again".into(),
        ),
        ModelState::Loading => ("starting", "the model is being loaded".into()),
        ModelState::Loaded { prepared: true } => ("ready", "the model is loaded".into()),
        ModelState::Loaded { prepared: false } => (
            "ready",
            "the model is loaded, but not prepared for this CPU; the log says why".into(),
        ),
        ModelState::Failed(reason) => ("failed", reason),
    }
}

/// The JSON object of a status reply. Keys are only ever added. Sizes are in bytes.
pub(super) fn status(context: &Context) -> String {
    let (state, message) = health(context);
    let manifest = &context.bundle.manifest;
    let load = context.inference.load();
    let limits = &context.settings.limits;
    let panics = context.inference.panics();
    let ledger = context.ledger();
    let history = context.history();
    json!({
        "daemon": { "version": env!("CARGO_PKG_VERSION"), "pid": std::process::id() },
        "state": state,
        "message": message,
        "uptime_seconds": ledger.started.age().as_secs(),
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "digest": context.bundle.digest,
            "description": manifest.description,
            "origin": manifest.origin,
            "licence": manifest.licence,
            "notice": manifest.notice,
            "loaded": is_loaded(context),
            "prepared": context.inference.model_state() == ModelState::Loaded { prepared: true },
            "precision": manifest.precision,
            "explains": manifest.gradcam.is_some(),
            "method": manifest.gradcam.as_ref().map(|gradcam| gradcam.method),
            "input": { "width": manifest.input.width, "height": manifest.input.height },
            "labels": manifest.labels.0.iter()
                .map(|label| json!({ "name": label.name, "titles": label.titles }))
                .collect::<Vec<_>>(),
        },
        "memory": Memory::read(),
        "memory_limit": context.settings.renewal.memory,
        "memory_measure": context.settings.renewal.measure.name(),
        "memory_history": {
            "hour": samples(&history.fine),
            "day": samples(&history.coarse),
        },
        "renewals": {
            "counts": counts(&history),
            "recent": history.renewals.iter().map(renewal).collect::<Vec<_>>(),
            "carried": crossed(&history.crossed),
        },
        "queue": {
            "requests": load.waiting,
            "bytes": load.bytes,
            "running": load.running,
            "sharing": load.sharing,
            "limit_requests": limits.queue_requests,
            "limit_bytes": limits.queue_bytes,
        },
        "connections": context.connections.load(Ordering::Relaxed),
        "outcomes": ledger.outcomes,
        "runs": ledger.runs(),
        "coalesced": ledger.coalesced,
        "panics": { "picture": panics.picture, "model": panics.model },
        "sandbox": context.settings.sandbox,
    })
    .to_string()
}

/// Of each step how long ago it began, and the highest figures in it, oldest first.
fn samples(ring: &Ring) -> Value {
    let sample = |sample: &Sample| {
        json!([
            sample.at.age().as_secs(),
            sample.rss,
            sample.anonymous,
            sample.peak
        ])
    };
    json!({
        "step_seconds": ring.step().as_secs(),
        "columns": ["seconds_ago", "rss", "anonymous", "peak"],
        "samples": ring.samples().map(sample).collect::<Vec<_>>(),
    })
}

/// Renewals by reason.
pub(super) fn counts(history: &History) -> BTreeMap<&'static str, u64> {
    let counts = history.counts.iter();
    counts
        .map(|(reason, count)| (reason.name(), *count))
        .collect()
}

fn renewal(renewal: &Renewal) -> Value {
    json!({
        "seconds_ago": renewal.at.age().as_secs(),
        "reason": renewal.reason.name(),
        "pause_ms": renewal.pause.as_millis(),
        "rss_before": renewal.rss_before,
        "carried": crossed(&renewal.crossed),
    })
}

fn crossed(crossed: &Crossed) -> Value {
    json!({
        "connections": crossed.connections,
        "half_read": crossed.half_read,
        "queued": crossed.queued,
        "half_written": crossed.half_written,
    })
}

pub(super) fn is_loaded(context: &Context) -> bool {
    matches!(context.inference.model_state(), ModelState::Loaded { .. })
}
