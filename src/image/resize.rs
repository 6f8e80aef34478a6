//! Pixels to another size, with Pillow's filters (antialiased convolution, `a = 3` for Lanczos).

use image::RgbImage;

use super::{Part, Photo, Pixels, resample};
use crate::model::{Fit, Resize};

/// Where the picture lies inside a canvas of the requested size.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    /// The part of the source that is used.
    pub source: Part,
    /// Where its upper left corner comes to lie on the canvas.
    pub corner: (u32, u32),
    /// The size that it takes there.
    pub size: (u32, u32),
}

/// Resizes `photo` to `width` x `height`.
///
/// [`Fit::Contain`] leaves black borders; the other two fill the canvas.
#[must_use]
pub fn resize(photo: &Photo, (width, height): (u32, u32), filter: Resize, fit: Fit) -> Pixels {
    let placement = place(photo.part, (width, height), fit);
    let (inner_width, inner_height) = placement.size;
    let (left, top) = placement.corner;
    let inner = resample::resample(&photo.pixels, placement.source, placement.size, filter)
        .unwrap_or_else(|| nearest(&photo.pixels, placement.source, placement.size));
    if (inner_width, inner_height) == (width, height) {
        return inner;
    }
    let mut canvas = RgbImage::new(width, height);
    image::imageops::replace(&mut canvas, &inner, left.into(), top.into());
    canvas
}

/// Each new pixel is the old one that lies under its middle.
fn nearest(source: &Pixels, part: Part, (width, height): (u32, u32)) -> Pixels {
    let columns = under((part.left, part.width), source.width(), width);
    let rows = under((part.top, part.height), source.height(), height);
    Pixels::from_fn(width, height, |x, y| {
        *source.get_pixel(columns[x as usize], rows[y as usize])
    })
}

/// The sample of a line of so many `samples` that lies under each of `length` new ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped first"
)]
fn under((start, extent): (f64, f64), samples: u32, length: u32) -> Vec<u32> {
    let ratio = extent / f64::from(length);
    let middle = |position: u32| start + (f64::from(position) + 0.5) * ratio;
    let last = f64::from(samples - 1);
    (0..length)
        .map(|position| middle(position).clamp(0.0, last) as u32)
        .collect()
}

/// Where `whole` lies inside a canvas of size `to`.
#[must_use]
pub fn place(whole: Part, to: (u32, u32), fit: Fit) -> Placement {
    let Part { width, height, .. } = whole;
    let ratios = (f64::from(to.0) / width, f64::from(to.1) / height);
    match fit {
        Fit::Stretch => Placement {
            source: whole,
            corner: (0, 0),
            size: to,
        },
        Fit::Contain => {
            let ratio = ratios.0.min(ratios.1);
            let size = (scaled(width, ratio, to.0), scaled(height, ratio, to.1));
            Placement {
                source: whole,
                corner: ((to.0 - size.0) / 2, (to.1 - size.1) / 2),
                size,
            }
        }
        Fit::CentreCrop => {
            let ratio = ratios.0.max(ratios.1);
            let used = (f64::from(to.0) / ratio, f64::from(to.1) / ratio);
            let (left, top) = ((width - used.0) / 2.0, (height - used.1) / 2.0);
            let source = Part {
                left: whole.left + left.max(0.0),
                top: whole.top + top.max(0.0),
                width: used.0.min(width),
                height: used.1.min(height),
            };
            Placement {
                source,
                corner: (0, 0),
                size: to,
            }
        }
    }
}

/// `side * ratio`, rounded, at least 1 and at most `most`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the value is clamped to 1..=most first"
)]
fn scaled(side: f64, ratio: f64, most: u32) -> u32 {
    (side * ratio).round().clamp(1.0, f64::from(most)) as u32
}

/// The size whose longest side is `longest` pixels, with the aspect ratio of `photo`.
#[must_use]
pub fn longest_side(photo: &Photo, longest: u32) -> (u32, u32) {
    let Part { width, height, .. } = photo.part;
    let ratio = f64::from(longest) / width.max(height);
    (
        scaled(width, ratio, longest),
        scaled(height, ratio, longest),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contain_keeps_the_aspect_and_centre_crop_the_middle() {
        // Left half black, right half white; 40 x 20 into a square.
        let picture =
            RgbImage::from_fn(40, 20, |x, _| image::Rgb([if x < 20 { 0 } else { 255 }; 3]));
        let picture = Photo::from(picture);
        let contained = resize(&picture, (20, 20), Resize::Nearest, Fit::Contain);
        assert_eq!(contained.get_pixel(19, 10).0, [255; 3]);
        assert_eq!(contained.get_pixel(19, 2).0, [0; 3], "the border is black");
        let cropped = resize(&picture, (20, 20), Resize::Nearest, Fit::CentreCrop);
        assert_eq!(cropped.get_pixel(9, 0).0, [0; 3]);
        assert_eq!(cropped.get_pixel(10, 0).0, [255; 3]);
    }

    #[test]
    fn extreme_aspect_keeps_a_pixel() {
        let line = Photo::from(RgbImage::new(5000, 1));
        assert_eq!(longest_side(&line, 300), (300, 1));
        assert_eq!(
            resize(&line, (8, 8), Resize::Lanczos, Fit::Contain).dimensions(),
            (8, 8)
        );
    }
}
