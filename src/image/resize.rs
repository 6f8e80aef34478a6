//! Pixels to another size, with Pillow's filters (antialiased convolution, `a = 3` for Lanczos).

use fast_image_resize::images::{Image, ImageRef, TypedImage};
use fast_image_resize::pixels::U16;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

use super::{Part, Photo, Pixels};
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
    let source = view(&photo.pixels, PixelType::U8x3);
    let target = across_then_down(&source, placement.size, filter, placement.source);
    let inner = RgbImage::from_raw(inner_width, inner_height, target.into_vec())
        .expect("three bytes a pixel were made");
    if (inner_width, inner_height) == (width, height) {
        return inner;
    }
    let mut canvas = RgbImage::new(width, height);
    image::imageops::replace(&mut canvas, &inner, left.into(), top.into());
    canvas
}

/// `part` of a picture of one channel of 16 bits, row by row from the top, at the size `to`. Where the
/// part ends inside the picture, what lies beyond still shapes the values at its edge.
#[must_use]
pub fn resize_levels(
    levels: Vec<u16>,
    size: (u32, u32),
    part: Part,
    to: (u32, u32),
    filter: Resize,
) -> TypedImage<'static, U16> {
    let levels = levels.into_iter().map(U16::new).collect();
    let source =
        TypedImage::from_pixels(size.0, size.1, levels).expect("the caller has one value a pixel");
    let mut target = TypedImage::new(to.0, to.1);
    Resizer::new()
        .resize_typed(&source, &mut target, &options(filter, part))
        .expect("the part lies inside");
    target
}

fn view(picture: &Pixels, kind: PixelType) -> ImageRef<'_> {
    ImageRef::new(picture.width(), picture.height(), picture.as_raw(), kind)
        .expect("an RgbImage has three bytes a pixel")
}

/// Rows are resized before columns, as Pillow does it. Each pass ends in 8 bits, so where a filter
/// overshoots at an edge the order shows: up to 8 levels at hard edges between pure colours. Pillow
/// goes the other way, as the library always does, for ribbons more than a hundred times as high as
/// wide, which would grow between the passes.
fn across_then_down(
    source: &ImageRef<'_>,
    (width, height): (u32, u32),
    filter: Resize,
    part: Part,
) -> Image<'static> {
    let rows = source.height();
    let mut target = Image::new(width, height, PixelType::U8x3);
    let ribbon = rows > 100 * source.width() && height < rows;
    if filter == Resize::Nearest || ribbon {
        run(source, &mut target, &options(filter, part));
        return target;
    }
    let across = Part {
        top: 0.0,
        height: f64::from(rows),
        ..part
    };
    let down = Part {
        left: 0.0,
        width: f64::from(width),
        ..part
    };
    let mut narrow = Image::new(width, rows, PixelType::U8x3);
    run(source, &mut narrow, &options(filter, across));
    let narrow = ImageRef::new(width, rows, narrow.buffer(), PixelType::U8x3)
        .expect("three bytes a pixel were made");
    run(&narrow, &mut target, &options(filter, down));
    target
}

fn run(source: &ImageRef<'_>, target: &mut Image<'_>, options: &ResizeOptions) {
    Resizer::new()
        .resize(source, target, options)
        .expect("both sides have the same pixel type, and the crop lies inside");
}

fn options(filter: Resize, part: Part) -> ResizeOptions {
    let algorithm = match filter {
        Resize::Nearest => ResizeAlg::Nearest,
        Resize::Bilinear => ResizeAlg::Convolution(FilterType::Bilinear),
        Resize::Bicubic => ResizeAlg::Convolution(FilterType::CatmullRom),
        Resize::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
    };
    ResizeOptions::new()
        .resize_alg(algorithm)
        .crop(part.left, part.top, part.width, part.height)
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
