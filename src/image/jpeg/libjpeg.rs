//! JPEG as libjpeg decodes it, which is as Pillow does, at full size or smaller, and as libjpeg encodes it.
//!
//! libjpeg rounds where others cut off, and enlarges halved colours in a way of its own; decoded smaller,
//! it takes them from the file at twice the scale of the brightness, so that they need not be enlarged at
//! all. Its C parses the bytes of strangers: it gets files whose header, scans and end were read by
//! [`super::header`] first, and runs in the sandbox like everything here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{DynamicImage, GrayImage};
use mozjpeg::{ColorSpace, Compress, Decompress};

use super::header::Header;
use crate::image::{PictureError, Pixels};

/// Longest side in pixels that libjpeg reads.
const LONGEST: u32 = 65_500;

/// Decodes `file` to `1 / scale` of its sides, rounded up; `scale` is 1, 2, 4 or 8.
///
/// # Errors
///
/// [`PictureError::Broken`], and [`PictureError::Unsupported`] for sides longer than [`LONGEST`].
pub(super) fn decode(
    file: &[u8],
    header: &Header,
    scale: u32,
) -> Result<DynamicImage, PictureError> {
    let side = header.width.max(header.height);
    if side > LONGEST {
        return Err(PictureError::Unsupported(format!(
            "it is a JPEG with a side of {side} pixels, of which at most {LONGEST} are read"
        )));
    }
    let components = header.components.len();
    // libjpeg ends at an error; the crate unwinds out of it, and drops what it holds on the way.
    let samples = catch_unwind(AssertUnwindSafe(|| samples(file, components, scale)))
        .map_err(|_| PictureError::Broken("libjpeg cannot decode it".into()))?
        .map_err(|error| PictureError::Broken(error.to_string()))?;
    let (width, height) = (header.width.div_ceil(scale), header.height.div_ceil(scale));
    let picture = match components {
        1 => GrayImage::from_raw(width, height, samples).map(Into::into),
        4 => Pixels::from_raw(width, height, without_ink(samples)).map(Into::into),
        _ => Pixels::from_raw(width, height, samples).map(Into::into),
    };
    picture.ok_or_else(|| PictureError::Broken("its frames contradict each other".into()))
}

fn samples(file: &[u8], components: usize, scale: u32) -> std::io::Result<Vec<u8>> {
    let mut decoder = Decompress::new_mem(file)?;
    decoder.scale(u8::try_from(8 / scale).expect("an eighth to eight eighths"));
    let mut rows = match components {
        1 => decoder.grayscale()?,
        4 => decoder.to_colorspace(ColorSpace::JCS_CMYK)?,
        _ => decoder.rgb()?,
    };
    let samples = rows.read_scanlines()?;
    rows.finish()?;
    Ok(samples)
}

/// `pixels` as a baseline JPEG of `quality` 1 to 100 with colours at half the size (4:2:0), as browsers and
/// phones write it.
///
/// # Errors
///
/// When libjpeg fails, as it does for a side of more than [`LONGEST`] or of 0 pixels.
pub(in crate::image) fn encode(pixels: &Pixels, quality: u8) -> Result<Vec<u8>, String> {
    let encoded = || {
        let (width, height) = (pixels.width() as usize, pixels.height() as usize);
        let mut encoder = Compress::new(ColorSpace::JCS_RGB);
        // mozjpeg's own take six times as long, for a file that is a third smaller: 73 ms for 800 x 600.
        encoder.set_fastest_defaults();
        encoder.set_size(width, height);
        encoder.set_quality(quality.into());
        encoder.set_chroma_sampling_pixel_sizes((2, 2), (2, 2));
        let mut encoder = encoder.start_compress(Vec::new())?;
        encoder.write_scanlines(pixels)?;
        encoder.finish()
    };
    catch_unwind(AssertUnwindSafe(encoded))
        .map_err(|_| "libjpeg cannot encode it".to_owned())?
        .map_err(|error: std::io::Error| error.to_string())
}

/// CMYK to RGB in place, as Pillow's `convert` does it: what the ink leaves of white. Files hold the
/// opposite of ink, as Adobe began it, and Pillow reads every file so.
fn without_ink(mut samples: Vec<u8>) -> Vec<u8> {
    let pixels = samples.len() / 4;
    for pixel in 0..pixels {
        let white = u32::from(samples[pixel * 4 + 3]);
        for channel in 0..3 {
            let left = u32::from(samples[pixel * 4 + channel]) * white;
            samples[pixel * 3 + channel] =
                u8::try_from((left + 127) / 255).expect("a product of two bytes, by 255");
        }
    }
    samples.truncate(pixels * 3);
    samples
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn encoded_is_baseline_with_halved_colours_and_looks_the_same() {
        let pixels = Pixels::from_fn(37, 21, |x, y| {
            let level = |value: u32| u8::try_from(value * 6).expect("below 256");
            Rgb([level(x), level(y), 128])
        });
        let file = encode(&pixels, 95).expect("encoded");
        let header = Header::read(&file).expect("a header");
        assert_eq!((header.width, header.height), (37, 21));
        assert_eq!(header.components, [(2, 2), (1, 1), (1, 1)]);
        assert!(!header.keeps_coefficients);
        let seen = decode(&file, &header, 1).expect("decoded").into_rgb8();
        for (before, after) in pixels.iter().zip(seen.iter()) {
            assert!(before.abs_diff(*after) <= 12, "{before} {after}");
        }
    }

    #[test]
    fn what_cannot_be_encoded_is_an_error() {
        for (width, height) in [(0, 0), (LONGEST + 1, 1)] {
            assert!(encode(&Pixels::new(width, height), 85).is_err());
        }
    }

    #[test]
    fn full_ink_is_black_and_none_is_white() {
        let left = vec![
            255, 255, 255, 255, 0, 0, 0, 255, 246, 246, 246, 0, 255, 0, 255, 128,
        ];
        let rgb = [255, 255, 255, 0, 0, 0, 0, 0, 0, 128, 0, 128];
        assert_eq!(without_ink(left), rgb);
    }
}
