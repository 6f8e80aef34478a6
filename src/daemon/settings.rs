//! What each room is told of the configuration.

use std::sync::Arc;

use crate::config::{self, Config, LogFormat, MemoryLimit, MemoryMeasure, WaitPolicy, environment};
use crate::image::PictureLimits;
use crate::inference::{self, QueueLimits};
use crate::lifecycle::renewal::{Limits as RenewalLimits, Measure};
use crate::lifecycle::sandbox::Sandbox;
use crate::lifecycle::{cgroup, supervised};
use crate::model::Bundle;
use crate::model::prepared::Cache;
use crate::server::{self, Shares};
use crate::wire::message::Limits;

/// What the inference thread is told.
#[must_use]
pub fn inference_settings(config: &Config, bundle: Arc<Bundle>) -> inference::Settings {
    inference::Settings {
        bundle,
        cache: Cache::new(&config.cache),
        library: config.onnxruntime.clone(),
        threads: config.threads,
        spin: config.wait_policy == WaitPolicy::Active,
        grad_cam: config.grad_cam,
        pictures: PictureLimits {
            pixels: config.max_pixels,
            bytes: config.decode_bytes.as_u64(),
        },
        queue: QueueLimits {
            jobs: config.queue_requests as usize,
            bytes: usize::try_from(config.queue_bytes.as_u64()).unwrap_or(usize::MAX),
        },
        refused: environment::refused_pictures(),
        leak: if environment::rehearses("leak") {
            1 << 20
        } else {
            0
        },
        memory: memory_limit(config).map(|bytes| inference::MemoryLimit {
            bytes,
            measure: measure(config),
            buffers: (config.queue_bytes + config.frame_bytes).as_u64(),
        }),
    }
}

/// When an image is to be followed by another.
fn renewal_limits(config: &Config) -> RenewalLimits {
    RenewalLimits {
        memory: memory_limit(config),
        measure: measure(config),
        idle: config.idle,
        requests: config.max_requests,
        requests_jitter: config.max_requests_jitter,
        least_lifetime: config.least_lifetime,
    }
}

fn measure(config: &Config) -> Measure {
    match config.memory_measure {
        MemoryMeasure::Rss => Measure::Rss,
        MemoryMeasure::Anonymous => Measure::Anonymous,
    }
}

/// In bytes. A share is one of what the control group may take, or the machine has.
fn memory_limit(config: &Config) -> Option<u64> {
    match config.memory_limit? {
        MemoryLimit::Size(size) => Some(size.as_u64()),
        MemoryLimit::Percent(percent) => Some(cgroup::memory() / 100 * u64::from(percent)),
    }
}

pub(super) fn server_settings(config: &Config, sandbox: Sandbox) -> server::Settings {
    server::Settings {
        limits: Limits {
            frame_bytes: u32::try_from(config.frame_bytes.as_u64()).unwrap_or(u32::MAX),
            queue_requests: config.queue_requests,
            queue_bytes: config.queue_bytes.as_u64(),
            requests_per_connection: config.requests_per_connection,
            deadline_ms: u32::try_from(config.deadline.as_millis()).unwrap_or(u32::MAX),
        },
        max_connections: config.max_connections as usize,
        shares: Shares {
            rate: config.rate_limit,
            connections: config.connections_per_user.unwrap_or(u32::MAX) as usize,
        },
        stall_timeout: config.stall_timeout,
        grace: config.grace,
        renewal: renewal_limits(config),
        hang_limit: config.hang_limit,
        on_hang: match config.on_hang {
            // Its supervisor misses the heartbeat.
            config::OnHang::Auto if supervised::alive_every().is_some() => server::OnHang::Wait,
            config::OnHang::Auto | config::OnHang::Renew => server::OnHang::Renew,
            config::OnHang::Exit => server::OnHang::Exit,
            config::OnHang::Wait => server::OnHang::Wait,
        },
        sandbox,
    }
}

/// Sends log events to standard error, in the configured form.
pub fn start_log(config: &Config) {
    use std::io::IsTerminal;

    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let ours = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("dermald", config.log_level);
    let registry = tracing_subscriber::registry().with(ours);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
        LogFormat::Auto => {
            registry
                .with(layer.with_ansi(std::io::stderr().is_terminal()))
                .init();
        }
    }
}
