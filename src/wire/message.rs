//! What can be asked and what can be answered, in the order of `docs/protocol.md`.
//!
//! Variants are only ever appended, fields never added: a message grows through its extensions.

use bincode::{BorrowDecode, Encode};
use bytes::Bytes;
use serde::Serialize;

use super::value::{Blob, Extensions, List, Text};
use super::{Fault, Message};

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Request {
    /// The first message of every connection.
    Hello(Hello),
    /// Classify a picture.
    Predict(Predict),
    /// Can predictions be made?
    Health(About),
    /// Everything that an operator may want to see, as JSON.
    Status(About),
    /// Counters and gauges as OpenMetrics text.
    Metrics(About),
    /// Replace your image by a fresh one. For the daemon's own user and root.
    Renew(About),
}

impl Message for Request {
    const VARIANTS: u32 = 6;
}

/// What the daemon sends.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Reply {
    /// The answer to a hello.
    Welcome(Welcome),
    /// The answer to predict.
    Prediction(Prediction),
    /// A request, or the whole connection, failed.
    Error(Error),
    /// The answer to health.
    Health(Health),
    /// The answer to status.
    Status(Status),
    /// The answer to metrics.
    Metrics(Metrics),
    /// The daemon will answer no further request on this connection.
    GoingAway(GoingAway),
    /// The answer to renew, from the new image.
    Renewed(Renewed),
}

impl Message for Reply {
    const VARIANTS: u32 = 8;
}

/// The versions that a client speaks.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Hello {
    /// Oldest protocol version.
    pub oldest: u16,
    /// Newest protocol version.
    pub newest: u16,
    /// Name and version of the client, for the log.
    pub client: Text,
    /// Room to grow.
    pub extensions: Extensions,
}

/// One picture to classify.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Predict {
    /// Chosen by the client, unique among the connection's unanswered requests.
    pub id: u64,
    /// The picture file as it was uploaded.
    pub picture: Blob,
    /// How many classes to return, 0 for all.
    pub top_k: u32,
    /// Index of the class to explain; `None` for the most probable one.
    pub target: Option<u32>,
    /// Which explanation is wanted.
    pub explain: Explain,
    /// Milliseconds from arrival after which the answer is of no use; 0 for the daemon's limit.
    pub deadline_ms: u32,
    /// Who waits for the answer.
    pub priority: Priority,
    /// Language of titles and notice.
    pub language: Option<Text>,
    /// W3C trace context.
    pub traceparent: Option<Text>,
    /// Room to grow.
    pub extensions: Extensions,
}

/// Which explanation is wanted.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Explain {
    /// None.
    None,
    /// The heatmap's values.
    Values,
    /// A rendered picture.
    Overlay(OverlayForm),
}

/// How the overlay is to look.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
pub struct OverlayForm {
    /// File format.
    pub format: Format,
    /// Longest side in pixels; 0 for the model's input size, without the photo's aspect ratio.
    pub longest_side: u32,
    /// Colours from cold to hot.
    pub colour_map: ColourMap,
    /// 0 shows the photo only, 1 the heatmap only.
    pub alpha: f32,
}

/// File format of an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP, lossless.
    Webp,
}

/// Colours of a heatmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are those of the colour maps")]
pub enum ColourMap {
    Jet,
    Turbo,
    Viridis,
    Inferno,
    Magma,
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// A person.
    Interactive,
    /// Nobody in particular: background work.
    Batch,
}

/// A request that says nothing but its id.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct About {
    /// Chosen by the client.
    pub id: u64,
    /// Room to grow.
    pub extensions: Extensions,
}

impl About {
    /// A request with this id.
    #[must_use]
    pub fn new(id: u64) -> Self {
        About {
            id,
            extensions: Extensions::default(),
        }
    }
}

/// The version that is spoken from here on, and the daemon's limits.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Welcome {
    /// The newest version that both sides speak.
    pub version: u16,
    /// Name and version of the daemon.
    pub daemon: Text,
    /// What the daemon accepts.
    pub limits: Limits,
    /// Room to grow.
    pub extensions: Extensions,
}

/// What the daemon accepts.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode, Serialize)]
pub struct Limits {
    /// Longest frame, in bytes.
    pub frame_bytes: u32,
    /// Requests that may wait in all.
    pub queue_requests: u32,
    /// Bytes of pictures that may wait in all.
    pub queue_bytes: u64,
    /// Requests that one connection may have unanswered.
    pub requests_per_connection: u32,
    /// Longest deadline in milliseconds.
    pub deadline_ms: u32,
}

/// A classified picture.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Prediction {
    /// Of the request.
    pub id: u64,
    /// Which model answered.
    pub model: ModelName,
    /// Classes, most probable first.
    pub labels: List<Label>,
    /// Index of the class that the explanation is about.
    pub explained: Option<u32>,
    /// The heatmap's values, when they were asked for.
    pub heatmap: Option<Heatmap>,
    /// The rendered overlay, when it was asked for.
    pub overlay: Option<Overlay>,
    /// Where the time went.
    pub timings: Timings,
    /// `notice` and `explanation` today.
    pub extensions: Extensions,
}

/// Which model answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct ModelName {
    /// As in its manifest.
    pub name: Text,
    /// As in its manifest.
    pub version: Text,
    /// SHA-256 of the manifest, hexadecimal.
    pub digest: Text,
}

/// One class with its probability.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Label {
    /// The class's place in the model's output.
    pub index: u32,
    /// The model's own name for it.
    pub name: Text,
    /// Its name in the requested language.
    pub title: Text,
    /// 0..1.
    pub probability: f32,
}

/// Grad-CAM at the resolution of its target layer.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Heatmap {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// `height * width` values in 0..1, row by row from the top.
    pub values: List<f32>,
}

/// A rendered overlay.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Overlay {
    /// File format.
    pub format: Format,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// The file.
    pub picture: Blob,
}

/// Where the time of a prediction went, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode, Serialize)]
pub struct Timings {
    /// Waiting.
    pub queue_us: u32,
    /// Loading runtime and model; 0 when they were loaded.
    pub load_us: u32,
    /// Decoding and resizing the picture.
    pub decode_us: u32,
    /// In ONNX Runtime.
    pub inference_us: u32,
    /// Rendering and encoding the overlay.
    pub render_us: u32,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Error {
    /// Of the request; `None` when the connection is meant.
    pub id: Option<u64>,
    /// One of the [`Code`](super::Code)s, or one of a newer daemon.
    pub code: Text,
    /// Whose fault.
    pub fault: Fault,
    /// The same request may succeed later.
    pub retryable: bool,
    /// When to try again.
    pub retry_after_ms: Option<u32>,
    /// A sentence.
    pub message: Text,
    /// Room to grow.
    pub extensions: Extensions,
}

/// Can predictions be made?
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Health {
    /// Of the request.
    pub id: u64,
    /// `ready`, `starting`, `renewing`, `failed` or `stopping`.
    pub state: Text,
    /// Why.
    pub message: Text,
    /// Room to grow.
    pub extensions: Extensions,
}

/// A JSON object.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Status {
    /// Of the request.
    pub id: u64,
    /// The object; keys are only ever added.
    pub json: Text,
    /// Room to grow.
    pub extensions: Extensions,
}

/// OpenMetrics text.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Metrics {
    /// Of the request.
    pub id: u64,
    /// The text.
    pub text: Text,
    /// Room to grow.
    pub extensions: Extensions,
}

/// The daemon will answer no further request on this connection.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct GoingAway {
    /// `stopping`, or `renewing` when the connection could not be carried over.
    pub reason: Text,
    /// A sentence.
    pub message: Text,
    /// Room to grow.
    pub extensions: Extensions,
}

/// A fresh image answers.
#[derive(Clone, Debug, PartialEq, Encode, BorrowDecode, Serialize)]
#[bincode(decode_context = "Bytes")]
pub struct Renewed {
    /// Of the request.
    pub id: u64,
    /// For how long nothing was read from clients, in microseconds.
    pub pause_us: u32,
    /// Room to grow.
    pub extensions: Extensions,
}
