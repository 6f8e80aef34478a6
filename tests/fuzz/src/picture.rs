//! One execution of the picture path: bytes to the model's input and to an overlay.

use dermald::image::{
    Base, ColourMap, Detail, Format, Heatmap, OverlayForm, Photo, PictureLimits, Reading, decode,
    overlay, tensor,
};
use dermald::model::{Alpha, Colour, Decode, Fit, Input, Layout, Resize, Truncated};

use crate::allowance::peak_of;

/// Small, so that an execution takes a fraction of a millisecond and everything beyond shows.
pub const LIMITS: PictureLimits = PictureLimits {
    pixels: 1 << 16,
    bytes: 1 << 18,
};

/// What an execution may have at a time beyond [`PictureLimits::bytes`]: the tables and buffers that
/// decoders have whatever the picture is.
const MARGIN: usize = 1 << 19;

/// And for each byte of the file: a number of one byte in a TIFF's list takes 32 and is turned into one
/// of eight, and twelve bytes of a lossless WebP make a table of 4 KiB, which is watched from 64 MiB on.
const EACH_BYTE: usize = 400;

/// And for a lossy WebP: a part of it that claims up to 2^24 bytes, which are reserved before they turn
/// out not to be there.
const PART: usize = 1 << 24;

/// The model's size.
const SIZE: (u32, u32) = (12, 10);

/// Takes `file` through the whole path in three ways.
pub fn run(file: &[u8]) {
    let format = [Format::Png, Format::Jpeg, Format::WebP][file.len() % 3];
    let enough = Detail::Enough {
        size: (2 * SIZE.0, 2 * SIZE.1),
        longest_side: 40,
    };
    let plain = Reading::like_pillow(Detail::Full);
    let white = Reading {
        alpha: Alpha::White,
        ..plain
    };
    let scaled = Reading {
        detail: enough,
        ..plain
    };
    let lenient = Reading {
        alpha: Alpha::Black,
        colour: Colour::Srgb,
        truncated: Truncated::Accept,
        ..plain
    };
    one_way(file, white, Fit::Stretch, format);
    one_way(file, scaled, Fit::Contain, format);
    one_way(file, lenient, Fit::CentreCrop, format);
}

fn one_way(file: &[u8], reading: Reading, fit: Fit, format: Format) {
    let limits = LIMITS;
    let (decoded, peak) = peak_of(|| decode::decode(file, limits, reading));
    let claimed = if file.starts_with(b"RIFF") { PART } else { 0 };
    let most =
        usize::try_from(limits.bytes).expect("small") + MARGIN + EACH_BYTE * file.len() + claimed;
    assert!(
        peak <= most,
        "decoding {} bytes took {peak} bytes of memory, allowed are {most}: {decoded:?}",
        file.len(),
        decoded = decoded.as_ref().map(|photo| photo.pixels.dimensions()),
    );
    match decoded {
        Ok(photo) => use_photo(&photo, &input(reading, fit), format),
        Err(error) => assert!(error.to_string().len() < 1000, "a long error: {error}"),
    }
}

fn use_photo(photo: &Photo, input: &Input, format: Format) {
    let (width, height) = photo.pixels.dimensions();
    let part = photo.part;
    let inside = part.left >= 0.0
        && part.top >= 0.0
        && part.left + part.width <= f64::from(width)
        && part.top + part.height <= f64::from(height);
    assert!(
        inside && part.width > 0.0 && part.height > 0.0,
        "{part:?} of {width} x {height}"
    );
    assert!(u64::from(width) * u64::from(height) <= LIMITS.pixels);

    let values = tensor::from_photo(photo, input);
    assert_eq!(values.len(), 3 * (input.width * input.height) as usize);
    assert!(values.iter().all(|value| (0.0..=1.0).contains(value)));

    let form = OverlayForm {
        format,
        longest_side: Some(40),
        colour_map: ColourMap::Jet,
        alpha: 0.5,
        with_photo: true,
    };
    let base = Base::new(photo, form.longest_side, input);
    let heatmap = Heatmap {
        height: 2,
        width: 2,
        values: vec![0.0, 0.5, 1.0, f32::NAN],
    };
    let drawn = overlay::render(base, &heatmap, form).expect("an overlay is always drawn");
    assert_eq!(drawn.width.max(drawn.height), 40);
}

fn input(reading: Reading, fit: Fit) -> Input {
    Input {
        tensor: "image".into(),
        width: SIZE.0,
        height: SIZE.1,
        layout: Layout::Nhwc,
        resize: Resize::Lanczos,
        fit,
        decode: Decode::Scaled,
        alpha: reading.alpha,
        colour: reading.colour,
        truncated: reading.truncated,
        orientation: reading.orientation,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    }
}
