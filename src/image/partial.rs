//! What a decoder had of a picture when its file ended.

use image::error::{DecodingError, ImageFormatHint};
use image::{ColorType, DynamicImage, ImageBuffer, ImageDecoder, ImageError};

/// Decodes what is there. Rows that are missing are black, and transparent, as with Pillow's
/// `LOAD_TRUNCATED_IMAGES`.
///
/// # Errors
///
/// As the decoder says when there is nothing, or nothing that means anything: samples of 16 bits
/// have the order of their bytes put right at the end.
pub(super) fn decode(decoder: impl ImageDecoder) -> Result<DynamicImage, ImageError> {
    let ((width, height), colour) = (decoder.dimensions(), decoder.color_type());
    if !matches!(
        colour,
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8
    ) {
        return DynamicImage::from_decoder(decoder);
    }
    let length = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let mut samples = vec![0; length];
    match decoder.read_image(&mut samples) {
        Err(error) if samples.iter().all(|sample| *sample == 0) => return Err(error),
        Err(_) | Ok(()) => {}
    }
    let picture = match colour {
        ColorType::L8 => {
            ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma8)
        }
        ColorType::La8 => {
            ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLumaA8)
        }
        ColorType::Rgb8 => {
            ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb8)
        }
        _ => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgba8),
    };
    picture.ok_or_else(|| {
        let format = ImageFormatHint::Unknown;
        ImageError::Decoding(DecodingError::new(format, "its size makes no sense"))
    })
}
