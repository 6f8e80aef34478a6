//! The model bundle: a folder with a manifest and the files that it names.
//!
//! This room knows what a bundle promises (tensor names, shapes, preprocessing, labels, hashes) and
//! checks what can be checked without running it; it knows of its siblings only whose files
//! [`crate::lifecycle`] trusts. It refuses to know ONNX Runtime, sockets and how pictures are
//! decoded. A model *is* its manifest: the digest of the manifest names the model in every answer.
//!
//! - [`manifest`]: the form of `manifest.toml`, parsed strictly; [`input`] is its largest table.
//! - [`bundle`]: the folder, its files and their hashes; [`stamp`] tells whether one was touched.
//! - [`selftest`]: pictures to try a bundle on, and what it must answer.
//! - [`prepared`]: the cache of graphs that were optimised for one CPU.

pub mod bundle;
pub mod input;
pub mod manifest;
pub mod prepared;
pub mod selftest;
pub mod stamp;

pub use bundle::{Bundle, BundleError};
pub use input::{Alpha, Colour, Decode, Fit, Input, Layout, Orientation, Resize, Truncated};
pub use manifest::{Activation, Labels, Manifest};
