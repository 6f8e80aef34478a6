//! `dermald serve`: puts the rooms together, and takes them apart again.
//!
//! Everything that can be wrong with the set-up is found here, before the first client: the bundle,
//! the names of users and groups, the socket. What only ONNX Runtime can tell is found at the first
//! request, or at once with `preload`.

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, Loaded, LogFormat, WaitPolicy, environment};
use crate::image::PictureLimits;
use crate::inference::{self, Inference, QueueLimits};
use crate::lifecycle::{limits, memory::Memory, signals};
use crate::model::prepared::Cache;
use crate::model::{Bundle, BundleError};
use crate::server::peer::{Access, UnknownName};
use crate::server::socket::{Socket, SocketError};
use crate::server::{self, Server};
use crate::wire::message::Limits;

/// Descriptors that we need beside the connections: log, socket, lock, signals, model, library.
const SPARE: u64 = 32;

/// What stops the start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No bundle was named.
    #[error(
        "no model bundle: name its folder with --bundle, DERMALD_BUNDLE or `bundle` in the \
             configuration file"
    )]
    NoBundle,
    /// The bundle is not sound.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The site counts on another input size.
    #[error("{origin} is {wanted}, but the bundle {} takes {width} x {height} pixels; \
             convert the model with `dermald-model convert MODEL --input-size {wanted}`, \
             {otherwise}", bundle.display())]
    ImageSize {
        /// Where the size came from.
        origin: String,
        /// The size.
        wanted: u32,
        /// The bundle's.
        width: u32,
        /// The bundle's.
        height: u32,
        /// The bundle.
        bundle: PathBuf,
        /// What else would help.
        otherwise: String,
    },
    /// More connections than the process may have descriptors.
    #[error(
        "max_connections is {wanted}, but this process may have {allowed} descriptors only, \
             of which it needs {SPARE} for itself; lower it, or raise the limit \
             (ulimit -n, LimitNOFILE)"
    )]
    Descriptors {
        /// As configured.
        wanted: u32,
        /// The limit.
        allowed: u64,
    },
    /// A user or group does not exist.
    #[error(transparent)]
    Access(#[from] UnknownName),
    /// The socket cannot be ours.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The operating system refused a thread, a handler or a descriptor.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// Serves until a signal says stop.
///
/// # Errors
///
/// [`StartError`]; once clients are served, nothing of theirs ends the daemon.
pub fn serve(loaded: &Loaded) -> Result<(), StartError> {
    let config = &loaded.config;
    let bundle = Arc::new(open_bundle(loaded)?);
    let access = Access::new(&config.allow_users, &config.allow_groups)?;
    warn_of_oddities(config);
    let allowed = limits::raise_descriptors()?;
    if u64::from(config.max_connections) + SPARE > allowed {
        let wanted = config.max_connections;
        return Err(StartError::Descriptors { wanted, allowed });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let socket = Socket::listen(&config.socket, access.has_guests())?;
        let signals = signals::watch()?;
        let inference = Inference::start(inference_settings(config, Arc::clone(&bundle)))?;
        if config.preload {
            inference.preload();
        }
        tracing::info!(
            socket = %config.socket.display(),
            model = bundle.manifest.name,
            version = bundle.manifest.version,
            threads = config.threads,
            rss_mib = Memory::read().rss >> 20,
            "serving"
        );
        let settings = server_settings(config);
        Server::new(socket, settings, access, bundle, inference)
            .run(signals)
            .await;
        Ok(())
    })
}

fn open_bundle(loaded: &Loaded) -> Result<Bundle, StartError> {
    let folder = loaded.config.bundle.as_ref().ok_or(StartError::NoBundle)?;
    let bundle = Cache::new(&loaded.config.cache).open(folder)?;
    let (width, height) = (bundle.manifest.input.width, bundle.manifest.input.height);
    match loaded.config.image_size {
        Some(wanted) if (wanted, wanted) != (width, height) => Err(StartError::ImageSize {
            origin: loaded.origin("image_size").to_owned(),
            wanted,
            width,
            height,
            bundle: folder.clone(),
            otherwise: if width == height {
                format!("or set the size to {width}")
            } else {
                "or leave the size unset".into()
            },
        }),
        _ => Ok(bundle),
    }
}

/// What is allowed, but seldom meant.
fn warn_of_oddities(config: &Config) {
    for message in environment::unknown() {
        tracing::warn!("{message}");
    }
    // The standard library looks at affinity and at the CPU quota of the cgroup, v1 and v2.
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if config.threads > cpus {
        tracing::warn!(
            threads = config.threads,
            cpus,
            "more threads than the CPUs or the CPU quota that we have; they will hold each other up"
        );
    }
}

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
    }
}

fn server_settings(config: &Config) -> server::Settings {
    server::Settings {
        limits: Limits {
            frame_bytes: u32::try_from(config.frame_bytes.as_u64()).unwrap_or(u32::MAX),
            queue_requests: config.queue_requests,
            queue_bytes: config.queue_bytes.as_u64(),
            requests_per_connection: config.requests_per_connection,
            deadline_ms: u32::try_from(config.deadline.as_millis()).unwrap_or(u32::MAX),
        },
        max_connections: config.max_connections as usize,
        stall_timeout: config.stall_timeout,
        grace: config.grace,
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
