//! The ONNX session: loading a bundle and running one picture through it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ort::environment::Environment;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::TensorRef;

use super::interrupt::Interrupt;
use super::runtime::RuntimeError;
use super::{MemoryLimit, Settings, contract};
use crate::image::Heatmap;
use crate::lifecycle::memory::Memory;
use crate::lifecycle::renewal::{Floor, Measure};
use crate::model::prepared::WEIGHTS;
use crate::model::{Activation, Bundle, Layout};

/// Why runtime or model cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// ONNX Runtime is at fault: the operator's business.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The graph is no valid model, not the one that the manifest describes, or does not do here what
    /// its bundle promises: the operator's business.
    #[error("{}: {message}", file.display())]
    Model {
        /// The file of the bundle that is at fault.
        file: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The same, in the words of the process that was to prepare it.
    #[error("{0}")]
    Refused(String),
    /// The configured memory limit is below what the model needs: the operator's business.
    #[error("{0}")]
    Limit(String),
    /// The daemon stops; nobody's fault.
    #[error("the daemon stops")]
    Stopping,
}

/// Which files a model is loaded from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The graph that was optimised for this CPU.
    Prepared(PathBuf),
    /// The bundle's own.
    Bundle,
}

/// Why a run has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RunError {
    /// Nobody waits for the job any more.
    #[error("the job was given up")]
    Cancelled,
    /// ONNX Runtime reported an error.
    #[error("ONNX Runtime could not run the model: {0}")]
    Runtime(String),
    /// The model's numbers make no sense.
    #[error("the model gave {0}")]
    Nonsense(String),
}

impl From<ort::Error> for RunError {
    fn from(error: ort::Error) -> Self {
        RunError::Runtime(error.to_string())
    }
}

/// What one run gives.
#[derive(Debug)]
pub(super) struct Scores {
    /// One probability a class, in output order.
    pub(super) probabilities: Vec<f32>,
    /// When it was asked for and the model can.
    pub(super) heatmap: Option<Heatmap>,
}

/// What rounding may add to a probability.
const TOLERANCE: f32 = 1e-3;

/// A loaded model. Lives on the inference thread and nowhere else.
pub(super) struct Engine {
    session: Session,
    bundle: Arc<Bundle>,
    /// Bytes of weights that are mapped and come into memory when they are first used.
    mapped: u64,
}

impl Engine {
    /// Loads the graph and holds it against the manifest.
    pub(super) fn load(
        environment: &Environment,
        settings: &Settings,
        source: &Source,
    ) -> Result<Self, LoadError> {
        let bundle = Arc::clone(&settings.bundle);
        let fault = |message: String| LoadError::Model {
            file: bundle.graph(),
            message,
        };
        let builder = builder(environment, settings);
        let session = match source {
            Source::Prepared(graph) => builder.and_then(|builder| open_prepared(builder, graph)),
            Source::Bundle => {
                bundle.check_again().map_err(|e| fault(e.to_string()))?;
                builder.and_then(|builder| open_bundle(builder, &bundle))
            }
        };
        let session = session.map_err(|error| fault(unusable(&error, &bundle.folder)))?;
        contract::check(&session, &bundle.manifest).map_err(fault)?;
        let mapped = match source {
            Source::Prepared(graph) => std::fs::metadata(graph.with_file_name(WEIGHTS)),
            Source::Bundle => Err(std::io::ErrorKind::NotFound.into()),
        };
        Ok(Engine {
            session,
            bundle,
            mapped: mapped.map_or(0, |weights| weights.len()),
        })
    }

    /// Makes sure that a daemon with this model fits into `limit`, and tells what it takes.
    pub(super) fn fits(&self, limit: &MemoryLimit) -> Result<Floor, LoadError> {
        let floor = Floor {
            loaded: limit.measure.of(&Memory::read()),
            weights: match limit.measure {
                Measure::Rss => self.mapped,
                Measure::Anonymous => 0,
            },
            queue: limit.buffers,
        };
        floor.fits(limit.bytes).map_err(LoadError::Limit)?;
        Ok(floor)
    }

    pub(super) fn bundle(&self) -> &Arc<Bundle> {
        &self.bundle
    }

    /// Runs `tensor`, made by [`crate::image::tensor`], and explains `target` when `explain` is set.
    pub(super) fn run(
        &mut self,
        tensor: &[f32],
        target: Option<u32>,
        explain: bool,
        interrupt: &Interrupt,
    ) -> Result<Scores, RunError> {
        let bundle = Arc::clone(&self.bundle);
        let manifest = &bundle.manifest;
        let gradcam = manifest.gradcam.as_ref().filter(|_| explain);
        let run = Arc::new(RunOptions::new()?);
        if !interrupt.begin(&run) {
            return Err(RunError::Cancelled);
        }
        let class = [target.map_or(-1, i64::from)];
        let outputs = self
            .inputs(tensor, &class)
            .and_then(|inputs| self.session.run_with_options(inputs, &run));
        if !interrupt.end() {
            return Err(RunError::Cancelled);
        }
        let outputs = outputs?;
        Ok(Scores {
            probabilities: probabilities(&outputs, &bundle)?,
            heatmap: gradcam
                .map(|gradcam| heatmap(&outputs, &gradcam.heatmap))
                .transpose()?,
        })
    }

    fn inputs<'v>(
        &self,
        tensor: &'v [f32],
        class: &'v [i64; 1],
    ) -> ort::Result<Vec<(String, SessionInputValue<'v>)>> {
        let manifest = &self.bundle.manifest;
        let input = &manifest.input;
        let (height, width) = (input.height as usize, input.width as usize);
        let shape = match input.layout {
            Layout::Nhwc => [1, height, width, 3],
            Layout::Nchw => [1, 3, height, width],
        };
        let picture = TensorRef::from_array_view((shape, tensor))?;
        let mut inputs = vec![(input.tensor.clone(), SessionInputValue::from(picture))];
        if let Some(target) = manifest
            .gradcam
            .as_ref()
            .and_then(|gradcam| gradcam.target.clone())
        {
            let class = TensorRef::from_array_view(([1_usize], &class[..]))?;
            inputs.push((target, SessionInputValue::from(class)));
        }
        Ok(inputs)
    }
}

/// One thread pool of our size; no spinning unless asked for; memory pattern off because it pins
/// the largest arena that was ever needed (7 MB more with EfficientNetV2-S). The arena stays on:
/// without it the same model takes 15 MB more and a twelfth longer.
fn builder(environment: &Environment, settings: &Settings) -> ort::Result<SessionBuilder> {
    Ok(Session::builder(environment)?
        .with_intra_threads(settings.threads)?
        .with_inter_threads(1)?
        .with_config_entry(
            "session.intra_op.allow_spinning",
            if settings.spin { "1" } else { "0" },
        )?
        .with_memory_pattern(false)?)
}

/// Without any optimisation, as it was all done: weights stay where they are in the file, which is
/// mapped.
fn open_prepared(builder: SessionBuilder, graph: &Path) -> ort::Result<Session> {
    builder
        .with_optimization_level(GraphOptimizationLevel::Disable)?
        .commit_from_file(graph)
}

/// With as much optimisation as does not lay weights out anew, which would take twice the model's
/// memory.
///
/// Weights in files of their own are handed over as bytes: ONNX Runtime would map the files, and
/// somebody may write to a bundle in place. It then refuses every file that it was not given, which is
/// what is wanted for one whose hash nobody checked; for that to hold with no such file, it is given
/// one that cannot exist.
fn open_bundle(builder: SessionBuilder, bundle: &Bundle) -> ort::Result<Session> {
    let mut builder = builder
        .with_optimization_level(GraphOptimizationLevel::Level2)?
        .with_external_initializer_file_in_memory("/", Arc::from([0]))?;
    for name in bundle.weights() {
        let bytes = bundle.bytes(name).map_err(ort::Error::wrap)?;
        builder = builder.with_external_initializer_file_in_memory(name, bytes)?;
    }
    builder.commit_from_file(bundle.graph())
}

/// What ONNX Runtime has against the graph of the bundle, of which it saw a copy in `folder`.
pub(super) fn unusable(error: &ort::Error, folder: &Path) -> String {
    let reason = error.to_string();
    let reason = reason.trim().trim_end_matches('.');
    format!(
        "ONNX Runtime cannot use this graph ({}); convert the model again, and list every file that \
         holds weights in [files] of the manifest",
        reason.replace(&format!("{}/", folder.display()), "")
    )
}

fn probabilities(outputs: &SessionOutputs<'_>, bundle: &Bundle) -> Result<Vec<f32>, RunError> {
    let output = &bundle.manifest.output;
    let (_, values) = outputs[output.tensor.as_str()].try_extract_tensor::<f32>()?;
    let classes = bundle.manifest.labels.0.len();
    if values.len() != classes {
        let count = values.len();
        return Err(RunError::Nonsense(format!(
            "{count} probabilities for {classes} labels"
        )));
    }
    if values.iter().any(|value| !value.is_finite()) {
        return Err(RunError::Nonsense(
            "probabilities that are no numbers".into(),
        ));
    }
    let probabilities = match output.activation {
        Activation::Softmax | Activation::Sigmoid => values.to_vec(),
        Activation::None => softmax(values),
    };
    match probabilities
        .iter()
        .find(|value| !(-TOLERANCE..=1.0 + TOLERANCE).contains(*value))
    {
        Some(value) => Err(RunError::Nonsense(format!(
            "a probability of {value}; if its output has no softmax or sigmoid, the manifest must \
             say activation = \"none\""
        ))),
        None => Ok(probabilities
            .into_iter()
            .map(|value| value.clamp(0.0, 1.0))
            .collect()),
    }
}

fn softmax(logits: &[f32]) -> Vec<f32> {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// Reads a heatmap of shape `[h, w]` or `[1, h, w]`.
fn heatmap(outputs: &SessionOutputs<'_>, name: &str) -> Result<Heatmap, RunError> {
    let (shape, values) = outputs[name].try_extract_tensor::<f32>()?;
    let side = |place: usize| {
        shape
            .len()
            .checked_sub(place)
            .and_then(|index| u32::try_from(shape[index]).ok())
            .filter(|side| *side > 0)
            .ok_or_else(|| RunError::Nonsense(format!("a heatmap of shape {shape}")))
    };
    let (height, width) = (side(2)?, side(1)?);
    if values.len() as u64 != u64::from(height) * u64::from(width) {
        return Err(RunError::Nonsense(format!("a heatmap of shape {shape}")));
    }
    if values.iter().any(|value| value.is_nan()) {
        return Err(RunError::Nonsense("a heatmap that is no numbers".into()));
    }
    let values = values.iter().map(|value| value.clamp(0.0, 1.0)).collect();
    Ok(Heatmap {
        height,
        width,
        values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_survives_large_logits() {
        let values = softmax(&[1000.0, 1000.0, 0.0]);
        assert_eq!(values, [0.5, 0.5, 0.0]);
    }
}
