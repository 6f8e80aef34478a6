//! A file that is let go as soon as its last byte has been read.

use std::io::{self, Read};

use bytes::Bytes;

/// Reads a file and gives back its memory at the end.
///
/// `jpeg-decoder` reads the whole file before it puts the colours together: a photo of 48 megapixels
/// has 14 MiB, and its pixels at 1/4 take 9 MiB. They need not be there at the same time.
pub(super) struct Upload {
    rest: Bytes,
}

impl Upload {
    pub(super) fn new(file: Bytes) -> Self {
        Upload { rest: file }
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        bytes::Buf::advance(&mut self.rest, length);
        if self.rest.is_empty() {
            self.rest = Bytes::new();
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_let_go_with_its_last_byte() {
        let file = Bytes::from(vec![1, 2, 3]);
        let mut upload = Upload::new(file.clone());
        upload.read_exact(&mut [0; 2]).expect("three are there");
        assert!(!file.is_unique());
        assert_eq!(upload.read(&mut [0; 8]).expect("no input or output"), 1);
        assert!(file.is_unique());
    }
}
