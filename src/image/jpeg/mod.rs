//! JPEG: decoded at the scale that is needed, and no larger; and encoded.
//!
//! A photo of 48 megapixels is a quarter as wide when the DCT gives four pixels for each block of 64,
//! and that is more than a classifier of 300 x 300 looks at. The scale is chosen so that at least
//! twice the model's size remains for the resize, as Pillow's `draft` does it.
//!
//! # Which decoder, and why
//!
//! Measured in one process on one core (AMD Zen 4), quality 90, 4:2:0, milliseconds and MiB above
//! the file:
//!
//! | decoder | 12 MP at 1/8 | 48 MP at 1/8 | 48 MP, full | progressive 48 MP at 1/8 |
//! |---|---|---|---|---|
//! | `mozjpeg` 0.10.13 (libjpeg in C, no assembler) | 35 ms, 1.2 MiB | 124 ms, 4.4 MiB | 484 ms, 275 MiB | 429 ms, 140 MiB |
//! | `jpeg-decoder` 0.3.2 | 35 ms, 3.1 MiB | 132 ms, 4.0 MiB | 422 ms, 207 MiB | 523 ms, 142 MiB |
//! | `zune-jpeg` 0.5.15 through `image` | cannot scale | cannot scale | 208 ms, 149 MiB | |
//! | Pillow 13, `draft` (libjpeg-turbo with assembler) | 30 ms | 90 ms | 608 ms with the resize | 381 ms |
//!
//! - `mozjpeg` decodes to the bit as Pillow does, in full and scaled. Its C parses the bytes of strangers
//!   inside the process that serves everybody: hence the sandbox, and files whose header, scans and end
//!   were read before; see [`libjpeg`].
//! - `jpeg-decoder` scales as fast and is Rust, and was used here. It cuts off fractions where libjpeg
//!   rounds and scales all components alike, where libjpeg decodes halved colours at twice the scale of the
//!   brightness. Of a photo of 12 megapixels at 1/4 that leaves 0.6 levels of 255 at the model's size, 0.2
//!   of them a tint that all pixels share, where libjpeg leaves 0.2 and no tint. A trained network made 3
//!   points of a probability of it. It is also in maintenance mode.
//! - `turbojpeg` would be libjpeg-turbo with its assembler, about a third faster here (Pillow's row);
//!   it cannot be built without cmake, is slow without nasm, and is C as well. 40 ms of 48 megapixels
//!   are not worth either, beside an inference of more than 100 ms.
//! - `zune-jpeg` is the best of them at full size and stays for small photos.
//!
//! Whoever needs the pixels that training saw says `decode = "full"` in the manifest.
//!
//! # What progressive files cost
//!
//! A progressive JPEG tells every coefficient a little better with each scan, so all of them are kept,
//! two bytes a sample, whatever scale is wanted: 139 MiB for 48 megapixels (4:2:0), more than a model.
//! With the default `decode_bytes` such a file is refused, and one of 24 megapixels is not. Phones
//! write baseline.

mod header;
mod libjpeg;
mod profile;

use std::io::Cursor;

use bytes::Bytes;
use image::metadata::Orientation::NoTransforms;
use image::{ImageFormat, ImageReader};

use self::header::{Header, marker};
pub(super) use self::libjpeg::encode;
pub(super) use self::profile::read as profile;
use super::limits::Cost;
use super::photo::{turned, turning_copies};
use super::{Detail, Photo, PictureError, PictureLimits, Reading, decode};
use crate::model::{Orientation, Truncated};

/// Least side of what `zune-jpeg` gets, in pixels: two blocks of colours.
const NARROW: u32 = 16;

/// Scales that are chosen freely. 1/8 leaves one pixel of each block: that is for what cannot be read
/// otherwise.
const FAITHFUL: [u32; 3] = [4, 2, 1];

/// Decodes `file` upright, in as much detail as is needed.
///
/// # Errors
///
/// [`PictureError`]; no pixel has been decoded when the picture is too large or ends early.
pub(super) fn decode(
    mut file: Bytes,
    limits: PictureLimits,
    reading: Reading,
) -> Result<Photo, PictureError> {
    let mut header = match reading.truncated {
        Truncated::Refuse => Header::read(&file)?,
        Truncated::Accept => Header::read_what_is_there(&file)?,
    };
    if reading.orientation == Orientation::AsStored {
        header.orientation = NoTransforms;
    }
    file.truncate(header.length);
    let scale = if header.whole {
        scale(&header, limits, reading.detail)
    } else {
        file = [&*file, &[0xff, marker::END]].concat().into();
        1
    };
    limits.check(cost(&header, scale))?;
    let picture = if decodes_with_zune(&header, scale, reading.detail) {
        ImageReader::with_format(Cursor::new(file), ImageFormat::Jpeg)
            .decode()
            .map_err(decode::refusal)?
    } else {
        libjpeg::decode(&file, &header, scale)?
    };
    let side = |side: u32| f64::from(side) / f64::from(scale);
    let size = (side(header.width), side(header.height));
    Ok(Photo::upright(picture, size, header.orientation))
}

/// Whoever asks for every pixel asks for those that its training saw, and what is grey where a file ends
/// early is libjpeg's idea, too. It also gives the ink that Pillow sees, and the narrowest pictures,
/// whose colours `zune-jpeg` smears (7 levels off for 2 x 1 pixels).
fn decodes_with_zune(header: &Header, scale: u32, detail: Detail) -> bool {
    scale == 1
        && !matches!(detail, Detail::Full)
        && header.whole
        && header.components.len() < 4
        && header.width.min(header.height) > NARROW
}

/// The picture is decoded to `1 / scale` of its sides: the smallest that is enough, or the largest that
/// the limits allow, as long as it is enough for the model.
fn scale(header: &Header, limits: PictureLimits, detail: Detail) -> u32 {
    let at = |scale: u32| {
        turned(
            (header.width / scale, header.height / scale),
            header.orientation,
        )
    };
    let enough_for_model = |scale: &u32| detail.without_overlay().is_enough(at(*scale));
    let wanted = FAITHFUL
        .into_iter()
        .find(|scale| detail.is_enough(at(*scale)))
        .unwrap_or(1);
    [1, 2, 4, 8]
        .into_iter()
        .filter(|scale| *scale == wanted || (*scale > wanted && enough_for_model(scale)))
        .find(|scale| limits.check(cost(header, *scale)).is_ok())
        .unwrap_or(wanted)
}

/// What decoding to `1 / scale` takes.
fn cost(header: &Header, scale: u32) -> Cost {
    let pixels = u64::from(header.width.div_ceil(scale)) * u64::from(header.height.div_ceil(scale));
    let components = header.components.len() as u64;
    let turned = turning_copies(header.orientation) * pixels * 3;
    let expanded = if components == 1 { pixels * 3 } else { 0 };
    let interleaved = pixels * components;
    let coefficients = if header.keeps_coefficients {
        header.coefficient_bytes()
    } else {
        0
    };
    Cost {
        width: header.width,
        height: header.height,
        // Coefficients are gone before the picture is expanded or turned.
        bytes: interleaved + coefficients.max(expanded).max(turned),
        what: if coefficients > 0 {
            "when decoded, with the coefficients of a progressive JPEG"
        } else {
            "when decoded"
        },
    }
}

#[cfg(test)]
mod tests {
    use super::header::tests::{arithmetic, jpeg_of};
    use super::*;

    const LIMITS: PictureLimits = PictureLimits {
        pixels: 65_000_000,
        bytes: 96 << 20,
    };

    const BASELINE: u8 = 0xc0;
    const PROGRESSIVE: u8 = 0xc2;

    fn enough(width: u32, height: u32, longest_side: u32) -> Detail {
        Detail::Enough {
            size: (width, height),
            longest_side,
        }
    }

    fn scale_of(file: &[u8], detail: Detail) -> u32 {
        scale(&Header::read(file).expect("a good header"), LIMITS, detail)
    }

    #[test]
    fn scale_leaves_what_model_and_overlay_need() {
        let photo = jpeg_of(BASELINE, (4000, 3000), 1);
        assert_eq!(scale_of(&photo, Detail::Full), 1);
        assert_eq!(scale_of(&photo, enough(300, 300, 0)), 4);
        assert_eq!(scale_of(&photo, enough(600, 600, 0)), 4);
        assert_eq!(scale_of(&photo, enough(300, 300, 1200)), 2);
        assert_eq!(scale_of(&photo, enough(3001, 3001, 0)), 1);
    }

    #[test]
    fn last_eighth_is_taken_before_a_photo_is_refused() {
        let photo = jpeg_of(BASELINE, (8000, 6000), 1);
        let header = Header::read(&photo).expect("a good header");
        let limits = PictureLimits {
            bytes: 8_000_000,
            ..LIMITS
        };
        assert_eq!(scale(&header, LIMITS, enough(600, 600, 0)), 4);
        assert_eq!(scale(&header, limits, enough(600, 600, 0)), 8);
    }

    #[test]
    fn overlay_gets_fewer_pixels_before_a_photo_is_refused() {
        let photo = jpeg_of(BASELINE, (8000, 6000), 1);
        assert_eq!(scale_of(&photo, enough(600, 600, 5000)), 2);
        assert_eq!(scale_of(&photo, enough(3500, 3500, 5000)), 1);
    }

    /// The error's text for a file that is refused before it is decoded.
    fn refused(file: &[u8], detail: Detail) -> String {
        let error = decode(file.to_vec().into(), LIMITS, Reading::like_pillow(detail))
            .expect_err("refused");
        assert!(matches!(error, PictureError::TooLarge { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn baseline_of_48_megapixels_is_accepted_and_a_progressive_one_is_not() {
        let detail = enough(600, 600, 0);
        let baseline = jpeg_of(BASELINE, (8000, 6000), 1);
        // There is nothing in it: what counts is that it was tried.
        let tried = decode(baseline.into(), LIMITS, Reading::like_pillow(detail));
        assert!(matches!(tried, Err(PictureError::Broken(_))), "{tried:?}");
        let message = refused(&jpeg_of(PROGRESSIVE, (8000, 6000), 10), detail);
        assert!(message.contains("8000 x 6000"), "{message}");
        assert!(message.contains("progressive"), "{message}");
        assert!(message.contains("96.0 MiB"), "{message}");
        let smaller = decode(
            jpeg_of(PROGRESSIVE, (6000, 4000), 10).into(),
            LIMITS,
            Reading::like_pillow(detail),
        );
        assert!(
            matches!(smaller, Err(PictureError::Broken(_))),
            "{smaller:?}"
        );
    }

    #[test]
    fn sides_of_65535_and_thousands_of_scans_are_refused() {
        let message = refused(&jpeg_of(BASELINE, (65535, 65535), 1), enough(600, 600, 0));
        assert!(message.contains("65000000 pixels"), "{message}");
        let message = refused(&jpeg_of(PROGRESSIVE, (80, 80), 5000), Detail::Full);
        assert!(message.contains("5000 scans"), "{message}");
    }

    #[test]
    fn arithmetic_coding_is_named() {
        let error = decode(
            arithmetic().into(),
            LIMITS,
            Reading::like_pillow(Detail::Full),
        )
        .expect_err("refused");
        assert!(error.to_string().contains("arithmetic coding"), "{error}");
    }
}
