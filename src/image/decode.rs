//! From an uploaded file to upright RGB pixels.
//!
//! The format is told by content, never by name. Dimensions and memory are checked from the header,
//! before a pixel is decoded: `image` does not enforce `max_alloc` when a `DynamicImage` is made
//! from a decoder, so the check here is the one that counts.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, RgbImage};

/// Upright pixels, 8 bits each of red, green, blue.
pub type Pixels = RgbImage;

/// What a picture may cost.
#[derive(Clone, Copy, Debug)]
pub struct PictureLimits {
    /// Most pixels, width times height.
    pub pixels: u64,
}

impl PictureLimits {
    /// Room for 8 bits of red, green, blue and alpha: pictures with wider samples may have fewer
    /// pixels.
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
    #[error(
        "the picture is too large: {width} x {height} pixels ({needed} when decoded), \
             the limit is {limit}"
    )]
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
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_whole(file) {
        return Err(PictureError::Broken(
            "the file ends before the picture does".into(),
        ));
    }
    let mut decoder = reader.into_decoder().map_err(refusal)?;
    check(&decoder, limits)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let picture = DynamicImage::from_decoder(decoder).map_err(refusal)?;
    // Turned after what is not needed was dropped: turning takes a second copy.
    let mut upright = DynamicImage::ImageRgb8(picture.into_rgb8());
    upright.apply_orientation(orientation);
    Ok(upright.into_rgb8())
}

/// Whether a JPEG has its end marker, looked for where it must be: behind segments and scans, not in
/// a thumbnail. The decoder fills what is missing with grey and says nothing.
fn jpeg_is_whole(file: &[u8]) -> bool {
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    let mut rest = file.get(2..).unwrap_or_default();
    while let Some(at) = rest.iter().position(|byte| *byte == 0xff) {
        rest = &rest[at..];
        let Some(&marker) = rest.iter().find(|byte| **byte != 0xff) else {
            return false;
        };
        let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
        rest = &rest[fill + 1..];
        let has_length = !matches!(marker, 0x00 | 0x01 | 0xd0..=0xd8);
        if marker == END {
            return true;
        }
        if has_length {
            let length = rest
                .first_chunk::<2>()
                .map_or(2, |bytes| u16::from_be_bytes(*bytes));
            rest = rest.get(usize::from(length.max(2))..).unwrap_or_default();
        }
        // What follows a scan's header is data up to the next marker that is no escape (00) and no
        // restart (D0 to D7); anywhere else the next marker follows at once.
        if marker == SCAN {
            let next = rest
                .windows(2)
                .position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xd0..=0xd7 | 0xff));
            rest = next.map_or(&[][..], |at| &rest[at..]);
        }
    }
    false
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
    Err(PictureError::TooLarge {
        width,
        height,
        needed,
        limit,
    })
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
    use super::*;

    const LIMITS: PictureLimits = PictureLimits {
        pixels: 1000 * 1000,
    };

    fn file(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([x, y, 30].map(|value| value.to_le_bytes()[0].wrapping_mul(7)))
        })
        .write_to(&mut out, format)
        .expect("encoded");
        out.into_inner()
    }

    fn png(width: u32, height: u32) -> Vec<u8> {
        file(width, height, ImageFormat::Png)
    }

    #[test]
    fn jpeg_cut_anywhere_is_broken_and_bytes_behind_its_end_are_not() {
        let mut whole = file(64, 64, ImageFormat::Jpeg);
        for end in 2..whole.len() {
            let cut = decode(&whole[..end], LIMITS);
            assert!(
                cut.is_err(),
                "{end} of {} bytes were taken for a picture",
                whole.len()
            );
        }
        whole.extend_from_slice(b"what some cameras append");
        assert!(decode(&whole, LIMITS).is_ok());
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
        assert!(
            matches!(text, Err(PictureError::Unsupported(_))),
            "{text:?}"
        );
        assert!(matches!(decode(b"", LIMITS), Err(PictureError::Empty)));
    }

    #[test]
    fn heic_is_named() {
        let error = decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", LIMITS).expect_err("HEIC");
        assert!(error.to_string().contains("convert it to JPEG"), "{error}");
    }
}
