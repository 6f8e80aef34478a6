//! The wire: how requests and replies become bytes and back.
//!
//! This room is the only one that knows bytes, and the only one that knows bincode. It refuses to
//! know sockets, queues and pictures: bytes come in as a buffer and leave as a buffer.
//! `docs/protocol.md` describes the same bytes for people who write a client; when one of the two
//! changes, so does the other, and the golden files in `tests/vectors` judge both.
//!
//! - [`frame`]: where a message begins and ends, and how long it may be.
//! - [`message`]: what can be asked and answered.
//! - [`value`]: text, bytes and lists that cannot make us reserve more than was sent.
//! - [`fault`]: the error codes, whose fault each is, and whether a retry may help.

pub mod fault;
pub mod frame;
pub mod message;
pub mod value;

use bytes::{Bytes, BytesMut};

pub use fault::{Code, Fault};
pub use frame::{FrameError, Frames};
pub use message::{Reply, Request};
pub use value::{Blob, Extensions, List, Text};

/// The only protocol version there is so far.
pub const VERSION: u16 = 1;

/// Fixed-width, little-endian, `u32` variant numbers. There is no limit here because nothing is
/// reserved on a peer's word: [`value`] takes lengths from what is really in the frame.
const LAYOUT: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Fixint,
    bincode::config::NoLimit,
> = bincode::config::legacy();

/// A frame whose content is no message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MessageError {
    /// The variant number is not one of ours; everything behind it was left unread.
    #[error("message number {number} is unknown to this version")]
    Unknown {
        /// The number that was sent.
        number: u32,
        /// The request's id, when eight bytes followed the number.
        id: Option<u64>,
    },
    /// The bytes cannot be read as the message that their number announces.
    #[error("malformed message: {0}")]
    Malformed(String),
}

/// A message that knows how many variants it has, so that a newer peer's variant can be told from
/// garbage.
pub trait Message: bincode::Encode + for<'a> bincode::BorrowDecode<'a, Bytes> {
    /// How many variants exist, numbered from zero.
    const VARIANTS: u32;
}

/// Reads the message that fills `frame` (without its length prefix).
///
/// Byte fields such as the picture are slices of `frame`, not copies: the frame's memory lives as
/// long as they do.
///
/// # Errors
///
/// [`MessageError::Unknown`] for a variant of a newer version, [`MessageError::Malformed`] for
/// anything that is not exactly one message.
pub fn decode<M: Message>(frame: &Bytes) -> Result<M, MessageError> {
    let number = frame
        .first_chunk::<4>()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or_else(|| MessageError::Malformed("shorter than a message number".into()))?;
    if number >= M::VARIANTS {
        let id = frame[4..]
            .first_chunk::<8>()
            .map(|bytes| u64::from_le_bytes(*bytes));
        return Err(MessageError::Unknown { number, id });
    }
    let (message, used) =
        bincode::borrow_decode_from_slice_with_context(frame, LAYOUT, frame.clone())
            .map_err(|error| MessageError::Malformed(error.to_string()))?;
    if used != frame.len() {
        return Err(MessageError::Malformed(format!(
            "{} bytes follow the end of the message",
            frame.len() - used
        )));
    }
    Ok(message)
}

/// Appends `message` as one whole frame to `out`.
///
/// # Panics
///
/// When the message is longer than `u32::MAX` bytes, which no picture that was admitted can cause.
pub fn encode<M: Message>(message: &M, out: &mut BytesMut) {
    let start = out.len();
    out.extend_from_slice(&[0; frame::PREFIX]);
    bincode::encode_into_writer(message, value::Buffer(out), LAYOUT)
        .expect("writing to memory cannot fail");
    let length = out.len() - start - frame::PREFIX;
    let length = u32::try_from(length).expect("a message is far shorter than 4 GiB");
    out[start..start + frame::PREFIX].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::message::{About, Explain, Predict, Priority};
    use super::*;

    fn predict(picture: Bytes) -> Request {
        Request::Predict(Predict {
            id: 7,
            picture: Blob(picture),
            top_k: 3,
            target: None,
            explain: Explain::Values,
            deadline_ms: 0,
            priority: Priority::Interactive,
            language: None,
            traceparent: None,
            extensions: Extensions::default(),
        })
    }

    fn frame_of<M: Message>(message: &M) -> Bytes {
        let mut out = BytesMut::new();
        encode(message, &mut out);
        out.split_off(frame::PREFIX).freeze()
    }

    #[test]
    fn picture_is_a_slice_of_the_frame() {
        let frame = frame_of(&predict(Bytes::from_static(b"picture")));
        let Ok(Request::Predict(read)) = decode(&frame) else {
            panic!("a prediction was encoded");
        };
        let frame_range = frame.as_ptr_range();
        assert!(frame_range.contains(&read.picture.0.as_ptr()));
        assert_eq!(&read.picture.0[..], b"picture");
    }

    #[test]
    fn every_shorter_frame_is_malformed() {
        let frame = frame_of(&predict(Bytes::from_static(b"picture")));
        for end in 0..frame.len() {
            let cut = frame.slice(..end);
            assert!(
                matches!(decode::<Request>(&cut), Err(MessageError::Malformed(_))),
                "{end} of {} bytes were taken for a message",
                frame.len()
            );
        }
    }

    #[test]
    fn unknown_number_still_tells_the_id() {
        let mut bytes = frame_of(&Request::Health(About::new(9))).to_vec();
        bytes[0] = 200;
        assert_eq!(
            decode::<Request>(&Bytes::from(bytes)),
            Err(MessageError::Unknown {
                number: 200,
                id: Some(9)
            })
        );
    }
}
