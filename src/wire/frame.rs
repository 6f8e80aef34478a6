//! Frames: a big-endian `u32` length and that many bytes.
//!
//! The splitting itself is tokio-util's [`LengthDelimitedCodec`]. It is told to leave the length in
//! the buffer until the whole frame is there, so a half-read frame is nothing but the bytes that
//! have arrived: no state of the codec has to be carried along with a connection.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// Bytes of the length in front of each message.
pub const PREFIX: usize = 4;

/// The longest frame before the hello is accepted: room for a name and extensions, and no reason
/// to hold more for a stranger.
pub const HELLO_LIMIT: u32 = 4096;

/// A frame that is longer than the limit. Nothing was reserved for it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a frame of {announced} bytes was announced, the limit is {limit}")]
pub struct FrameError {
    /// The length that the peer announced.
    pub announced: u32,
    /// The longest that is accepted now.
    pub limit: u32,
}

/// Cuts frames off the front of a buffer.
#[derive(Debug)]
pub struct Frames {
    codec: LengthDelimitedCodec,
    limit: u32,
}

impl Frames {
    /// Accepts frames of up to `limit` bytes, the length itself not counted.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        let codec = LengthDelimitedCodec::builder()
            .length_field_type::<u32>()
            .big_endian()
            .max_frame_length(limit as usize)
            .num_skip(0)
            .length_adjustment(PREFIX.cast_signed())
            .new_codec();
        Frames { codec, limit }
    }

    /// The longest frame that is accepted now.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Accepts frames of up to `limit` bytes from now on.
    pub fn set_limit(&mut self, limit: u32) {
        self.codec.set_max_frame_length(limit as usize);
        self.limit = limit;
    }

    /// The length that the frame at the front of `buffer` announces, once its four bytes are there.
    #[must_use]
    pub fn announced(buffer: &[u8]) -> Option<u32> {
        buffer
            .first_chunk::<PREFIX>()
            .map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// Takes the next whole frame, without its length, off the front of `buffer`; `None` while
    /// it is incomplete. Room for the rest is then reserved.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the announced length is above the limit; the buffer is left as it was.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let announced = Self::announced(buffer).unwrap_or(0);
        let frame = self.codec.decode(buffer).map_err(|_| FrameError {
            announced,
            limit: self.limit,
        })?;
        Ok(frame.map(|frame| frame.freeze().slice(PREFIX..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_checked_before_memory_is_reserved() {
        let mut frames = Frames::new(100);
        let mut buffer = BytesMut::from(&[0x7f, 0xff, 0xff, 0xff][..]);
        let refused = frames.next(&mut buffer);
        assert_eq!(
            refused,
            Err(FrameError {
                announced: 0x7fff_ffff,
                limit: 100
            })
        );
        assert!(buffer.capacity() < 4096, "{} reserved", buffer.capacity());
    }

    #[test]
    fn half_a_frame_needs_no_codec_state() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 3, b'a'][..]);
        assert_eq!(Frames::new(100).next(&mut buffer), Ok(None));
        buffer.extend_from_slice(b"bc and more");
        let frame = Frames::new(100).next(&mut buffer);
        assert_eq!(frame, Ok(Some(Bytes::from_static(b"abc"))));
        assert_eq!(&buffer[..], b" and more");
    }

    #[test]
    fn frame_at_the_limit_passes() {
        let mut buffer = BytesMut::from(&[0, 0, 0, 2, b'o', b'k'][..]);
        let frame = Frames::new(2).next(&mut buffer);
        assert_eq!(frame, Ok(Some(Bytes::from_static(b"ok"))));
    }
}
