//! JPEG to the bit as libjpeg decodes it, which is as Pillow does, for sites whose model was trained on
//! pictures that Pillow read.
//!
//! libjpeg enlarges halved colours with roundings of its own, and neither Rust decoder has them: with
//! 4:2:0 at quality 90 both are 0.1 levels away, and a network may turn that into a tenth of a percent
//! and, on pictures of a few pixels, into much more. Its C parses the bytes of strangers, though, so it is
//! used only where likeness is asked for (`decode = "full"`, or `truncated = "accept"` and a file that
//! ends early), on files whose header, scans and end were read by [`super::header`] first.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, GrayImage};
use mozjpeg::{ColorSpace, Decompress};

use super::header::Header;
use super::without_ink;
use crate::image::{PictureError, Pixels};

/// Decodes `file` at its full size.
///
/// # Errors
///
/// [`PictureError::Broken`].
pub(super) fn decode(file: &[u8], header: &Header) -> Result<DynamicImage, PictureError> {
    let components = header.components.len();
    // libjpeg ends at an error; the crate unwinds out of it, and drops what it holds on the way.
    let samples = catch_unwind(AssertUnwindSafe(|| samples(file, components)))
        .map_err(|_| PictureError::Broken("libjpeg cannot decode it".into()))?
        .map_err(|error| PictureError::Broken(error.to_string()))?;
    let (width, height) = (header.width, header.height);
    let picture = match components {
        1 => GrayImage::from_raw(width, height, samples).map(Into::into),
        4 => Pixels::from_raw(width, height, without_ink(inverted(samples))).map(Into::into),
        _ => Pixels::from_raw(width, height, samples).map(Into::into),
    };
    picture.ok_or_else(|| PictureError::Broken("its frames contradict each other".into()))
}

fn samples(file: &[u8], components: usize) -> std::io::Result<Vec<u8>> {
    let decoder = Decompress::new_mem(file)?;
    let mut rows = match components {
        1 => decoder.grayscale()?,
        4 => decoder.to_colorspace(ColorSpace::JCS_CMYK)?,
        _ => decoder.rgb()?,
    };
    let samples = rows.read_scanlines()?;
    rows.finish()?;
    Ok(samples)
}

/// Files hold what ink leaves of white, as Adobe began it, and Pillow reads every file so.
fn inverted(mut samples: Vec<u8>) -> Vec<u8> {
    for sample in &mut samples {
        *sample = 255 - *sample;
    }
    samples
}
