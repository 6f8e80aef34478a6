//! Wire messages to tasks, and answers to replies. Everything that a client may choose is checked
//! here, once; behind it, values cannot be wrong.

use std::time::Duration;

use bytes::Bytes;

use super::incoming::Frame;
use crate::image::{self, PictureError};
use crate::inference::engine::{LoadError, RunError};
use crate::inference::{Answer, Explain, Failure, Priority, Task, Timings};
use crate::model::Bundle;
use crate::wire::message::{self, ColourMap, Format};
use crate::wire::{Blob, Code, Extensions, List, Text};

/// The longest overlay side, in pixels: what a page can show, and 12 MB of pixels at most.
const MAX_SIDE: u32 = 2048;

/// The longest language tag that is looked up, in bytes (RFC 5646 asks for 35).
const MAX_LANGUAGE: usize = 35;

/// Whether `text` has the form of a W3C `traceparent`, version 00. Anything else is ignored, as the
/// standard says: free text of a client's does not belong into a log.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    parts.len() == 4
        && parts.iter().map(|part| part.len()).eq([2, 32, 16, 2])
        && parts.iter().all(|part| part.bytes().all(hexadecimal))
}

/// What of a request is needed again when its answer comes.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// The client's id.
    pub(super) id: u64,
    top_k: usize,
    language: Option<Text>,
    pub(super) traceparent: Option<Text>,
}

/// Checks a request and splits it into the work and what is needed for its reply.
///
/// `frame` is what the request came in, `longest` the longest time that it may take from its first
/// byte on.
pub(super) fn task(
    request: message::Predict,
    frame: &Frame,
    bundle: &Bundle,
    longest: Duration,
) -> Result<(Task, Wanted), message::Error> {
    let id = request.id;
    let invalid = |message: String| Code::InvalidRequest.error(Some(id), message);
    let classes = bundle.manifest.labels.0.len();
    if let Some(target) = request.target.filter(|target| *target as usize >= classes) {
        let last = classes - 1;
        return Err(invalid(format!(
            "target is {target}, the model's classes are 0 to {last}"
        )));
    }
    let with_photo = request.extensions.get("photo").is_some();
    let explain = explain(&request.explain, with_photo).map_err(invalid)?;
    let asked = Duration::from_millis(request.deadline_ms.into());
    let deadline = if asked.is_zero() {
        longest
    } else {
        asked.min(longest)
    };
    let task = Task {
        picture: request.picture.0,
        origin: frame.bytes.clone(),
        target: request.target,
        explain,
        deadline: (frame.begun + deadline).into_std(),
        priority: match request.priority {
            message::Priority::Interactive => Priority::Interactive,
            message::Priority::Batch => Priority::Batch,
        },
    };
    let top_k = if request.top_k == 0 {
        usize::MAX
    } else {
        request.top_k as usize
    };
    let wanted = Wanted {
        id,
        top_k,
        language: request.language.filter(|code| code.len() <= MAX_LANGUAGE),
        traceparent: request.traceparent.filter(|text| is_traceparent(text)),
    };
    Ok((task, wanted))
}

fn explain(explain: &message::Explain, with_photo: bool) -> Result<Explain, String> {
    let form = match explain {
        message::Explain::None => return Ok(Explain::None),
        message::Explain::Values => return Ok(Explain::Values),
        message::Explain::Overlay(form) => form,
    };
    if !(0.0..=1.0).contains(&form.alpha) {
        return Err(format!("alpha is {}, expected 0 to 1", form.alpha));
    }
    if form.longest_side > MAX_SIDE {
        return Err(format!(
            "longest_side is {}, expected 0 to {MAX_SIDE}",
            form.longest_side
        ));
    }
    Ok(Explain::Overlay(image::OverlayForm {
        format: match form.format {
            Format::Png => image::Format::Png,
            Format::Jpeg => image::Format::Jpeg,
            Format::Webp => image::Format::WebP,
        },
        longest_side: (form.longest_side > 0).then_some(form.longest_side),
        colour_map: match form.colour_map {
            ColourMap::Jet => image::ColourMap::Jet,
            ColourMap::Turbo => image::ColourMap::Turbo,
            ColourMap::Viridis => image::ColourMap::Viridis,
            ColourMap::Inferno => image::ColourMap::Inferno,
            ColourMap::Magma => image::ColourMap::Magma,
        },
        alpha: form.alpha,
        with_photo,
    }))
}

/// The reply to a classified picture.
pub(super) fn prediction(answer: Answer, wanted: &Wanted, bundle: &Bundle) -> message::Prediction {
    let manifest = &bundle.manifest;
    let language = wanted.language.as_deref();
    let notice = manifest.notice(language).map(ToOwned::to_owned);
    let mut answer = answer;
    let photo = answer
        .overlay
        .as_mut()
        .and_then(|overlay| overlay.photo.take());
    message::Prediction {
        id: wanted.id,
        model: message::ModelName {
            name: Text::from(manifest.name.as_str()),
            version: Text::from(manifest.version.as_str()),
            digest: Text::from(bundle.digest.as_str()),
        },
        labels: List(labels(
            &answer.probabilities,
            wanted.top_k,
            language,
            bundle,
        )),
        explained: answer.explained,
        heatmap: answer.heatmap.map(|heatmap| message::Heatmap {
            height: heatmap.height,
            width: heatmap.width,
            values: List(heatmap.values),
        }),
        overlay: answer.overlay.map(|overlay| message::Overlay {
            format: match overlay.format {
                image::Format::Png => Format::Png,
                image::Format::Jpeg => Format::Jpeg,
                image::Format::WebP => Format::Webp,
            },
            width: overlay.width,
            height: overlay.height,
            picture: Blob(Bytes::from(overlay.file)),
        }),
        timings: timings(&answer.timings),
        extensions: Extensions::default()
            .with("notice", notice)
            .with("explanation", answer.unexplained)
            .with("photo", photo),
    }
}

/// The `top_k` most probable classes; of two equally probable ones the first in output order.
fn labels(
    probabilities: &[f32],
    top_k: usize,
    language: Option<&str>,
    bundle: &Bundle,
) -> Vec<message::Label> {
    let labels = &bundle.manifest.labels.0;
    let mut order: Vec<usize> = (0..labels.len().min(probabilities.len())).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    order
        .into_iter()
        .take(top_k)
        .map(|index| message::Label {
            index: u32::try_from(index).expect("a model has far fewer than 2^32 classes"),
            name: Text::from(labels[index].name.as_str()),
            title: Text::from(labels[index].title(language)),
            probability: probabilities[index],
        })
        .collect()
}

fn timings(timings: &Timings) -> message::Timings {
    let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    message::Timings {
        queue_us: micros(timings.queue),
        load_us: micros(timings.load),
        decode_us: micros(timings.decode),
        inference_us: micros(timings.inference),
        render_us: micros(timings.render),
    }
}

/// The reply to a job that has no answer.
pub(super) fn failure(failure: &Failure, id: u64) -> message::Error {
    let code = match failure {
        Failure::Picture(PictureError::Empty) => Code::PictureEmpty,
        Failure::Picture(PictureError::Unsupported(_)) => Code::PictureUnsupported,
        Failure::Picture(PictureError::Broken(_)) => Code::PictureBroken,
        Failure::Picture(PictureError::TooLarge { .. }) => Code::PictureTooLarge,
        Failure::Load(LoadError::Runtime(_)) => Code::RuntimeUnavailable,
        Failure::Load(LoadError::Model { .. } | LoadError::Refused(_)) => Code::ModelInvalid,
        Failure::Load(LoadError::Limit(_)) => Code::LimitTooLow,
        Failure::Load(LoadError::Stopping) => Code::GoingAway,
        Failure::Run(RunError::Cancelled) | Failure::Deadline(_) => Code::DeadlineExceeded,
        Failure::Run(_) | Failure::Hung(_) => Code::InferenceFailed,
        Failure::PicturePanic(_) | Failure::Refused => Code::PictureFailed,
        Failure::Panic(_) => Code::Internal,
    };
    code.error(Some(id), failure.to_string())
}
