//! The model bundle: a folder with a manifest and the files that it names.
//!
//! This room knows what a bundle promises (tensor names, shapes, preprocessing, labels, hashes) and
//! checks what can be checked without running it. It refuses to know ONNX Runtime, sockets and how
//! pictures are decoded. A model *is* its manifest: the digest of the manifest names the model in
//! every answer.
//!
//! - [`manifest`]: the form of `manifest.toml`, parsed strictly.
//! - [`bundle`]: the folder, its files and their hashes.

pub mod bundle;
pub mod manifest;

pub use bundle::{Bundle, BundleError};
pub use manifest::{Activation, Fit, Labels, Layout, Manifest, Resize};
