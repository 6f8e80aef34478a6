//! JPEG: decoded at the scale that is needed, and no larger.
//!
//! A photo of 48 megapixels is a quarter as wide when the DCT gives four pixels for each block of 64,
//! and that is more than a classifier of 300 x 300 looks at. The scale is chosen so that at least
//! twice the model's size remains for the resize (as Pillow's `draft` does), and 5/4 of it of the
//! colours, which most files store at half the size.
//!
//! # Which decoder, and why
//!
//! Measured in one process on one core (AMD Zen 4), quality 90, 4:2:0, milliseconds and MiB above
//! the file:
//!
//! | decoder | 12 MP at 1/8 | 48 MP at 1/8 | 48 MP, full | progressive 48 MP at 1/8 |
//! |---|---|---|---|---|
//! | `jpeg-decoder` 0.3.2 | 35 ms, 3.1 MiB | 132 ms, 4.0 MiB | 422 ms, 207 MiB | 523 ms, 142 MiB |
//! | `mozjpeg` 0.10.13 (libjpeg in C, no assembler) | 35 ms, 1.2 MiB | 124 ms, 4.4 MiB | 484 ms, 275 MiB | 429 ms, 140 MiB |
//! | `zune-jpeg` 0.5.15 through `image` | cannot scale | cannot scale | 208 ms, 149 MiB | |
//! | Pillow 13, `draft` (libjpeg-turbo with assembler) | 30 ms | 90 ms | 608 ms with the resize | 381 ms |
//!
//! - `jpeg-decoder` scales. It is Rust apart from two vectorised kernels, so a hostile file can make
//!   it fail or panic but hardly write where it should not, and a fresh machine needs nothing but
//!   cargo. It is in maintenance mode: bugs are fixed, nothing is added, and nothing need be.
//! - `mozjpeg` is as fast, but its C parses the bytes of strangers inside the process that serves
//!   everybody, and its errors unwind through C. It alone decodes to the bit as Pillow does, so it is
//!   used where a manifest asks for that, and nowhere else: see [`exact`].
//! - `turbojpeg` would be libjpeg-turbo with its assembler, about a third faster here (Pillow's row);
//!   it cannot be built without cmake, is slow without nasm, and is C as well. 40 ms of 48 megapixels
//!   are not worth either, beside an inference of more than 100 ms.
//! - `zune-jpeg` is the best of them at full size and stays for small photos.
//!
//! # What the scale costs in likeness
//!
//! Mean levels of 255 between a 4:2:0 photograph decoded in full by Pillow and scaled by us, both at
//! the model's size, for 3000 x 2003 pixels and a model of 150 x 100 (`tests/pictures`):
//!
//! | | 1/4 | 1/8 |
//! |---|---|---|
//! | drawn skin | 0.14 | 1.09 |
//! | soft, strong colours | 0.48 | 2.28 |
//! | hard edges between pure colours | 0.38 | 1.46 |
//!
//! 1/8 is bad for two reasons. `jpeg-decoder` cuts off fractions there instead of rounding, which
//! takes 1.0 from red and 1.2 from blue. And it scales all components alike, where libjpeg decodes
//! halved colours at twice the scale of the brightness: they are enlarged and soft. At 1/4 the same
//! softness matters where colours are hardly larger than the model: with as many of them as the
//! model has pixels, hard edges are 2.9 levels off. Hence 5/4. Whoever needs more says
//! `decode = "full"` in the manifest.
//!
//! # What progressive files cost
//!
//! A progressive JPEG tells every coefficient a little better with each scan, so all of them are kept,
//! two bytes a sample, whatever scale is wanted: 139 MiB for 48 megapixels (4:2:0), more than a model.
//! With the default `decode_bytes` such a file is refused, and one of 24 megapixels is not. Phones
//! write baseline.
//!
//! `jpeg-decoder` hands the rows of a component to a thread through a channel without a bound. At a
//! smaller scale the receiver has less to do than the sender, so little piles up. This is also why it
//! does not decode at full size here, apart from CMYK.

mod exact;
mod header;
mod profile;
mod upload;

use std::io::Cursor;

use bytes::Bytes;
use image::metadata::Orientation::NoTransforms;
use image::{DynamicImage, GrayImage, ImageFormat, ImageReader};
use jpeg_decoder::{Decoder, Error, PixelFormat};

use self::header::{Header, marker};
pub(super) use self::profile::read as profile;
use self::upload::Upload;
use super::limits::Cost;
use super::photo::{turned, turning_copies};
use super::{Detail, Photo, PictureError, PictureLimits, Pixels, Reading, decode};
use crate::model::{Orientation, Truncated};

/// Least side of what `zune-jpeg` gets, in pixels: two blocks of colours.
const NARROW: u32 = 16;

/// Scales that are chosen freely. At 1/8 `jpeg-decoder` cuts off fractions instead of rounding them,
/// which turns every colour a level towards yellow-green: that is for what cannot be read otherwise.
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
    // zune-jpeg forgives a restart marker that is missing, and jpeg-decoder does not.
    let scale = if header.whole {
        scale(&header, limits, reading.detail)
    } else {
        file = [&*file, &[0xff, marker::END]].concat().into();
        1
    };
    limits.check(cost(&header, scale))?;
    let picture = if decodes_exactly(&header, reading.detail) {
        exact::decode(&file, &header)?
    } else if decodes_with_zune(&header, scale) {
        ImageReader::with_format(Cursor::new(file), ImageFormat::Jpeg)
            .decode()
            .map_err(decode::refusal)?
    } else {
        decode_scaled(file, &header, scale)?
    };
    let side = |side: u32| f64::from(side) / f64::from(scale);
    let size = (side(header.width), side(header.height));
    Ok(Photo::upright(picture, size, header.orientation))
}

/// A site that asks for every pixel asks for those that its training saw. What is grey where a file ends
/// early is libjpeg's idea, too.
fn decodes_exactly(header: &Header, detail: Detail) -> bool {
    matches!(detail, Detail::Full) || !header.whole
}

/// CMYK is left to `jpeg-decoder`: it gives the ink that Pillow sees. So are the
/// narrowest pictures: `zune-jpeg` smears their colours (7 levels off for 2 x 1 pixels).
fn decodes_with_zune(header: &Header, scale: u32) -> bool {
    scale == 1 && header.components.len() < 4 && header.width.min(header.height) > NARROW
}

/// The picture is decoded to `1 / scale` of its sides: the smallest that is enough, colours included,
/// or the largest that the limits allow, as long as its brightness is enough for the model.
fn scale(header: &Header, limits: PictureLimits, detail: Detail) -> u32 {
    let at = |(width, height): (u32, u32), scale: u32| {
        turned((width / scale, height / scale), header.orientation)
    };
    let stored = (header.width, header.height);
    let enough = |scale: &u32| {
        detail.is_enough(at(stored, *scale))
            && detail.is_enough_of_colours(at(header.stored_colours(), *scale))
    };
    let enough_for_model = |scale: &u32| detail.without_overlay().is_enough(at(stored, *scale));
    let wanted = FAITHFUL.into_iter().find(enough).unwrap_or(1);
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
    // jpeg-decoder keeps the components apart until it interleaves them; zune-jpeg does not.
    let planes = if decodes_with_zune(header, scale) {
        0
    } else {
        pixels * components
    };
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
        // Planes and coefficients are gone before the picture is expanded or turned.
        bytes: interleaved + (planes + coefficients).max(expanded).max(turned),
        what: if coefficients > 0 {
            "when decoded, with the coefficients of a progressive JPEG"
        } else {
            "when decoded"
        },
    }
}

fn decode_scaled(file: Bytes, header: &Header, scale: u32) -> Result<DynamicImage, PictureError> {
    let mut decoder = Decoder::new(Upload::new(file));
    decoder.read_info().map_err(refusal)?;
    if scale > 1 {
        let side = |side: u32| u16::try_from(side.div_ceil(scale)).expect("a side has 16 bits");
        decoder
            .scale(side(header.width), side(header.height))
            .map_err(refusal)?;
    }
    let samples = decoder.decode().map_err(refusal)?;
    let info = decoder.info().expect("read_info() succeeded");
    let (width, height) = (info.width.into(), info.height.into());
    let picture = match info.pixel_format {
        PixelFormat::RGB24 => Pixels::from_raw(width, height, samples).map(Into::into),
        PixelFormat::L8 => GrayImage::from_raw(width, height, samples).map(Into::into),
        PixelFormat::CMYK32 => {
            Pixels::from_raw(width, height, without_ink(samples)).map(Into::into)
        }
        PixelFormat::L16 => None,
    };
    picture.ok_or_else(|| PictureError::Broken("its frames contradict each other".into()))
}

/// CMYK to RGB in place, as Pillow's `convert` does it: what the ink leaves of white.
fn without_ink(mut samples: Vec<u8>) -> Vec<u8> {
    let pixels = samples.len() / 4;
    for pixel in 0..pixels {
        let white = 255 - u32::from(samples[pixel * 4 + 3]);
        for channel in 0..3 {
            let ink = u32::from(samples[pixel * 4 + channel]);
            let left = (255 - ink) * white;
            samples[pixel * 3 + channel] =
                u8::try_from((left + 127) / 255).expect("a product of two bytes, by 255");
        }
    }
    samples.truncate(pixels * 3);
    samples
}

fn refusal(error: Error) -> PictureError {
    match error {
        Error::Unsupported(feature) => {
            PictureError::Unsupported(format!("it is a JPEG with {feature:?}"))
        }
        error => PictureError::Broken(error.to_string()),
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
    fn halved_colours_are_enough_as_well() {
        let photo = jpeg_of(BASELINE, (3264, 2448), 1);
        let header = Header::read(&photo).expect("a good header");
        assert_eq!(header.stored_colours(), (1632, 1224));
        // At 1/4, 612 rows of brightness are enough for a model of 300, and 306 of colour are not.
        assert_eq!(scale_of(&photo, enough(600, 600, 0)), 2);
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

    #[test]
    fn full_ink_is_black_and_none_is_white() {
        let cmyk = vec![0, 0, 0, 0, 255, 255, 255, 0, 9, 9, 9, 255, 255, 0, 0, 127];
        let rgb = [255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 128, 128];
        assert_eq!(without_ink(cmyk), rgb);
    }
}
