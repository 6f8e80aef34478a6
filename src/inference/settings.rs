//! What the inference thread works with.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Fingerprint, QueueLimits};
use crate::image::PictureLimits;
use crate::lifecycle::renewal::Measure;
use crate::model::Bundle;
use crate::model::prepared::Cache;

/// What the inference thread works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The model.
    pub bundle: Arc<Bundle>,
    /// Where prepared models lie.
    pub cache: Cache,
    /// ONNX Runtime's library, when it was named.
    pub library: Option<PathBuf>,
    /// Threads inside one operator.
    pub threads: usize,
    /// Whether waiting threads spin.
    pub spin: bool,
    /// Whether explanations are made at all.
    pub grad_cam: bool,
    /// What a picture may cost.
    pub pictures: PictureLimits,
    /// What may wait.
    pub queue: QueueLimits,
    /// What the process may take before it renews itself.
    pub memory: Option<MemoryLimit>,
    /// Pictures that are not worked on: the process crashed over each of them.
    pub refused: Vec<Fingerprint>,
    /// Bytes that each job leaks, for tests of what is done about leaks.
    pub leak: usize,
}

/// A limit that the loaded model must fit into.
#[derive(Clone, Copy, Debug)]
pub struct MemoryLimit {
    /// In bytes.
    pub bytes: u64,
    /// What it is compared with.
    pub measure: Measure,
    /// What requests may take that wait or arrive, in bytes.
    pub buffers: u64,
}
