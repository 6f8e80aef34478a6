//! The building blocks of messages: text, bytes, lists and extensions.
//!
//! bincode's own containers reserve what the peer *announces*. These read what is really there: text
//! and bytes are cut out of the frame, lists grow item by item, so a frame can never make us hold
//! more than a small multiple of its own size.

use std::fmt;
use std::ops::Deref;

use bincode::de::{BorrowDecoder, Decode};
use bincode::enc::write::Writer;
use bincode::enc::{Encode, Encoder};
use bincode::error::{DecodeError, EncodeError};
use bytes::{Bytes, BytesMut};
use serde::{Serialize, Serializer};

/// The most extensions that a message may carry.
pub const MAX_EXTENSIONS: u64 = 64;

/// Bytes that share the memory of the frame they came in.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Bytes);

impl fmt::Debug for Blob {
    /// Only the length: a picture never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&hex)
    }
}

impl Encode for Blob {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0[..].encode(encoder)
    }
}

impl<'de> bincode::BorrowDecode<'de, Bytes> for Blob {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let slice = <&'de [u8]>::borrow_decode(decoder)?;
        Ok(Blob(decoder.context().slice_ref(slice)))
    }
}

/// UTF-8 text.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Text(pub String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for Text {
    fn from(text: T) -> Self {
        Text(text.into())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Encode for Text {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<'de, C> bincode::BorrowDecode<'de, C> for Text {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        Ok(Text(<&'de str>::borrow_decode(decoder)?.to_owned()))
    }
}

/// A list that grows with what was read, never with what was announced.
#[derive(Clone, Debug, PartialEq, Default, Serialize)]
pub struct List<T>(pub Vec<T>);

impl<T: Encode> Encode for List<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.0.len() as u64).encode(encoder)?;
        self.0.iter().try_for_each(|item| item.encode(encoder))
    }
}

impl<'de, C, T: bincode::BorrowDecode<'de, C>> bincode::BorrowDecode<'de, C> for List<T> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let count = u64::decode(decoder)?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::borrow_decode(decoder)?);
        }
        Ok(List(items))
    }
}

/// What a message carries beyond its fields: keys with bytes, at most [`MAX_EXTENSIONS`].
///
/// A key that the receiver does not know is ignored. This is how a message grows.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize)]
pub struct Extensions(pub Vec<(Text, Blob)>);

impl Extensions {
    /// The value of `key`, when it is there.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Bytes> {
        self.0
            .iter()
            .find(|(name, _)| &**name == key)
            .map(|(_, value)| &value.0)
    }

    /// Adds `value`, UTF-8 text or other bytes, under `key`, when there is one.
    #[must_use]
    pub fn with(mut self, key: &str, value: Option<impl Into<Bytes>>) -> Self {
        self.0
            .extend(value.map(|value| (Text::from(key), Blob(value.into()))));
        self
    }
}

impl Encode for Extensions {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<'de> bincode::BorrowDecode<'de, Bytes> for Extensions {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Bytes>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let count = u64::decode(decoder)?;
        if count > MAX_EXTENSIONS {
            return Err(DecodeError::OtherString(format!(
                "{count} extensions, the limit is {MAX_EXTENSIONS}"
            )));
        }
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push((Text::borrow_decode(decoder)?, Blob::borrow_decode(decoder)?));
        }
        Ok(Extensions(entries))
    }
}

/// Lets bincode write behind what a buffer already holds.
pub(super) struct Buffer<'a>(pub(super) &'a mut BytesMut);

impl Writer for Buffer<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
