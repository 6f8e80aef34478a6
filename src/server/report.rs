//! Health, status and metrics: what the daemon tells of itself. All of it is read from memory and
//! `/proc`; nothing here waits for the inference thread.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde_json::{Value, json};

use super::ledger::{BOUNDS, Histogram, Ledger, STAGES};
use super::{Context, Phase};
use crate::inference::{Load, ModelState, Panics};
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
        Phase::Serving => model(context),
    };
    // What went wrong with a reload does not keep anybody from predictions, but somebody shall know.
    match context.problem().as_ref() {
        Some(problem) => (state, format!("{message}; {problem}")),
        None => (state, message),
    }
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

fn counts(history: &History) -> BTreeMap<&'static str, u64> {
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

fn is_loaded(context: &Context) -> bool {
    matches!(context.inference.model_state(), ModelState::Loaded { .. })
}

/// The OpenMetrics text of a metrics reply.
pub(super) fn metrics(context: &Context) -> String {
    let mut registry = Registry::with_prefix("dermald");
    registry.register_collector(Box::new(Snapshot::of(context)));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => text,
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            "# EOF\n".into()
        }
    }
}

/// The figures of one moment. The counters themselves are the [`Ledger`]'s: plain data that can be
/// carried along, which the library's own metrics cannot.
#[derive(Debug)]
struct Snapshot {
    outcomes: Vec<(String, u64)>,
    stages: [Histogram; STAGES.len()],
    panics: Panics,
    load: Load,
    memory: Memory,
    connections: usize,
    renewals: BTreeMap<&'static str, u64>,
    coalesced: u64,
    memory_limit: Option<u64>,
    loaded: bool,
    model: [(&'static str, String); 3],
}

impl Snapshot {
    fn of(context: &Context) -> Self {
        let ledger: &Ledger = &context.ledger();
        let manifest = &context.bundle.manifest;
        Snapshot {
            outcomes: ledger
                .outcomes
                .iter()
                .map(|(name, count)| (name.clone(), *count))
                .collect(),
            stages: ledger.stages,
            panics: context.inference.panics(),
            load: context.inference.load(),
            memory: Memory::read(),
            connections: context.connections.load(Ordering::Relaxed),
            renewals: counts(&context.history()),
            coalesced: ledger.coalesced,
            memory_limit: context.settings.renewal.memory,
            loaded: is_loaded(context),
            model: [
                ("name", manifest.name.clone()),
                ("version", manifest.version.clone()),
                ("digest", context.bundle.digest.clone()),
            ],
        }
    }
}

/// A figure as the library wants it. No figure here comes near 2^63.
fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

impl Collector for Snapshot {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let requests = "Answers by outcome: ok, or the code of the error";
        let mut family = out.encode_descriptor("requests", requests, None, MetricType::Counter)?;
        for (outcome, count) in &self.outcomes {
            let label = [("outcome", outcome.as_str())];
            ConstCounter::new(*count).encode(family.encode_family(&label)?)?;
        }

        let help = "Defects that cost a request its answer, by what was worked on";
        let mut family = out.encode_descriptor("panics", help, None, MetricType::Counter)?;
        for (work, count) in [
            ("picture", self.panics.picture),
            ("model", self.panics.model),
        ] {
            ConstCounter::new(count).encode(family.encode_family(&[("work", work)])?)?;
        }

        let help = "Answers that were copies of one that was asked for at the same time";
        let coalesced = out.encode_descriptor("coalesced", help, None, MetricType::Counter)?;
        ConstCounter::new(self.coalesced).encode(coalesced)?;

        let help = "Fresh images of the process by reason";
        let mut family = out.encode_descriptor("renewals", help, None, MetricType::Counter)?;
        for (reason, count) in &self.renewals {
            let label = [("reason", *reason)];
            ConstCounter::new(*count).encode(family.encode_family(&label)?)?;
        }

        let help = "Time of each stage of the predictions that were answered";
        let seconds = Some(&Unit::Seconds);
        let mut family = out.encode_descriptor("stage", help, seconds, MetricType::Histogram)?;
        for (stage, histogram) in STAGES.iter().zip(&self.stages) {
            encode_histogram(histogram, family.encode_family(&[("stage", *stage)])?)?;
        }

        let bytes = Some(&Unit::Bytes);
        let help = "Memory of the daemon by kind; rss is the sum of the other three";
        let mut family = out.encode_descriptor("memory", help, bytes, MetricType::Gauge)?;
        let memory = &self.memory;
        let kinds = [
            ("rss", memory.rss),
            ("anonymous", memory.anonymous),
            ("file", memory.file),
            ("shared", memory.shared),
        ];
        for (kind, value) in kinds {
            gauge(value).encode(family.encode_family(&[("kind", kind)])?)?;
        }

        if let Some(limit) = self.memory_limit {
            let help = "Memory past which the daemon renews itself";
            let out = out.encode_descriptor("memory_limit", help, bytes, MetricType::Gauge)?;
            gauge(limit).encode(out)?;
        }

        let gauges = [
            (
                "queue_requests",
                "Requests that wait",
                self.load.waiting as u64,
            ),
            (
                "queue_picture_bytes",
                "Bytes of pictures that wait",
                self.load.bytes as u64,
            ),
            (
                "running",
                "1 while a request is worked on",
                u64::from(self.load.running),
            ),
            ("connections", "Open connections", self.connections as u64),
            (
                "model_loaded",
                "1 while the model is in memory",
                u64::from(self.loaded),
            ),
        ];
        for (name, help, value) in gauges {
            gauge(value).encode(out.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }

        let version = [("version", env!("CARGO_PKG_VERSION"))];
        let mut build = out.encode_descriptor("build", "The daemon", None, MetricType::Info)?;
        build.encode_info(&version)?;
        let mut model = out.encode_descriptor("model", "The model", None, MetricType::Info)?;
        model.encode_info(&self.model)
    }
}

fn encode_histogram(
    histogram: &Histogram,
    mut out: MetricEncoder<'_>,
) -> Result<(), std::fmt::Error> {
    let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(histogram.buckets).collect();
    let (sum, count) = (histogram.sum_seconds, histogram.count());
    out.encode_histogram::<prometheus_client::encoding::NoLabelSet>(sum, count, &buckets, None)
}
