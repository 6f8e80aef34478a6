//! What an overlay is drawn on: the photo at its size, and where on it the heatmap comes to lie.
//!
//! A heatmap covers the model's input. Where that holds borders, or only the middle of the photo, the
//! heatmap is cut or kept to the middle.

use super::resize::{self, Placement};
use super::{Part, Photo, Pixels};
use crate::model::{Fit, Input};

/// The photo at the size that the overlay will have, and where on it the heatmap comes to lie.
#[derive(Clone, Debug)]
pub struct Base {
    pub(super) pixels: Pixels,
    /// The part of the heatmap that is shown, in 0..1 of its sides.
    pub(super) shown: Part,
    /// What that covers of `pixels`. The rest the model has not seen.
    pub(super) covered: Area,
}

/// A rectangle in whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) left: u32,
    pub(super) top: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Base {
    /// What the model sees of `photo`, at the size of its input; or, with a longest side in pixels, the
    /// whole photo in its own aspect ratio.
    ///
    /// Made before the inference, so that the full picture need not be kept.
    #[must_use]
    pub fn new(photo: &Photo, longest_side: Option<u32>, input: &Input) -> Self {
        match longest_side {
            Some(longest) => Base::of_photo(photo, longest, input),
            None => Base::of_input(photo, input),
        }
    }

    fn of_input(photo: &Photo, input: &Input) -> Self {
        let size = (input.width, input.height);
        Base::covered_wholly(resize::resize(photo, size, input.resize, input.fit))
    }

    /// What all of the heatmap lies over.
    pub(super) fn covered_wholly(pixels: Pixels) -> Self {
        let (width, height) = pixels.dimensions();
        Base {
            pixels,
            shown: Part {
                left: 0.0,
                top: 0.0,
                width: 1.0,
                height: 1.0,
            },
            covered: Area {
                left: 0,
                top: 0,
                width,
                height,
            },
        }
    }

    fn of_photo(photo: &Photo, longest: u32, input: &Input) -> Self {
        let canvas = (input.width, input.height);
        let size = resize::longest_side(photo, longest);
        let seen = resize::place(photo.part, canvas, input.fit);
        Base {
            pixels: resize::resize(photo, size, input.resize, Fit::Stretch),
            shown: shown(seen, canvas),
            covered: covered(seen.source, photo.part, size),
        }
    }
}

/// Where on the model's canvas the photo lies, in 0..1.
fn shown(seen: Placement, canvas: (u32, u32)) -> Part {
    let (width, height) = (f64::from(canvas.0), f64::from(canvas.1));
    Part {
        left: f64::from(seen.corner.0) / width,
        top: f64::from(seen.corner.1) / height,
        width: f64::from(seen.size.0) / width,
        height: f64::from(seen.size.1) / height,
    }
}

/// Where `source`, which lies inside `whole`, comes to lie when `whole` is resized to `size`.
fn covered(source: Part, whole: Part, size: (u32, u32)) -> Area {
    let (left, width) = span(
        (source.left - whole.left) / whole.width,
        source.width / whole.width,
        size.0,
    );
    let (top, height) = span(
        (source.top - whole.top) / whole.height,
        source.height / whole.height,
        size.1,
    );
    Area {
        left,
        top,
        width,
        height,
    }
}

/// Start and length in pixels of what is given in 0..1 of a side; at least one pixel.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the side first"
)]
fn span(start: f64, length: f64, side: u32) -> (u32, u32) {
    let at = |share: f64| (share * f64::from(side)).round();
    let first = at(start).clamp(0.0, f64::from(side - 1)) as u32;
    let end = at(start + length).clamp(f64::from(first + 1), f64::from(side)) as u32;
    (first, end - first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Alpha, Colour, Decode, Layout, Orientation, Resize, Truncated};

    fn input(fit: Fit) -> Input {
        Input {
            tensor: "image".into(),
            width: 100,
            height: 100,
            layout: Layout::Nhwc,
            resize: Resize::Bilinear,
            fit,
            decode: Decode::Full,
            alpha: Alpha::Drop,
            colour: Colour::AsStored,
            truncated: Truncated::Refuse,
            orientation: Orientation::Exif,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
        }
    }

    fn base(fit: Fit, longest_side: Option<u32>) -> Base {
        Base::new(&Pixels::new(80, 40).into(), longest_side, &input(fit))
    }

    #[test]
    fn heatmap_of_a_contained_photo_is_shown_without_its_borders() {
        let base = base(Fit::Contain, Some(60));
        assert_eq!(base.pixels.dimensions(), (60, 30));
        let Part {
            left,
            top,
            width,
            height,
        } = base.shown;
        assert_eq!((left, top, width, height), (0.0, 0.25, 1.0, 0.5));
        assert_eq!((base.covered.width, base.covered.height), (60, 30));
    }

    #[test]
    fn heatmap_of_a_cropped_photo_lies_over_its_middle() {
        let base = base(Fit::CentreCrop, Some(60));
        assert_eq!(base.pixels.dimensions(), (60, 30));
        let middle = Area {
            left: 15,
            top: 0,
            width: 30,
            height: 30,
        };
        assert_eq!(base.covered, middle);
        assert_eq!((base.shown.width, base.shown.height), (1.0, 1.0));
    }

    #[test]
    fn at_the_models_size_the_whole_input_is_shown() {
        for fit in [Fit::Stretch, Fit::Contain, Fit::CentreCrop] {
            let base = base(fit, None);
            assert_eq!(base.pixels.dimensions(), (100, 100));
            assert_eq!((base.covered.width, base.covered.height), (100, 100));
        }
    }

    #[test]
    fn thin_photo_keeps_a_row_and_a_column() {
        let thin = Photo::from(Pixels::new(5000, 1));
        for fit in [Fit::Stretch, Fit::Contain, Fit::CentreCrop] {
            let base = Base::new(&thin, Some(64), &input(fit));
            assert_eq!(base.pixels.dimensions(), (64, 1));
            assert!(base.covered.width >= 1 && base.covered.height == 1);
        }
    }
}
