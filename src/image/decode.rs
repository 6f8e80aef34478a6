//! From an uploaded file to upright RGB pixels.
//!
//! The format is told by content, never by name. Dimensions and memory are checked from the header,
//! before a pixel is decoded: `image` does not enforce `max_alloc` when a `DynamicImage` is made
//! from a decoder, so the checks here are the ones that count.

use bytes::Bytes;
use image::metadata::Orientation::{self, NoTransforms};
use image::{ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::limits::Cost;
use super::photo::turning_copies;
use super::watched::Watched;
use super::{Photo, PictureError, PictureLimits, Reading, jpeg, partial, profile, tiff, webp};
use crate::model::{self, Alpha, Colour, Truncated};

/// What a PNG's texts and colour profile may take, unpacked, and its rows while they are. They are
/// held beside the pixels, and a thousandth of it in the file is enough.
const PNG_METADATA: u64 = 8 << 20;

/// [`take`] for those who keep their file: of a copy.
///
/// # Errors
///
/// As with [`take`].
pub fn decode(file: &[u8], limits: PictureLimits, reading: Reading) -> Result<Photo, PictureError> {
    take(Bytes::copy_from_slice(file), limits, reading)
}

/// Decodes `file` and turns it upright by its EXIF orientation. The file's memory is given back as
/// soon as it is no longer needed, which may be before the pixels are complete.
///
/// # Errors
///
/// [`PictureError`]; nothing but the header has been read when the picture is too large.
pub fn take(file: Bytes, limits: PictureLimits, reading: Reading) -> Result<Photo, PictureError> {
    if file.is_empty() {
        return Err(PictureError::Empty);
    }
    let converts = reading.colour == Colour::Srgb;
    let mut reader = ImageReader::new(Watched::new(&file, limits.bytes))
        .with_guessed_format()
        .map_err(|error| PictureError::Broken(error.to_string()))?;
    let format = reader.format();
    match format {
        None => return Err(PictureError::Unsupported(describe(&file))),
        Some(ImageFormat::Jpeg) => {
            let profile = converts.then(|| jpeg::profile(&file)).flatten();
            let photo = jpeg::decode(file, limits, reading)?;
            return Ok(profile::in_srgb(photo, profile));
        }
        Some(ImageFormat::Tiff) => tiff::check(&file)?,
        Some(ImageFormat::WebP) => webp::check(&file)?,
        Some(_) => {}
    }
    // What decoders take for themselves (metadata, intermediate rows, frames) is bounded by them, at
    // 512 MiB unless they are told.
    let mut allowed = Limits::default();
    allowed.max_alloc = Some(match format {
        Some(ImageFormat::Png) => limits.bytes.min(PNG_METADATA),
        _ => limits.bytes,
    });
    reader.limits(allowed);
    let mut decoder = reader.into_decoder().map_err(refusal)?;
    let orientation = match reading.orientation {
        model::Orientation::Exif => decoder.orientation().unwrap_or(NoTransforms),
        model::Orientation::AsStored => NoTransforms,
    };
    let beside = match format {
        Some(ImageFormat::Tiff) => tiff::bytes_beside(&decoder),
        Some(ImageFormat::WebP) => webp::bytes_beside(&file, decoder.dimensions()),
        _ => 0,
    };
    limits.check(cost(&decoder, orientation, beside))?;
    let profile = converts.then(|| decoder.icc_profile().ok().flatten());
    let decoded = match reading.truncated {
        Truncated::Refuse => DynamicImage::from_decoder(decoder),
        Truncated::Accept => partial::decode(decoder),
    };
    let picture = decoded.map_err(refusal)?;
    let size = (picture.width().into(), picture.height().into());
    let photo = Photo::upright(on(picture, reading.alpha), size, orientation);
    Ok(profile::in_srgb(photo, profile.flatten()))
}

/// What decoding at full size takes when the decoder holds so many bytes `beside` its result.
fn cost(decoder: &impl ImageDecoder, orientation: Orientation, beside: u64) -> Cost {
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    // Sides of a TIFF have 32 bits each: four bytes for each pixel may be more than a u64 counts.
    let of_each = |bytes: u64| pixels.saturating_mul(bytes);
    let colour = decoder.color_type();
    // A copy is made of what is not RGB yet; laying it over a ground takes four bytes a pixel twice.
    let (least, converted) = match colour {
        ColorType::Rgb8 => (0, 0),
        _ if colour.has_alpha() => (of_each(4), of_each(4)),
        _ => (0, of_each(3)),
    };
    // What was converted is gone before it is turned.
    let total = decoder.total_bytes();
    let bytes = (total.max(least).saturating_add(converted))
        .max(total.saturating_add(beside))
        .max(of_each(3 * (1 + turning_copies(orientation))));
    Cost {
        width,
        height,
        bytes,
        what: "when decoded",
    }
}

/// `picture` without its alpha channel, if it has one.
fn on(picture: DynamicImage, alpha: Alpha) -> DynamicImage {
    let ground = match alpha {
        Alpha::White => 255,
        Alpha::Black => 0,
        Alpha::Drop => return picture,
    };
    if !picture.color().has_alpha() {
        return picture;
    }
    let mut picture = picture.into_rgba8();
    for pixel in picture.pixels_mut() {
        let [.., opacity] = pixel.0;
        for channel in &mut pixel.0[..3] {
            *channel = blend(*channel, ground, opacity);
        }
    }
    picture.into()
}

/// `above` over `below`, rounded.
fn blend(above: u8, below: u8, opacity: u8) -> u8 {
    let [above, below, opacity] = [above, below, opacity].map(u32::from);
    let sum = above * opacity + below * (255 - opacity);
    u8::try_from((sum + 127) / 255).expect("a mean of two bytes")
}

pub(super) fn refusal(error: ImageError) -> PictureError {
    match error {
        ImageError::Unsupported(error) => PictureError::Unsupported(shortened(&error)),
        error => PictureError::Broken(shortened(&error)),
    }
}

/// A decoder's words, as long as a sentence may be: one tells 100,000 bit depths, another what it read.
fn shortened(error: &impl ToString) -> String {
    const LONGEST: usize = 300;
    let words = error.to_string();
    match words.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} ...", &words[..end]),
        None => words,
    }
}

/// What a file that we cannot read seems to be.
fn describe(file: &[u8]) -> String {
    const AVIF: [&[u8]; 2] = [b"avif", b"avis"];
    const HEIC: [&[u8]; 8] = [
        b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1",
    ];
    // The first box of an ISO file: length, `ftyp`, a brand, a version, and more brands. Some cameras
    // write the brand of any HEIF file first, and only the others tell which one it is.
    let brands = match file.first_chunk::<8>() {
        Some([a, b, c, d, b'f', b't', b'y', b'p']) => {
            let length = u32::from_be_bytes([*a, *b, *c, *d]);
            let end = file
                .len()
                .min(usize::try_from(length.min(256)).unwrap_or(256));
            file.get(8..end).unwrap_or_default()
        }
        _ => &[],
    };
    let has = |wanted: &[&[u8]]| brands.chunks(4).any(|brand| wanted.contains(&brand));
    let known = if has(&AVIF) {
        "AVIF"
    } else if has(&HEIC) {
        "HEIC, as iPhones save it"
    } else if file.starts_with(b"%PDF") {
        "PDF"
    } else if file.starts_with(b"\xff\x0a") || file.starts_with(b"\0\0\0\x0cJXL ") {
        "JPEG XL"
    } else if file.starts_with(b"\0\0\0\x0cjP  ") {
        "JPEG 2000"
    } else {
        return "unknown content".into();
    };
    format!("it is {known}; convert it to JPEG")
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::RgbImage;

    use super::super::Detail;
    use super::*;

    const LIMITS: PictureLimits = PictureLimits {
        pixels: 1000 * 1000,
        bytes: 4_000_000,
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

    const FULL: Reading = Reading::like_pillow(Detail::Full);

    #[test]
    fn transparent_pixels_become_what_the_manifest_says() {
        let mut file = Cursor::new(Vec::new());
        image::RgbaImage::from_raw(2, 1, vec![200, 100, 0, 0, 200, 100, 0, 51])
            .expect("two pixels")
            .write_to(&mut file, ImageFormat::Png)
            .expect("encoded");
        let pixels = |alpha| {
            let reading = Reading { alpha, ..FULL };
            let photo = decode(file.get_ref(), LIMITS, reading).expect("decoded");
            photo.pixels.into_raw()
        };
        assert_eq!(pixels(Alpha::Drop), [200, 100, 0, 200, 100, 0]);
        assert_eq!(pixels(Alpha::White), [255, 255, 255, 244, 224, 204]);
        assert_eq!(pixels(Alpha::Black), [0, 0, 0, 40, 20, 0]);
    }

    #[test]
    fn jpeg_cut_anywhere_is_broken_and_bytes_behind_its_end_are_not() {
        let mut whole = file(64, 64, ImageFormat::Jpeg);
        for end in 2..whole.len() {
            let cut = decode(&whole[..end], LIMITS, FULL);
            assert!(
                cut.is_err(),
                "{end} of {} bytes were taken for a picture",
                whole.len()
            );
        }
        whole.extend_from_slice(b"what some cameras append");
        assert!(decode(&whole, LIMITS, FULL).is_ok());
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
        let message = decode(&header, LIMITS, FULL)
            .expect_err("too large")
            .to_string();
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
        let cut = decode(&whole[..whole.len() / 2], LIMITS, FULL);
        assert!(matches!(cut, Err(PictureError::Broken(_))), "{cut:?}");
        let text = decode(b"hello, I am no picture", LIMITS, FULL);
        assert!(
            matches!(text, Err(PictureError::Unsupported(_))),
            "{text:?}"
        );
        assert!(matches!(
            decode(b"", LIMITS, FULL),
            Err(PictureError::Empty)
        ));
    }

    #[test]
    fn heic_is_named() {
        let error = decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", LIMITS, FULL).expect_err("HEIC");
        assert!(error.to_string().contains("convert it to JPEG"), "{error}");
    }
}
