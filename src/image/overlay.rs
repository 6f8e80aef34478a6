//! A heatmap over its photo, encoded.
//!
//! The overlay is made of pixels only: nothing of the photo's metadata (EXIF, position) is in it.

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, Rgb};

use super::enlarge::enlarge;
use super::{Base, ColourMap, Pixels, jpeg};
use crate::model::Resize;

/// File format of an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Format {
    Png,
    Jpeg,
    WebP,
}

/// Quality of what is written as JPEG.
const QUALITY: u8 = 85;

/// How an overlay is to look.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverlayForm {
    /// File format.
    pub format: Format,
    /// Longest side in pixels with the photo's aspect ratio; `None` for the model's input size.
    pub longest_side: Option<u32>,
    /// The colours.
    pub colour_map: ColourMap,
    /// 0 shows the photo only, 1 the heatmap only.
    pub alpha: f32,
    /// Whether the photo is wanted as well, as it lies under the heatmap.
    pub with_photo: bool,
}

/// Grad-CAM at the resolution of its target layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// `height * width` values in 0..1, row by row from the top.
    pub values: Vec<f32>,
}

/// A rendered overlay.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// File format.
    pub format: Format,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The file.
    pub file: Vec<u8>,
    /// The photo without the heatmap, upright and at the same size, as JPEG; when it was wanted.
    pub photo: Option<Vec<u8>>,
}

/// Blends `heatmap`, smoothly enlarged, over `base` and encodes the result.
///
/// # Errors
///
/// When the encoder fails, with its message.
pub fn render(base: Base, heatmap: &Heatmap, form: OverlayForm) -> Result<Overlay, String> {
    let Base {
        mut pixels,
        shown,
        covered,
    } = base;
    let photo = form
        .with_photo
        .then(|| jpeg::encode(&pixels, QUALITY))
        .transpose()?;
    let (cells, filter) = drawn(heatmap, form.longest_side);
    let values = enlarge(&cells, shown, (covered.width, covered.height), filter);
    let shades = shades(&form.colour_map.table(), form.alpha);
    let mut values = values.into_iter();
    for y in covered.top..covered.top + covered.height {
        for x in covered.left..covered.left + covered.width {
            let value = values.next().expect("there is a value for each pixel");
            let pixel = pixels.get_pixel_mut(x, y);
            *pixel = blend(*pixel, shades[shade(value)], form.alpha);
        }
    }
    let (width, height) = pixels.dimensions();
    Ok(Overlay {
        format: form.format,
        width,
        height,
        file: encode(pixels, form)?,
        photo,
    })
}

/// The cells that are drawn, and how.
///
/// At the model's size it is what the first sites draw: 8 bits, bilinear. On a larger picture the eye
/// would see the creases that bilinear leaves between the few cells of the map, so there it is bicubic.
fn drawn(heatmap: &Heatmap, longest_side: Option<u32>) -> (Heatmap, Resize) {
    let cell = |value: &f32| match longest_side {
        None => (cold_if_none(*value) * 255.0).floor() / 255.0,
        Some(_) => cold_if_none(*value),
    };
    let filter = match longest_side {
        None => Resize::Bilinear,
        Some(_) => Resize::Bicubic,
    };
    let values = heatmap.values.iter().map(cell).collect();
    (Heatmap { values, ..*heatmap }, filter)
}

/// A value in 0..1; what is no number is 0.
fn cold_if_none(value: f32) -> f32 {
    if value.is_nan() {
        0.0
    } else {
        value.clamp(0.0, 1.0)
    }
}

/// How many shades there are from one colour of a table to the next, so that no band is seen.
const BETWEEN: usize = 4;

/// The colours of a table and those between them, each as much as `alpha` lets it be seen.
fn shades(table: &[[u8; 3]; 256], alpha: f32) -> Vec<[f32; 3]> {
    let steps = 0..=255 * BETWEEN;
    steps
        .map(|step| {
            let (before, share) = (step / BETWEEN, (step % BETWEEN) as f32 / BETWEEN as f32);
            let (from, to) = (table[before], table[(before + 1).min(255)]);
            std::array::from_fn(|channel| {
                let (from, to) = (f32::from(from[channel]), f32::from(to[channel]));
                alpha * (from + share * (to - from))
            })
        })
        .collect()
}

/// The place of a value's shade.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=1"
)]
fn shade(value: f32) -> usize {
    const LAST: f32 = (255 * BETWEEN) as f32;
    (value.clamp(0.0, 1.0) * LAST + 0.5) as usize
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of two numbers in 0..=255 lies there too; a half is added to round it"
)]
fn blend(photo: Rgb<u8>, shade: [f32; 3], alpha: f32) -> Rgb<u8> {
    Rgb(std::array::from_fn(|channel| {
        (f32::from(photo.0[channel]) * (1.0 - alpha) + shade[channel] + 0.5) as u8
    }))
}

/// The first sites' form, a PNG at the model's size, is RGBA; a heatmap is opaque all the same.
fn encode(pixels: Pixels, form: OverlayForm) -> Result<Vec<u8>, String> {
    let mut picture = DynamicImage::ImageRgb8(pixels);
    if form.longest_side.is_none() && form.format == Format::Png {
        picture = picture.into_rgba8().into();
    }
    let mut file = Vec::new();
    match form.format {
        Format::Png => picture.write_with_encoder(PngEncoder::new_with_quality(
            &mut file,
            // A stronger one saves 3 to 8 % and takes twenty to a hundred times as long.
            CompressionType::Fast,
            FilterType::Adaptive,
        )),
        Format::Jpeg => {
            let pixels = picture.as_rgb8().expect("it was made of RGB");
            return jpeg::encode(pixels, QUALITY);
        }
        Format::WebP => picture.write_with_encoder(WebPEncoder::new_lossless(&mut file)),
    }
    .map_err(|error| error.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::base::Area;

    fn form(alpha: f32, longest_side: Option<u32>) -> OverlayForm {
        OverlayForm {
            format: Format::Png,
            longest_side,
            colour_map: ColourMap::Jet,
            alpha,
            with_photo: false,
        }
    }

    fn grey(width: u32, height: u32) -> Base {
        Base::covered_wholly(Pixels::from_pixel(width, height, Rgb([128; 3])))
    }

    /// A map of 4 x 4 whose upper left cell is hot.
    fn corner() -> Heatmap {
        let mut values = vec![0.0; 16];
        values[0] = 1.0;
        Heatmap {
            height: 4,
            width: 4,
            values,
        }
    }

    fn rendered(base: Base, heatmap: &Heatmap, form: OverlayForm) -> DynamicImage {
        let overlay = render(base, heatmap, form).expect("rendered");
        let picture = image::load_from_memory(&overlay.file).expect("a picture");
        assert_eq!(
            (overlay.width, overlay.height),
            (picture.width(), picture.height())
        );
        picture
    }

    #[test]
    fn hot_corner_is_red_and_cold_corner_is_blue() {
        for longest_side in [None, Some(30)] {
            let picture = rendered(grey(30, 20), &corner(), form(0.4, longest_side)).into_rgb8();
            let (hot, cold) = (picture.get_pixel(0, 0).0, picture.get_pixel(29, 19).0);
            assert!(hot[0] > hot[2], "{hot:?}");
            assert!(cold[2] > cold[0], "{cold:?}");
        }
    }

    #[test]
    fn what_the_model_has_not_seen_stays_as_it_is() {
        let mut base = grey(30, 20);
        base.covered = Area {
            left: 10,
            top: 0,
            width: 10,
            height: 20,
        };
        let picture = rendered(base, &corner(), form(1.0, Some(30))).into_rgb8();
        for (x, _, pixel) in picture.enumerate_pixels() {
            assert_eq!(pixel.0 == [128; 3], !(10..20).contains(&x), "{x}");
        }
    }

    #[test]
    fn borders_of_the_heatmap_are_cut_off() {
        let mut base = grey(30, 20);
        base.shown.top = 0.5;
        base.shown.height = 0.5;
        let picture = rendered(base, &corner(), form(1.0, Some(30))).into_rgb8();
        assert_eq!(picture.get_pixel(0, 19).0, picture.get_pixel(29, 19).0);
        assert!(picture.get_pixel(0, 0).0[0] < 128, "the hot cell is above");
    }

    #[test]
    fn alpha_zero_leaves_the_photo_and_not_a_number_is_cold() {
        let heatmap = Heatmap {
            height: 1,
            width: 1,
            values: vec![f32::NAN],
        };
        let picture = rendered(grey(8, 8), &heatmap, form(0.0, None)).into_rgb8();
        assert_eq!(picture, grey(8, 8).pixels);
        let picture = rendered(grey(8, 8), &heatmap, form(1.0, None)).into_rgb8();
        assert_eq!(picture.get_pixel(4, 4).0, ColourMap::Jet.table()[0]);
    }

    #[test]
    fn png_of_the_models_size_has_an_opaque_alpha_channel() {
        let picture = rendered(grey(8, 8), &corner(), form(0.4, None));
        assert_eq!(picture.color(), image::ColorType::Rgba8);
        assert!(picture.into_rgba8().pixels().all(|pixel| pixel.0[3] == 255));
        let picture = rendered(grey(8, 8), &corner(), form(0.4, Some(8)));
        assert_eq!(picture.color(), image::ColorType::Rgb8);
    }
}
