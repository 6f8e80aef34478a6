//! Pictures: from an uploaded file to the model's input, and from a heatmap to something to look at.
//!
//! This room knows file formats, pixels and colours. It refuses to know sockets, queues and ONNX
//! Runtime. Pixels live no longer than needed: the full picture is gone once the model's input and,
//! when an overlay is wanted, its small base are made.
//!
//! - [`decode`]: bytes to upright RGB pixels, within limits that are checked before decoding.
//! - [`jpeg`]: the same for JPEG, no larger than needed; and how one is written.
//! - [`watched`]: a file that is not read on when that takes too much memory.
//! - [`tiff`], [`webp`]: what is looked at in such a file before its decoder does.
//! - [`limits`]: what a picture may cost.
//! - [`profile`]: colours as a profile means them.
//! - [`partial`]: files that end early.
//! - [`photo`]: the result: pixels, and where in them the photo lies.
//! - [`reading`]: what is wanted of a picture.
//! - [`resize`]: pixels to another size; [`resample`], [`kernel`]: to the bit as Pillow does it;
//!   [`enlarge`]: a heatmap with the same kernels.
//! - [`tensor`]: pixels to the model's `float32` input.
//! - [`base`]: what an overlay is drawn on, and where the heatmap comes to lie.
//! - [`overlay`]: heatmap over photo, encoded.
//! - [`colour`]: the colour maps.

pub mod base;
pub mod colour;
pub mod decode;
mod enlarge;
mod jpeg;
mod kernel;
pub mod limits;
pub mod overlay;
mod partial;
mod photo;
mod profile;
mod reading;
mod resample;
pub mod resize;
pub mod tensor;
mod tiff;
mod watched;
mod webp;

pub use base::Base;
pub use colour::ColourMap;
pub use limits::{PictureError, PictureLimits};
pub use overlay::{Format, Heatmap, Overlay, OverlayForm};
pub use photo::{Part, Photo, Pixels};
pub use reading::{Detail, Reading};
