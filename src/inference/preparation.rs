//! Prepares a bundle for this CPU: checks it, optimises the graph, tries it, puts it into the cache.
//!
//! This runs in a process of its own (`dermald prepare`): the optimiser takes several times the memory
//! of the model, and none of it is ever given back. A daemon that finds no fresh copy starts such a
//! process and waits for it.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

use super::engine::{Engine, LoadError, Source, unusable};
use super::runtime::{Runtime, RuntimeError};
use super::{Settings, trial};
use crate::lifecycle::child::{Child, Finished};
use crate::lifecycle::renewal::Floor;
use crate::model::BundleError;
use crate::model::prepared::{CacheError, Draft, GRAPH, Host, WEIGHTS};

/// Weights below this size, in bytes, stay in the graph's file: each of the others is mapped by itself,
/// and a mapping costs a page.
const SMALL_WEIGHT: &str = "1024";

/// Exit code of `dermald prepare` for a model that is at fault; another way of loading it would not
/// help.
pub const MODEL_AT_FAULT: u8 = 3;

/// Why a bundle could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The bundle is not sound.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The graph is at fault.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// ONNX Runtime is at fault.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl PrepareError {
    /// Whether the model is at fault, and not the host.
    #[must_use]
    pub fn is_the_models_fault(&self) -> bool {
        matches!(
            self,
            PrepareError::Bundle(_) | PrepareError::Load(LoadError::Model { .. })
        )
    }
}

/// A prepared bundle.
#[derive(Debug)]
pub struct Report {
    /// The graph in the cache.
    pub graph: PathBuf,
    /// Whether it had been there before.
    pub was_fresh: bool,
    /// How long that took.
    pub took: Duration,
}

/// Prepares the bundle of `settings`, unless that was done before. Waits for whoever else prepares in
/// the same cache.
///
/// # Errors
///
/// [`PrepareError`]; no half of anything is left behind.
pub fn prepare(runtime: &Runtime, settings: &Settings) -> Result<Report, PrepareError> {
    let started = Instant::now();
    let (bundle, cache, host) = (&settings.bundle, &settings.cache, runtime.host());
    let report = |graph, was_fresh| Report {
        graph,
        was_fresh,
        took: started.elapsed(),
    };
    if let Some(graph) = cache.find(bundle, &host)? {
        return Ok(report(graph, true));
    }
    let draft = cache.draft()?;
    if let Some(graph) = cache.find(bundle, &host)? {
        return Ok(report(graph, true));
    }
    fill(&draft, runtime, settings, &host).or_else(|error| {
        draft.has_room()?;
        Err(error)
    })?;
    Ok(report(cache.publish(&draft, bundle, &host)?, false))
}

/// Writes everything into the draft, and tries it there.
fn fill(
    draft: &Draft,
    runtime: &Runtime,
    settings: &Settings,
    host: &Host,
) -> Result<(), PrepareError> {
    let copy = draft.copy(&settings.bundle)??;
    let graph = copy.join(settings.bundle.graph_name());
    optimise(&runtime.environment, &graph, draft.folder()).map_err(|error| LoadError::Model {
        file: settings.bundle.graph(),
        message: unusable(&error, &copy),
    })?;
    let source = Source::Prepared(draft.folder().join(GRAPH));
    let mut engine = Engine::load(&runtime.environment, settings, &source)?;
    Ok(engine.try_out(settings, &copy, host)?)
}

/// Writes `graph`, optimised for this CPU, and its weights into `folder`.
fn optimise(environment: &Environment, graph: &Path, folder: &Path) -> ort::Result<()> {
    let written: ort::Result<Session> = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_optimized_model_path(folder.join(GRAPH))?
        .with_config_entry(
            "session.optimized_model_external_initializers_file_name",
            WEIGHTS,
        )?
        .with_config_entry(
            "session.optimized_model_external_initializers_min_size_in_bytes",
            SMALL_WEIGHT,
        )?
        .commit_from_file(graph);
    written.map(drop)
}

/// Median time of one run of each prepared graph on this host.
///
/// # Errors
///
/// [`LoadError`].
pub fn paces(
    runtime: &Runtime,
    prepared: Vec<(Settings, PathBuf)>,
) -> Result<Vec<Duration>, LoadError> {
    let load =
        |(settings, graph)| Engine::load(&runtime.environment, &settings, &Source::Prepared(graph));
    let mut engines = prepared
        .into_iter()
        .map(load)
        .collect::<Result<Vec<_>, _>>()?;
    trial::paces(&mut engines)
}

/// Loads a prepared graph and lets it go again, to know that it can be loaded within the limits; and, where
/// there is one, what of it is taken.
///
/// # Errors
///
/// [`LoadError`].
pub fn try_load(
    runtime: &Runtime,
    settings: &Settings,
    graph: PathBuf,
) -> Result<Option<Floor>, LoadError> {
    let source = Source::Prepared(graph);
    let engine = Engine::load(&runtime.environment, settings, &source)?;
    let limit = settings.memory.as_ref();
    limit.map(|limit| engine.fits(limit)).transpose()
}

/// Loads the prepared copy, made first when there is none; and whether that is what was loaded. When
/// this host cannot make one, the bundle's own graph serves: slower, in more memory, but it serves.
///
/// Blocks while a process prepares, as long as `go_on` says so.
///
/// # Errors
///
/// [`LoadError`], when the model is at fault.
pub(super) fn load(
    runtime: &Runtime,
    settings: &Settings,
    go_on: impl Fn() -> bool,
) -> Result<(Engine, bool), LoadError> {
    match load_prepared(runtime, settings, go_on) {
        Ok(engine) => Ok((engine, true)),
        Err(Failed::Model(error)) => Err(error),
        Err(Failed::Host(reason)) => {
            tracing::warn!(
                reason,
                "the model is not prepared for this CPU; it is served as it is, slower and in more \
                 memory, until the daemon is started again"
            );
            let mut engine = Engine::load(&runtime.environment, settings, &Source::Bundle)?;
            engine.try_out(settings, &settings.bundle.folder, &runtime.host())?;
            Ok((engine, false))
        }
    }
}

fn load_prepared(
    runtime: &Runtime,
    settings: &Settings,
    go_on: impl Fn() -> bool,
) -> Result<Engine, Failed> {
    let (bundle, cache, host) = (&settings.bundle, &settings.cache, runtime.host());
    let open = |graph| Engine::load(&runtime.environment, settings, &Source::Prepared(graph));
    if let Some(graph) = cache.find(bundle, &host)? {
        match open(graph) {
            Ok(engine) => return Ok(engine),
            // It was loaded and tried before it was put there: the disk has lost something since.
            Err(error) => {
                tracing::warn!(%error, "the prepared model cannot be loaded any more");
                cache.discard(bundle, &host)?;
            }
        }
    }
    tracing::info!("preparing the model for this CPU");
    prepare_in_a_process(settings, &runtime.library, go_on)?;
    let graph = cache.find(bundle, &host)?.ok_or_else(|| {
        Failed::Host(
            "what was prepared is not there; if ONNX Runtime was updated, start the daemon again"
                .into(),
        )
    })?;
    Ok(open(graph)?)
}

/// Why there is no prepared copy.
#[derive(Debug)]
enum Failed {
    /// The model is at fault, or we stop: loading it in another way would not help.
    Model(LoadError),
    /// The host is: no room, no rights, no memory.
    Host(String),
}

impl From<LoadError> for Failed {
    fn from(error: LoadError) -> Self {
        Failed::Model(error)
    }
}

impl From<CacheError> for Failed {
    fn from(error: CacheError) -> Self {
        Failed::Host(error.to_string())
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Failed::Host(format!("no process can be started: {error}"))
    }
}

/// Has a process prepare the bundle of `settings`, and waits for it as long as `go_on` says so. Its own
/// configuration is nothing but these flags: what file and environment say may have changed since we
/// read them.
fn prepare_in_a_process(
    settings: &Settings,
    library: &Path,
    go_on: impl Fn() -> bool,
) -> Result<(), Failed> {
    // The link leads to what we are, also when another binary lies in our place by now.
    let child = Child::start(
        Path::new("/proc/self/exe"),
        "prepare",
        [
            OsStr::new("--untimed"),
            OsStr::new("--cache"),
            settings.cache.folder().as_os_str(),
            OsStr::new("--onnxruntime"),
            library.as_os_str(),
            OsStr::new("--"),
            settings.bundle.folder.as_os_str(),
        ],
    )?;
    let Some(Finished {
        status,
        complaint: said,
        ..
    }) = child.finish(go_on)?
    else {
        settings.cache.tidy();
        return Err(LoadError::Stopping.into());
    };
    if status.success() {
        return Ok(());
    }
    if status.code() == Some(MODEL_AT_FAULT.into()) {
        return Err(LoadError::Refused(said).into());
    }
    Err(Failed::Host(match status.signal() {
        None => said,
        Some(signal) => {
            settings.cache.tidy();
            format!("signal {signal} ended the preparation (out of memory?); {said}")
        }
    }))
}
