//! The daemon's figures as OpenMetrics text. They are the ledger's, the history's and the kernel's; the
//! library only writes them down.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::Context;
use super::ledger::{BOUNDS, Histogram, Ledger, STAGES};
use super::report::{counts, health, is_loaded};
use crate::inference::{Load, Panics};
use crate::lifecycle::memory::Memory;

/// The OpenMetrics text of a metrics reply.
pub(super) fn text(context: &Context) -> String {
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
    state: &'static str,
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
            state: health(context).0,
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
                "ready",
                "1 while predictions are answered, be it a moment later",
                u64::from(["ready", "renewing"].contains(&self.state)),
            ),
            (
                "stuck",
                "1 while the inference thread hangs",
                u64::from(self.state == "stuck"),
            ),
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
