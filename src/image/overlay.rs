//! A heatmap over its photo, encoded.
//!
//! The overlay is made of pixels only: nothing of the photo's metadata (EXIF, position) is in it.

use std::io::Cursor;

use image::{ImageFormat, Rgb};

use super::{ColourMap, Photo, Pixels, resize};
use crate::model::{Fit, Resize};

/// File format of an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Format {
    Png,
    Jpeg,
    WebP,
}

/// How an overlay is to look.
#[derive(Clone, Copy, Debug)]
pub struct OverlayForm {
    /// File format.
    pub format: Format,
    /// Longest side in pixels with the photo's aspect ratio; `None` for the model's input size.
    pub longest_side: Option<u32>,
    /// The colours.
    pub colour_map: ColourMap,
    /// 0 shows the photo only, 1 the heatmap only.
    pub alpha: f32,
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
}

/// The photo at the size that the overlay will have. Made before the inference, so that the full
/// picture need not be kept.
#[must_use]
pub fn base(photo: &Photo, form: OverlayForm, model_size: (u32, u32), filter: Resize) -> Pixels {
    let size = form
        .longest_side
        .map_or(model_size, |longest| resize::longest_side(photo, longest));
    resize::resize(photo, size, filter, Fit::Stretch)
}

/// Blends `heatmap`, smoothly enlarged, over `base` and encodes the result.
///
/// # Errors
///
/// When the encoder fails, with its message.
pub fn render(mut base: Pixels, heatmap: &Heatmap, form: OverlayForm) -> Result<Overlay, String> {
    let (width, height) = base.dimensions();
    let levels: Vec<u8> = heatmap.values.iter().map(|value| level(*value)).collect();
    let levels = resize::resize_grey(&levels, (heatmap.width, heatmap.height), (width, height));
    let colours = form.colour_map.table();
    for (pixel, level) in base.pixels_mut().zip(levels) {
        *pixel = blend(*pixel, colours[usize::from(level)], form.alpha);
    }
    Ok(Overlay {
        format: form.format,
        width,
        height,
        file: encode(&base, form.format)?,
    })
}

/// 0..1 as 0..255.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=1, and a float cast saturates"
)]
fn level(value: f32) -> u8 {
    (value.clamp(0.0, 1.0) * 255.0) as u8
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of two numbers in 0..=255 lies there too"
)]
fn blend(photo: Rgb<u8>, colour: [u8; 3], alpha: f32) -> Rgb<u8> {
    Rgb(std::array::from_fn(|channel| {
        let (below, above) = (f32::from(photo.0[channel]), f32::from(colour[channel]));
        (below + alpha * (above - below)).round() as u8
    }))
}

fn encode(picture: &Pixels, format: Format) -> Result<Vec<u8>, String> {
    let format = match format {
        Format::Png => ImageFormat::Png,
        Format::Jpeg => ImageFormat::Jpeg,
        Format::WebP => ImageFormat::WebP,
    };
    let mut file = Cursor::new(Vec::new());
    picture
        .write_to(&mut file, format)
        .map_err(|error| error.to_string())?;
    Ok(file.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(alpha: f32, longest_side: Option<u32>) -> OverlayForm {
        OverlayForm {
            format: Format::Png,
            longest_side,
            colour_map: ColourMap::Jet,
            alpha,
        }
    }

    #[test]
    fn hot_corner_is_red_and_cold_corner_is_blue() {
        let grey = Pixels::from_pixel(60, 40, Rgb([128; 3]));
        let mut values = vec![0.0; 16];
        values[0] = 1.0;
        let heatmap = Heatmap {
            height: 4,
            width: 4,
            values,
        };
        let form = form(0.4, Some(30));
        let overlay = render(
            base(&grey.clone().into(), form, (9, 9), Resize::Lanczos),
            &heatmap,
            form,
        )
        .expect("rendered");
        assert_eq!((overlay.width, overlay.height), (30, 20));
        let picture = image::load_from_memory(&overlay.file)
            .expect("a PNG")
            .into_rgb8();
        let (hot, cold) = (picture.get_pixel(0, 0).0, picture.get_pixel(29, 19).0);
        assert!(hot[0] > hot[2], "{hot:?}");
        assert!(cold[2] > cold[0], "{cold:?}");
    }

    #[test]
    fn alpha_zero_leaves_the_photo_and_not_a_number_is_cold() {
        let grey = Pixels::from_pixel(8, 8, Rgb([100; 3]));
        let heatmap = Heatmap {
            height: 1,
            width: 1,
            values: vec![f32::NAN],
        };
        let form = form(0.0, None);
        let overlay = render(
            base(&grey.clone().into(), form, (8, 8), Resize::Lanczos),
            &heatmap,
            form,
        )
        .expect("rendered");
        let picture = image::load_from_memory(&overlay.file)
            .expect("a PNG")
            .into_rgb8();
        assert_eq!(picture, grey);
    }
}
