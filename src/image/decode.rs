//! From an uploaded file to upright RGB pixels.
//!
//! The format is told by content, never by name. Dimensions and memory are checked from the header,
//! before a pixel is decoded: `image` does not enforce `max_alloc` when a `DynamicImage` is made
//! from a decoder, so the check here is the one that counts.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, RgbImage};

/// Upright pixels, 8 bits each of red, green, blue.
pub type Pixels = RgbImage;

/// What a picture may cost.
#[derive(Clone, Copy, Debug)]
pub struct PictureLimits {
    /// Most pixels, width times height.
    pub pixels: u64,
}

impl PictureLimits {
    /// The widest sample that is decoded is 16 bytes a pixel (four channels of `f32`, in TIFF).
    fn decoded_bytes(self) -> u64 {
        self.pixels.saturating_mul(4)
    }
}

/// Why a file is no picture that we classify. Always the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// No bytes at all.
    #[error("the picture is empty: 0 bytes")]
    Empty,
    /// The content is of no format that we read.
    #[error("this is no picture that dermald reads ({0}); JPEG, PNG, WebP, GIF, BMP and TIFF are")]
    Unsupported(String),
    /// The file ends early or contradicts itself.
    #[error("the picture is broken: {0}")]
    Broken(String),
    /// More than the limits allow; nothing was decoded.
    #[error("the picture is too large: {width} x {height} pixels ({needed} when decoded), \
             the limit is {limit}")]
    TooLarge {
        /// In pixels, as the header says.
        width: u32,
        /// In pixels, as the header says.
        height: u32,
        /// What decoding would take.
        needed: bytesize::ByteSize,
        /// The limit that is exceeded.
        limit: String,
    },
}

/// Decodes `file` and turns it upright by its EXIF orientation. Transparency is dropped, as Pillow's
/// `convert("RGB")` does.
///
/// # Errors
///
/// [`PictureError`]; nothing but the header has been read when the picture is too large.
pub fn decode(file: &[u8], limits: PictureLimits) -> Result<Pixels, PictureError> {
    if file.is_empty() {
        return Err(PictureError::Empty);
    }
    let reader = ImageReader::new(Cursor::new(file))
        .with_guessed_format()
        .map_err(|error| PictureError::Broken(error.to_string()))?;
    if reader.format().is_none() {
        return Err(PictureError::Unsupported(describe(file)));
    }
    let mut decoder = reader.into_decoder().map_err(refusal)?;
    check(&decoder, limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

fn check(decoder: &impl ImageDecoder, limits: PictureLimits) -> Result<(), PictureError> {
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    let needed = decoder.total_bytes();
    let limit = if pixels > limits.pixels {
        format!("{} pixels", limits.pixels)
    } else if needed > limits.decoded_bytes() {
        format!("{} of memory", bytesize::ByteSize(limits.decoded_bytes()))
    } else {
        return Ok(());
    };
    let needed = bytesize::ByteSize(needed);
    Err(PictureError::TooLarge { width, height, needed, limit })
}

fn refusal(error: ImageError) -> PictureError {
    match error {
        ImageError::Unsupported(error) => PictureError::Unsupported(error.to_string()),
        error => PictureError::Broken(error.to_string()),
    }
}

/// What a file that we cannot read seems to be.
fn describe(file: &[u8]) -> String {
    let brand = file.get(4..12).unwrap_or_default();
    let known = match brand {
        b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftyphevc" => Some("HEIC, as iPhones save it"),
        b"ftypavif" => Some("AVIF"),
        _ if file.starts_with(b"%PDF") => Some("PDF"),
        _ => None,
    };
    match known {
        Some(name) => format!("it is {name}; convert it to JPEG"),
        None => "unknown content".into(),
    }
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::*;

    const LIMITS: PictureLimits = PictureLimits { pixels: 1000 * 1000 };

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        RgbImage::from_pixel(width, height, image::Rgb([10, 20, 30]))
            .write_to(&mut out, ImageFormat::Png)
            .expect("encoded");
        out.into_inner()
    }

    #[test]
    fn promised_formats_are_compiled_in() {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        let promised = [Jpeg, Png, WebP, Gif, Bmp, Tiff];
        assert!(promised.iter().all(ImageFormat::reading_enabled));
        let unwanted = [ImageFormat::Avif, ImageFormat::OpenExr];
        assert!(!unwanted.iter().any(ImageFormat::reading_enabled));
    }

    #[test]
    fn size_is_refused_from_the_header_alone() {
        // Only signature and header of a PNG that promises 60,000 x 60,000 pixels.
        let mut header = png(1, 1);
        header[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        header[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let crc = crc32(&header[12..29]);
        header[29..33].copy_from_slice(&crc.to_be_bytes());
        let message = decode(&header, LIMITS).expect_err("too large").to_string();
        assert!(message.contains("60000 x 60000"), "{message}");
        assert!(message.contains("the limit is 1000000 pixels"), "{message}");
    }

    /// The checksum of a PNG chunk, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }

    #[test]
    fn truncated_file_is_broken_and_text_is_unsupported() {
        let whole = png(64, 64);
        let cut = decode(&whole[..whole.len() / 2], LIMITS);
        assert!(matches!(cut, Err(PictureError::Broken(_))), "{cut:?}");
        let text = decode(b"hello, I am no picture", LIMITS);
        assert!(matches!(text, Err(PictureError::Unsupported(_))), "{text:?}");
        assert!(matches!(decode(b"", LIMITS), Err(PictureError::Empty)));
    }

    #[test]
    fn heic_is_named() {
        let error = decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", LIMITS).expect_err("HEIC");
        assert!(error.to_string().contains("convert it to JPEG"), "{error}");
    }
}
