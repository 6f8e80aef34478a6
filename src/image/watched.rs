//! A file that stops being readable when reading it makes the process too large.
//!
//! Limits are worked out from a header, and some of what decoders hold is not in any: a lossless WebP of
//! 4 x 4 pixels may bring 327,680 tables of 4 KiB in as many pieces of 12 bytes, 1.3 GiB in all, and its
//! decoder knows no bound. What is held grows as the file is read, so it is looked at between two pieces.

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};

/// How much is read between two looks, in bytes. A few hundred times that may be held meanwhile.
const PIECE: u64 = 16 * 1024;

/// What others in the process may take while a picture is decoded, in bytes: requests and replies on
/// their way. More stops a picture that is not to blame.
const OTHERS: u64 = 64 << 20;

/// A file in memory, and how large the process may become by reading it.
pub(super) struct Watched<'a> {
    file: Cursor<&'a [u8]>,
    /// The piece that was looked at last.
    piece: u64,
    /// In bytes, resident; `None` where the system does not tell.
    most: Option<u64>,
}

impl<'a> Watched<'a> {
    /// Lets decoding take so many bytes, and no more than that by much.
    pub(super) fn new(file: &'a [u8], bytes: u64) -> Self {
        Watched {
            file: Cursor::new(file),
            piece: 0,
            most: resident().map(|now| now.saturating_add(bytes).saturating_add(OTHERS)),
        }
    }

    fn look(&mut self) -> io::Result<()> {
        let piece = self.file.position() / PIECE;
        if piece == self.piece {
            return Ok(());
        }
        self.piece = piece;
        match (resident(), self.most) {
            (Some(now), Some(most)) if now > most => Err(io::Error::other(
                "decoding it takes far more memory than its size tells",
            )),
            _ => Ok(()),
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        self.file.read(buffer)
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.look()?;
        let rest = self.file.fill_buf()?;
        let piece = usize::try_from(PIECE).expect("small");
        Ok(&rest[..rest.len().min(piece)])
    }

    fn consume(&mut self, amount: usize) {
        self.file.consume(amount);
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// What the process has in memory and nobody can take from it, in bytes: the second number of `statm` is
/// of all pages, the third of those that files are behind.
fn resident() -> Option<u64> {
    // Linux has no other for the machines that dermald is built for.
    const PAGE: u64 = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let mut numbers = text.split(' ').skip(1).map(str::parse::<u64>);
    let (all, of_files) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    Some(all.saturating_sub(of_files) * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_to_its_end_and_no_further_once_the_process_has_grown() {
        let file: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut read = Vec::new();
        let mut watched = Watched::new(&file, 1 << 30);
        watched.read_to_end(&mut read).expect("read");
        assert_eq!(read, file);

        let mut watched = Watched::new(&file, 0);
        watched.fill_buf().expect("the first piece");
        let grown = std::hint::black_box(vec![1_u8; 2 * usize::try_from(OTHERS).expect("small")]);
        watched.consume(20_000);
        let error = watched.fill_buf().expect_err("refused");
        assert!(error.to_string().contains("far more memory"), "{error}");
        drop(grown);
    }
}
