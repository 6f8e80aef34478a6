//! What is wanted of a picture: how large it must come out of decoding, and on which ground.

use crate::model::{Alpha, Colour, Decode, Input, Orientation, Truncated};

/// What is wanted of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// How large it must come out.
    pub detail: Detail,
    /// What becomes of transparent pixels.
    pub alpha: Alpha,
    /// What becomes of its colour profile.
    pub colour: Colour,
    /// What becomes of a file that ends early.
    pub truncated: Truncated,
    /// Whether it is turned upright.
    pub orientation: Orientation,
}

impl Reading {
    /// What a model needs, and an overlay whose longest side is `overlay`.
    #[must_use]
    pub fn of(input: &Input, overlay: Option<u32>) -> Self {
        Reading {
            detail: Detail::of(input, overlay),
            alpha: input.alpha,
            colour: input.colour,
            truncated: input.truncated,
            orientation: input.orientation,
        }
    }

    /// As Pillow's `exif_transpose` and `convert("RGB")` do it: transparency and profile are dropped, and a file must
    /// be whole.
    #[must_use]
    pub const fn like_pillow(detail: Detail) -> Self {
        Reading {
            detail,
            alpha: Alpha::Drop,
            colour: Colour::AsStored,
            truncated: Truncated::Refuse,
            orientation: Orientation::Exif,
        }
    }
}

/// How much of a photo must be left after decoding.
#[derive(Clone, Copy, Debug)]
pub enum Detail {
    /// Every pixel.
    Full,
    /// A JPEG may come out smaller.
    Enough {
        /// Least width and height of the upright picture.
        size: (u32, u32),
        /// Least length of its longer side.
        longest_side: u32,
    },
}

impl Detail {
    /// Twice the model's size, so that the resize still has something to filter, as with Pillow's
    /// `draft`.
    fn of(input: &Input, overlay: Option<u32>) -> Self {
        match input.decode {
            Decode::Full => Detail::Full,
            Decode::Scaled => Detail::Enough {
                size: (2 * input.width, 2 * input.height),
                longest_side: overlay.unwrap_or(0),
            },
        }
    }

    pub(super) fn without_overlay(self) -> Self {
        match self {
            Detail::Full => Detail::Full,
            Detail::Enough { size, .. } => Detail::Enough {
                size,
                longest_side: 0,
            },
        }
    }

    pub(super) fn is_enough(self, (width, height): (u32, u32)) -> bool {
        match self {
            Detail::Full => false,
            Detail::Enough { size, longest_side } => {
                width >= size.0 && height >= size.1 && width.max(height) >= longest_side
            }
        }
    }
}
