//! The manifest's `[input]`: how a picture becomes the tensor that the model takes.

use serde::Deserialize;

/// What the model takes: one picture, as `float32` of shape `[1, height, width, 3]` (`NHWC`) or
/// `[1, 3, height, width]` (`NCHW`), channels in the order red, green, blue.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The tensor's name.
    pub tensor: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Order of the axes.
    pub layout: Layout,
    /// Filter of the resize, as in the training.
    pub resize: Resize,
    /// What happens to a photo of another aspect ratio.
    #[serde(default)]
    pub fit: Fit,
    /// Whether every pixel of a JPEG is decoded.
    #[serde(default)]
    pub decode: Decode,
    /// What becomes of transparent pixels.
    #[serde(default)]
    pub alpha: Alpha,
    /// What becomes of a colour profile.
    #[serde(default)]
    pub colour: Colour,
    /// What becomes of a file that ends early.
    #[serde(default)]
    pub truncated: Truncated,
    /// Whether a photo is turned upright.
    #[serde(default)]
    pub orientation: Orientation,
    /// `tensor = (pixel * scale - mean) / std`, with pixels in 0..255.
    #[serde(default = "one")]
    pub scale: f32,
    /// Per channel.
    #[serde(default)]
    pub mean: [f32; 3],
    /// Per channel, none of them zero.
    #[serde(default = "ones")]
    pub std: [f32; 3],
}

fn one() -> f32 {
    1.0
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

/// Order of the input's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Layout {
    /// Batch, rows, columns, channels (TensorFlow).
    #[serde(rename = "NHWC")]
    Nhwc,
    /// Batch, channels, rows, columns (PyTorch).
    #[serde(rename = "NCHW")]
    Nchw,
}

/// Filter of the resize, antialiased as in Pillow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are Pillow's")]
pub enum Resize {
    Nearest,
    Bilinear,
    Bicubic,
    Lanczos,
}

/// What happens to a photo whose aspect ratio is not the model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Each side is resized by itself.
    #[default]
    Stretch,
    /// The whole photo, with black borders.
    Contain,
    /// The middle of the photo, as large as it goes.
    CentreCrop,
}

/// Whether every pixel of a JPEG is decoded before the resize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decode {
    /// Large photos are decoded at 1/2, 1/4 or 1/8, so that at least twice the model's size remains
    /// (Pillow's `draft`): a fraction of memory and time.
    #[default]
    Scaled,
    /// All pixels are, as Pillow does it without `draft`: for sites that need what their training saw.
    Full,
}

/// What becomes of the pixels of a picture with transparency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Alpha {
    /// They show the colour that they would have if they were opaque, as with Pillow's `convert`.
    #[default]
    Drop,
    /// They lie over white.
    White,
    /// They lie over black.
    Black,
}

/// What becomes of the colour profile that comes with a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Colour {
    /// It is left aside, as with Pillow's `convert`, and so as in most trainings. Photos of phones, in
    /// Display P3, come out a little paler than they are.
    #[default]
    AsStored,
    /// Pixels are converted to sRGB, for models whose training did so.
    Srgb,
}

/// What becomes of a file that ends early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncated {
    /// It is broken, and the caller is told.
    #[default]
    Refuse,
    /// What is there counts, as with Pillow's `LOAD_TRUNCATED_IMAGES`, and the rest is as there: black in
    /// a PNG or BMP, grey in a JPEG. Such a JPEG is decoded in full.
    Accept,
}

/// Whether a photo is turned as its EXIF says. The overlay is turned alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orientation {
    /// It is, as with Pillow's `exif_transpose`.
    #[default]
    Exif,
    /// It is not: for models whose training saw photos as they lie in their files.
    AsStored,
}
