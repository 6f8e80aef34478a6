//! A decoded photo: its pixels, upright, and where in them it lies.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

/// Pixels, 8 bits each of red, green, blue.
pub type Pixels = RgbImage;

/// A photo, upright.
#[derive(Clone, Debug, PartialEq)]
pub struct Photo {
    /// What was decoded.
    pub pixels: Pixels,
    /// The part of it that the photo covers.
    pub part: Part,
}

/// A rectangle in pixels that need not end where a pixel ends: 1801 rows decoded at an eighth are
/// 226 rows of which the photo covers 225.125. A resize that took the whole for the photo would shift
/// it by up to a pixel of the model's.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Part {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl From<Pixels> for Photo {
    fn from(pixels: Pixels) -> Self {
        let size = (pixels.width().into(), pixels.height().into());
        Photo::covering(pixels, size)
    }
}

impl Photo {
    /// A photo that ends before the last pixels do.
    fn covering(pixels: Pixels, (width, height): (f64, f64)) -> Self {
        let part = Part {
            left: 0.0,
            top: 0.0,
            width,
            height,
        };
        Photo { pixels, part }
    }

    /// `picture`, of which the photo covers `size` from the upper left corner, as RGB and turned.
    /// What is not needed is dropped first, as turning may take a copy.
    pub(super) fn upright(
        picture: DynamicImage,
        size: (f64, f64),
        orientation: Orientation,
    ) -> Self {
        let stored = Photo::covering(into_rgb8(picture), size);
        let part = stored.turned_part(orientation);
        let mut upright = DynamicImage::ImageRgb8(stored.pixels);
        upright.apply_orientation(orientation);
        Photo {
            pixels: upright.into_rgb8(),
            part,
        }
    }

    /// Where the part lies when the pixels are turned.
    fn turned_part(&self, orientation: Orientation) -> Part {
        use Orientation::{
            FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180,
            Rotate270, Rotate270FlipH,
        };
        let Part { width, height, .. } = self.part;
        let right = f64::from(self.pixels.width()) - width;
        let below = f64::from(self.pixels.height()) - height;
        let (left, top) = match orientation {
            NoTransforms | Rotate90FlipH => (0.0, 0.0),
            FlipHorizontal => (right, 0.0),
            FlipVertical => (0.0, below),
            Rotate180 => (right, below),
            Rotate90 => (below, 0.0),
            Rotate270 => (0.0, right),
            Rotate270FlipH => (below, right),
        };
        let (width, height) = turned((width, height), orientation);
        Part {
            left,
            top,
            width,
            height,
        }
    }
}

/// Without alpha, in 8 bits a channel: the upper ones of 16, as Pillow and libpng take them.
fn into_rgb8(picture: DynamicImage) -> Pixels {
    let cut = |level: &u16| level.to_be_bytes()[0];
    let levels: Vec<u8> = match &picture {
        DynamicImage::ImageRgb16(picture) => picture.as_raw().iter().map(cut).collect(),
        DynamicImage::ImageRgba16(picture) => picture
            .pixels()
            .flat_map(|pixel| [0, 1, 2].map(|channel| cut(&pixel.0[channel])))
            .collect(),
        DynamicImage::ImageLuma16(picture) => picture
            .as_raw()
            .iter()
            .flat_map(|level| [cut(level); 3])
            .collect(),
        DynamicImage::ImageLumaA16(picture) => picture
            .pixels()
            .flat_map(|pixel| [cut(&pixel.0[0]); 3])
            .collect(),
        _ => return picture.into_rgb8(),
    };
    Pixels::from_raw(picture.width(), picture.height(), levels).expect("three levels a pixel")
}

/// How many copies of the pixels turning takes: flips and half turns are done in place.
pub(super) fn turning_copies(orientation: Orientation) -> u64 {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    u64::from(matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    ))
}

/// Width and height after turning.
pub(super) fn turned<T>((width, height): (T, T), orientation: Orientation) -> (T, T) {
    if turning_copies(orientation) == 0 {
        (width, height)
    } else {
        (height, width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A photo of 1.5 x 1 pixels in 2 x 1: the corner that was the upper left one is still the
    /// photo's, and the half pixel is cut off opposite of it.
    #[test]
    fn part_turns_with_the_pixels() {
        for number in 1..=8 {
            let orientation = Orientation::from_exif(number).expect("there are eight");
            let mut pixels = Pixels::new(2, 1);
            pixels.put_pixel(0, 0, [255; 3].into());
            let photo = Photo::upright(pixels.into(), (1.5, 1.0), orientation);
            let Part {
                left,
                top,
                width,
                height,
            } = photo.part;
            let lit = photo
                .pixels
                .enumerate_pixels()
                .find(|(_, _, pixel)| pixel.0[0] == 255)
                .expect("one is lit");
            let (x, y) = (f64::from(lit.0), f64::from(lit.1));
            let inside = left <= x && x + 1.0 <= left + width && top <= y && y < top + height;
            assert!(inside, "orientation {number}: {:?}", photo.part);
            assert!((width * height - 1.5).abs() < 1e-9);
        }
    }
}
