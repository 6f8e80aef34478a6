//! Pixels to the model's `float32` input.

use super::{Photo, resize};
use crate::model::Input;
use crate::model::Layout;

/// Resizes `photo` as the manifest says and writes `(pixel * scale - mean) / std` in its layout.
///
/// The result has `3 * width * height` values: `[1, height, width, 3]` or `[1, 3, height, width]`.
#[must_use]
pub fn from_photo(photo: &Photo, input: &Input) -> Vec<f32> {
    let small = resize::resize(photo, (input.width, input.height), input.resize, input.fit);
    let value = |pixel: &image::Rgb<u8>, channel: usize| {
        (f32::from(pixel.0[channel]) * input.scale - input.mean[channel]) / input.std[channel]
    };
    match input.layout {
        Layout::Nhwc => small
            .pixels()
            .flat_map(|pixel| (0..3).map(move |channel| value(pixel, channel)))
            .collect(),
        Layout::Nchw => (0..3)
            .flat_map(|channel| small.pixels().map(move |pixel| value(pixel, channel)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Pixels;
    use crate::model::{Alpha, Colour, Decode, Fit, Orientation, Resize, Truncated};

    fn input(layout: Layout) -> Input {
        Input {
            tensor: "image".into(),
            width: 2,
            height: 1,
            layout,
            resize: Resize::Nearest,
            fit: Fit::Stretch,
            decode: Decode::Scaled,
            alpha: Alpha::Drop,
            colour: Colour::AsStored,
            truncated: Truncated::Refuse,
            orientation: Orientation::Exif,
            scale: 0.5,
            mean: [1.0, 2.0, 3.0],
            std: [1.0, 2.0, 4.0],
        }
    }

    #[test]
    fn layouts_hold_the_same_values_in_their_own_order() {
        let picture = Pixels::from_raw(2, 1, vec![2, 8, 14, 4, 12, 22]).expect("two pixels");
        let picture = Photo::from(picture);
        let nhwc = from_photo(&picture, &input(Layout::Nhwc));
        assert_eq!(nhwc, [0.0, 1.0, 1.0, 1.0, 2.0, 2.0]);
        let nchw = from_photo(&picture, &input(Layout::Nchw));
        assert_eq!(nchw, [0.0, 1.0, 1.0, 2.0, 1.0, 2.0]);
    }
}
