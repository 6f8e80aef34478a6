//! `dermald serve`: puts the rooms together, takes them apart again, and hands them on.
//!
//! Everything that can be wrong with the set-up is found here, before the first client: the bundle,
//! the names of users and groups, the socket. What only ONNX Runtime can tell is found at the first
//! request, or at once with `preload`.
//!
//! - [`settings`]: what each room is told of the configuration.
//! - [`renewal`]: one image of the process follows another.
//! - [`enclosure`]: which places the sandbox leaves it.

mod enclosure;
mod renewal;
mod settings;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::config::{Config, ConfigError, Loaded, environment};
use crate::inference::{Inference, Pulse};
use crate::lifecycle::handover::HandoverError;
use crate::lifecycle::{limits, memory::Memory, signals, supervised};
use crate::model::prepared::Cache;
use crate::model::{Bundle, BundleError};
use crate::server::peer::{Access, UnknownName};
use crate::server::socket::{Socket, SocketError};
use crate::server::{Arrival, End, Server};
pub use enclosure::{Enclosure, offered};
use renewal::Origin;
pub use renewal::{Predecessor, Successor};
use settings::server_settings;
pub use settings::{inference_settings, start_log};

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
    /// The configuration is not sound.
    #[error(transparent)]
    Config(#[from] ConfigError),
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
    /// A sandbox is required and cannot be had.
    #[error(
        "sandbox is \"required\", and there is none here: {0}; set it to \"auto\" to start without"
    )]
    NoSandbox(String),
    /// A reload asks for a place that was given up.
    #[error(
        "{what}: {} lies outside of the sandbox that the daemon entered when it was started, and nobody \
         leaves a sandbox: restart needed",
        path.display()
    )]
    Outside {
        /// The setting.
        what: &'static str,
        /// The place.
        path: PathBuf,
    },
    /// A reload asks to leave the sandbox.
    #[error("sandbox is \"off\" now, and nobody leaves a sandbox: restart needed")]
    SandboxStays,
    /// There is nothing to go on with.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// The operating system refused a thread, a handler or a descriptor.
    #[error("the operating system refused: {0}")]
    System(#[from] std::io::Error),
}

/// What a daemon is set up from. Making one finds everything that can be wrong before a client comes.
#[derive(Debug)]
pub struct Setup {
    /// The configuration.
    pub loaded: Loaded,
    /// The model.
    pub bundle: Arc<Bundle>,
    access: Access,
}

impl Setup {
    /// Checks the bundle and the names in the configuration.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn new(loaded: Loaded) -> Result<Self, StartError> {
        enclosure::possible(&loaded.config)?;
        let bundle = open_bundle(&loaded)?;
        Self::with(loaded, bundle)
    }

    fn with(loaded: Loaded, bundle: Bundle) -> Result<Self, StartError> {
        let config = &loaded.config;
        let access = Access::new(&config.allow_users, &config.allow_groups)?;
        let allowed = limits::raise_descriptors()?;
        if u64::from(config.max_connections) + SPARE > allowed {
            let wanted = config.max_connections;
            return Err(StartError::Descriptors { wanted, allowed });
        }
        Ok(Setup {
            bundle: Arc::new(bundle),
            access,
            loaded,
        })
    }

    fn config(&self) -> &Config {
        &self.loaded.config
    }
}

/// Serves until a signal says stop, on a socket that was `given` or on one of its own.
///
/// # Errors
///
/// [`StartError`]; once clients are served, nothing of theirs ends the daemon.
pub fn serve(setup: Setup, given: Option<UnixListener>) -> Result<(), StartError> {
    warn_of_oddities(&setup);
    let path = &setup.config().socket;
    let start = || match given {
        Some(listener) => Socket::given(path, listener),
        None => Socket::listen(path, setup.access.has_guests()),
    };
    run(&setup, start, Origin::first(), None)
}

/// Goes on as the image before did.
///
/// # Errors
///
/// [`StartError`].
pub fn go_on(successor: Successor) -> Result<(), StartError> {
    let Successor {
        setup,
        socket,
        origin,
        arrival,
        remarks: _,
    } = successor;
    run(&setup, || socket.adopt(&setup), origin, arrival)
}

fn run(
    setup: &Setup,
    socket: impl FnOnce() -> Result<Socket, SocketError>,
    mut origin: Origin,
    arrival: Option<Arrival>,
) -> Result<(), StartError> {
    let config = setup.config();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Signals are for the thread that runs this, see `signals`.
        .on_thread_start(|| drop(signals::hold()))
        .build()?;
    runtime.block_on(async {
        let socket = socket()?;
        // What is to hold everywhere must come before the first thread.
        let sandbox = enclosure::enter(setup, &origin, &socket);
        origin.sandbox = Some(sandbox.clone());
        enclosure::rehearse_escape()?;
        let mut signals = signals::watch()?;
        let bundle = Arc::clone(&setup.bundle);
        let inference = Inference::start(inference_settings(config, Arc::clone(&bundle)))?;
        if config.preload && arrival.is_none() {
            inference.preload();
        }
        tracing::info!(
            socket = %socket.path().display(),
            model = bundle.manifest.name,
            version = bundle.manifest.version,
            threads = config.threads,
            rss_mib = Memory::read().rss >> 20,
            "serving"
        );
        if let Some(limit) = config.hang_limit {
            tokio::spawn(inference.pulse().keep_time(limit));
        }
        if let Some(every) = supervised::alive_every() {
            tokio::spawn(heartbeat(every, config.hang_limit, inference.pulse()));
        }
        let name = bundle.manifest.name.clone();
        let settings = server_settings(config, sandbox);
        let access = setup.access.clone();
        let check = renewal::check(&origin, socket.path());
        let mut server = Server::new(socket, settings, access, bundle, inference, check);
        if let Some(arrival) = arrival {
            server.take_over(arrival);
        }
        supervised::tell_ready(&format!("serving {name}"));
        while let End::Renew(departure) = server.run(&mut signals).await {
            let back = renewal::leave(&server, setup, &origin, *departure, &signals);
            server.take_over(back);
        }
        supervised::tell_stopping();
        server.stop();
        Ok(())
    })
}

/// Tells whoever supervises us that we move, as long as this thread and the inference thread do.
async fn heartbeat(every: Duration, limit: Option<Duration>, pulse: Pulse) {
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        let taken = pulse.in_step_for();
        if limit.is_none_or(|limit| taken < limit) {
            supervised::tell_alive();
        }
    }
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
fn warn_of_oddities(setup: &Setup) {
    let config = setup.config();
    for message in environment::unknown() {
        tracing::warn!("{message}");
    }
    if setup.access.admits_unknown_users() {
        tracing::warn!(
            "allow_users admits everybody whom this user namespace has no number for: the kernel cannot \
             tell them from each other"
        );
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
