//! What a picture may cost, and why one is refused.
//!
//! Costs are worked out from a file's header, before a pixel is decoded: what a file claims about
//! itself decides only whether it is read, never what is allocated past the limits.

use bytesize::ByteSize;

/// What a picture may cost.
#[derive(Clone, Copy, Debug)]
pub struct PictureLimits {
    /// Most pixels as the file has them, width times height. Bounds the time.
    pub pixels: u64,
    /// Most bytes that decoding may take at a time: pixels, copies of them, coefficients. The file
    /// itself is not counted.
    pub bytes: u64,
}

/// What decoding a picture takes, as its header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes: u64,
    /// What takes the bytes, for the error.
    pub(super) what: &'static str,
}

impl PictureLimits {
    /// # Errors
    ///
    /// [`PictureError::TooLarge`] names the size and the limit.
    pub(super) fn check(self, cost: Cost) -> Result<(), PictureError> {
        let limit = if u64::from(cost.width) * u64::from(cost.height) > self.pixels {
            format!("{} pixels", self.pixels)
        } else if cost.bytes > self.bytes {
            format!("{} of memory", ByteSize(self.bytes))
        } else {
            return Ok(());
        };
        Err(PictureError::TooLarge {
            width: cost.width,
            height: cost.height,
            cost: format!("{} {}", ByteSize(cost.bytes), cost.what),
            limit,
        })
    }
}

/// Why a file is no picture that we classify. Always the caller's fault.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PictureError {
    /// No bytes at all.
    #[error("the picture is empty: 0 bytes")]
    Empty,
    /// The content is of no format that we read.
    #[error("this is no picture that dermald reads ({0}); JPEG, PNG, WebP, GIF, BMP and TIFF are")]
    Unsupported(String),
    /// The file ends early or contradicts itself.
    #[error("the picture is broken: {0}")]
    Broken(String),
    /// More than the limits allow; nothing was decoded.
    #[error("the picture is too large: {width} x {height} pixels ({cost}), the limit is {limit}")]
    TooLarge {
        /// In pixels, as the header says.
        width: u32,
        /// In pixels, as the header says.
        height: u32,
        /// What decoding would take.
        cost: String,
        /// The limit that is exceeded.
        limit: String,
    },
}
