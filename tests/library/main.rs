//! The library by itself, without a daemon: the image path beside Pillow's, and the wire's vectors.

mod broken_pictures;
mod pillow;
#[path = "../support/mod.rs"]
mod support;
mod vectors;
