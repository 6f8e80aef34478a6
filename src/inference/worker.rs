//! The inference thread: takes one job at a time and does all of its work.
//!
//! The order inside a job decides the memory that it takes: the upload is dropped as soon as it is
//! decoded, the pixels as soon as the model's input (and the overlay's small base) are made, the
//! input as soon as the run is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::engine::{Engine, LoadError, RunError};
use super::preparation;
use super::queue::Next;
use super::round::{Work, fingerprint};
use super::runtime::Runtime;
use super::state::Shared;
use super::{Answer, Explain, Failure, ModelState, Outcome, Settings, Timings};
use crate::image::{self, Base, Heatmap, Overlay, Reading};
use crate::lifecycle::{allocator, supervised};

pub(super) struct Worker {
    shared: Arc<Shared>,
    settings: Settings,
    /// Loaded once: a process has one.
    runtime: Option<Runtime>,
    engine: Option<Engine>,
}

/// A picture that is ready to be run.
struct Prepared {
    tensor: Vec<f32>,
    /// The photo at the overlay's size, when an overlay is wanted.
    base: Option<Base>,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, settings: Settings) -> Self {
        Worker {
            shared,
            settings,
            runtime: None,
            engine: None,
        }
    }

    /// Works until the queue is closed.
    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Next::Stop => return,
                Next::Preload => self.preload(),
                Next::Run(work) => self.serve(*work),
                Next::Wait => unreachable!("next() waits by itself"),
            }
            if self.settings.leak > 0 {
                Box::leak(vec![1_u8; self.settings.leak].into_boxed_slice());
            }
            // While others wait, what was freed is soon used again.
            if self.shared.queue().load().waiting == 0 {
                allocator::trim();
            }
            self.shared.pulse.rest();
            self.shared.queue().rest();
            self.shared.rests.send_modify(|rests| *rests += 1);
        }
    }

    /// Sleeps until there is something to do.
    fn next(&self) -> Next {
        let mut queue = self.shared.queue();
        loop {
            match queue.next() {
                Next::Wait => {
                    queue = self
                        .shared
                        .wake
                        .wait(queue)
                        .expect("no code panics with the queue locked");
                }
                next => return next,
            }
        }
    }

    /// Loads the model before the first request. A panic on the way is told like any other failure.
    fn preload(&mut self) {
        self.shared.pulse.beat();
        let shared = Arc::clone(&self.shared);
        if let Err(reason) = shared.panics.model(|| self.load()) {
            tracing::error!(reason, "a bug stopped the loading of the model");
            self.engine = None;
            shared.set_state(ModelState::Failed(reason));
        }
    }

    fn serve(&mut self, work: Work) {
        let started = Instant::now();
        let shared = Arc::clone(&self.shared);
        shared.pulse.beat();
        let picture = fingerprint(&work.picture);
        shared.queue().tell(picture);
        let refused = shared.refused().contains(&picture);
        if !refused {
            supervised::tell_in_work(Some(&picture));
        }
        let outcome = shared
            .panics
            .model(|| {
                if refused {
                    Err(Failure::Refused)
                } else {
                    self.work(work)
                }
            })
            .unwrap_or_else(|reason| {
                self.engine = None;
                shared.set_state(ModelState::Unloaded);
                tracing::error!(reason, "a bug stopped a request");
                Err(Failure::Panic(reason))
            });
        if !refused {
            supervised::tell_in_work(None);
        }
        let took = outcome.is_ok().then(|| started.elapsed());
        // Whoever asks from here on has a round of their own.
        let round = shared.queue().done(took);
        if let Some(round) = round {
            round.end(&outcome);
        }
    }

    fn work(&mut self, task: Work) -> Outcome {
        let interrupt = &task.interrupt;
        let mut timings = Timings {
            queue: task.waited,
            ..Timings::default()
        };
        if interrupt.is_cancelled() {
            return Err(RunError::Cancelled.into());
        }
        if Instant::now() >= task.deadline {
            return Err(Failure::Deadline(timings.queue));
        }
        let unexplained = self.why_unexplained(&task);
        let explain = if unexplained.is_some() {
            Explain::None
        } else {
            task.explain
        };

        let panics = &self.shared.panics;
        let upload = (task.picture, task.origin);
        let prepared = timed(&mut timings.decode, || {
            panics.picture(|| self.prepare(upload, explain))
        })?;
        if self.engine.is_none() {
            self.shared.pulse.beat();
            timed(&mut timings.load, || self.load())?;
        }
        self.shared.pulse.beat();
        let engine = self.engine.as_mut().expect("load() left an engine");
        let wants_heatmap = !matches!(explain, Explain::None);
        let scores = timed(&mut timings.inference, || {
            engine.run(&prepared.tensor, task.target, wants_heatmap, interrupt)
        })?;
        drop(prepared.tensor);
        self.shared.pulse.beat();

        let (heatmap, overlay) = if wants_heatmap {
            timed(&mut timings.render, || {
                let panics = &self.shared.panics;
                panics.picture(|| explanation(explain, prepared.base, scores.heatmap))
            })?
        } else {
            (None, None)
        };
        let explained = (heatmap.is_some() || overlay.is_some())
            .then(|| task.target.unwrap_or_else(|| top(&scores.probabilities)));
        let probabilities = scores.probabilities;
        Ok(Answer {
            probabilities,
            explained,
            heatmap,
            overlay,
            unexplained,
            shared: false,
            timings,
        })
    }

    /// Why an explanation that `task` asks for cannot be given.
    fn why_unexplained(&self, task: &Work) -> Option<String> {
        let gradcam = self.settings.bundle.manifest.gradcam.as_ref();
        match (task.explain, gradcam) {
            (Explain::None, _) => None,
            _ if !self.settings.grad_cam => {
                Some("Grad-CAM is switched off (grad_cam = false, or ENABLE_GRADCAM)".into())
            }
            (_, None) => Some("this model has no Grad-CAM in its graph".into()),
            (_, Some(gradcam)) if task.target.is_some() && gradcam.target.is_none() => {
                Some("this model explains the most probable class only".into())
            }
            _ => None,
        }
    }

    /// From the upload to the model's input. Takes the upload, so that it is gone afterwards.
    fn prepare(&self, upload: (Bytes, Bytes), explain: Explain) -> Result<Prepared, Failure> {
        let input = &self.settings.bundle.manifest.input;
        let overlay = match explain {
            Explain::Overlay(form) => form.longest_side,
            Explain::None | Explain::Values => None,
        };
        #[cfg(debug_assertions)]
        super::panics::rehearse(&upload.0);
        let reading = Reading::of(input, overlay);
        let (picture, origin) = upload;
        drop(origin);
        let photo = image::decode::take(picture, self.settings.pictures, reading)?;
        let base = match explain {
            Explain::Overlay(form) => Some(Base::new(&photo, form.longest_side, input)),
            Explain::None | Explain::Values => None,
        };
        let tensor = image::tensor::from_photo(&photo, input);
        Ok(Prepared { tensor, base })
    }

    /// Loads runtime and model when they are not there yet.
    fn load(&mut self) -> Result<(), LoadError> {
        if self.engine.is_some() {
            return Ok(());
        }
        self.shared.set_state(ModelState::Loading);
        let started = Instant::now();
        match self.open() {
            Ok((engine, prepared)) => {
                self.engine = Some(engine);
                self.shared.set_state(ModelState::Loaded { prepared });
                let took_ms = started.elapsed().as_millis();
                tracing::info!(took_ms, prepared, "model loaded");
                Ok(())
            }
            Err(LoadError::Stopping) => Err(LoadError::Stopping),
            Err(error) => {
                tracing::error!(%error, "the model could not be loaded");
                self.shared.set_state(ModelState::Failed(error.to_string()));
                Err(error)
            }
        }
    }

    /// The engine, and whether it runs a prepared copy.
    fn open(&mut self) -> Result<(Engine, bool), LoadError> {
        if self.runtime.is_none() {
            self.runtime = Some(Runtime::start(self.settings.library.as_deref())?);
        }
        let runtime = self.runtime.as_ref().expect("it was loaded just above");
        // A preparation may take minutes, and while it is waited for the thread moves.
        let go_on = || {
            self.shared.pulse.beat();
            !self.shared.queue().is_closed()
        };
        let (engine, prepared) = preparation::load(runtime, &self.settings, go_on)?;
        if let Some(limit) = &self.settings.memory {
            engine.fits(limit)?;
        }
        Ok((engine, prepared))
    }
}

/// What of the heatmap was asked for.
fn explanation(
    explain: Explain,
    base: Option<Base>,
    heatmap: Option<Heatmap>,
) -> Result<(Option<Heatmap>, Option<Overlay>), Failure> {
    match (explain, base, heatmap) {
        (Explain::Values, _, heatmap) => Ok((heatmap, None)),
        (Explain::Overlay(form), Some(base), Some(heatmap)) => {
            let overlay = image::overlay::render(base, &heatmap, form).map_err(Failure::Panic)?;
            Ok((None, Some(overlay)))
        }
        _ => Ok((None, None)),
    }
}

/// Index of the highest probability.
fn top(probabilities: &[f32]) -> u32 {
    let best = probabilities
        .iter()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)))
        .map_or(0, |(index, _)| index);
    u32::try_from(best).expect("a model has far fewer than 2^32 classes")
}

fn timed<T>(stage: &mut Duration, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    *stage = started.elapsed();
    result
}
