//! WebP: what is looked at before its decoder does.
//!
//! An extended file says its size twice, for the canvas and in the header of the picture itself, and the
//! decoder compares the two when it has decoded: 200 bytes with a canvas of 24 x 18 could make it fill
//! 400 MB with 16,383 x 16,383 pixels. Here they are compared first.
//!
//! And the decoder holds more than its result meanwhile, which counts.

use super::PictureError;

/// What the decoder may reserve, in bytes, for metadata that were cut off with the end of a file.
const CUT: usize = 1 << 20;

/// A chunk. One that is cut off is as long as it is.
struct Chunk<'a> {
    kind: [u8; 4],
    /// As it says itself.
    length: usize,
    body: &'a [u8],
    behind: &'a [u8],
}

/// Refuses an extended file whose pictures are not as large as it says, or whose metadata are longer
/// than it is: the decoder would reserve what they claim. One that cannot be followed passes: the
/// decoder says better what is wrong with it.
///
/// # Errors
///
/// [`PictureError::Broken`] names both sizes.
pub(super) fn check(file: &[u8]) -> Result<(), PictureError> {
    let Some(head) = first_chunk(file).filter(|head| &head.kind == b"VP8X") else {
        return Ok(());
    };
    let canvas = size_of_three_bytes(head.body, 4);
    let mut rest = head.behind;
    while let Some(chunk) = next_chunk(rest) {
        rest = chunk.behind;
        match &chunk.kind {
            b"ANMF" => check_frame(chunk.body)?,
            b"VP8 " | b"VP8L" => compare(canvas, chunk.kind, chunk.body)?,
            b"EXIF" | b"ICCP" | b"XMP " if chunk.length > chunk.body.len() + CUT => {
                return Err(PictureError::Broken(format!(
                    "its metadata have {} bytes, of which the file has {}",
                    chunk.length,
                    chunk.body.len()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the decoder holds beside its result: planes of brightness and colours (a byte and a half a
/// pixel) when it is lossy, four channels when it is lossless; with transparency those of both kinds;
/// with an animation the frame and the canvas, four bytes each.
pub(super) fn bytes_beside(file: &[u8], (width, height): (u32, u32)) -> u64 {
    const ANIMATED: u8 = 0x02;
    const TRANSPARENT: u8 = 0x10;
    let first = first_chunk(file).map(|chunk| (chunk.kind, chunk.body));
    let each = match first.as_ref().map(|(kind, body)| (kind, *body)) {
        Some((b"VP8 ", _)) => 2,
        Some((b"VP8X", [flags, ..])) if flags & ANIMATED != 0 => 10,
        Some((b"VP8X", [flags, ..])) if flags & TRANSPARENT != 0 => 8,
        _ => 4,
    };
    u64::from(width) * u64::from(height) * each
}

/// A frame of an animation: where it lies and how large it is, 16 bytes in all, then its chunks.
fn check_frame(frame: &[u8]) -> Result<(), PictureError> {
    let size = size_of_three_bytes(frame, 6);
    match frame.get(16..).and_then(next_chunk) {
        // The decoder takes for lossy what follows transparency, whatever its name is.
        Some(alpha) if &alpha.kind == b"ALPH" => {
            next_chunk(alpha.behind).map_or(Ok(()), |chunk| compare(size, *b"VP8 ", chunk.body))
        }
        Some(chunk) => compare(size, chunk.kind, chunk.body),
        None => Ok(()),
    }
}

fn compare(said: Option<(u32, u32)>, kind: [u8; 4], body: &[u8]) -> Result<(), PictureError> {
    match (said, coded_size(kind, body)) {
        (Some(said), Some(coded)) if said != coded => Err(PictureError::Broken(format!(
            "a picture of {} x {} pixels is said to have {} x {}",
            coded.0, coded.1, said.0, said.1
        ))),
        _ => Ok(()),
    }
}

/// The size in the header of a picture, 14 bits for each side.
fn coded_size(kind: [u8; 4], body: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_le_bytes(*body.get(at..)?.first_chunk()?));
    if &kind == b"VP8L" {
        // A signature first; each side less one.
        let bits = number(1)?;
        return Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1));
    }
    // Tag and start code first; two bits of scaling above each side.
    let bits = number(6)?;
    Some((bits & 0x3fff, bits >> 16 & 0x3fff))
}

/// Two sides of 24 bits, each less one.
fn size_of_three_bytes(bytes: &[u8], at: usize) -> Option<(u32, u32)> {
    let [a, b, c, d, e, f] = *bytes.get(at..)?.first_chunk()?;
    let side = |a, b, c| u32::from_le_bytes([a, b, c, 0]) + 1;
    Some((side(a, b, c), side(d, e, f)))
}

/// What is behind "RIFF", its length and "WEBP".
fn first_chunk(file: &[u8]) -> Option<Chunk<'_>> {
    file.get(12..).and_then(next_chunk)
}

fn next_chunk(bytes: &[u8]) -> Option<Chunk<'_>> {
    let (kind, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (body, behind) = rest.split_at(length.min(rest.len()));
    Some(Chunk {
        kind: *kind,
        length,
        body,
        // Chunks begin at even places.
        behind: behind.get(length % 2..).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).expect("short").to_le_bytes();
        let padding = vec![0; body.len() % 2];
        [&kind[..], &length, body, &padding].concat()
    }

    /// A file with a canvas of 24 x 18 and these chunks.
    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        let head = chunk(b"VP8X", &[0, 0, 0, 0, 23, 0, 0, 17, 0, 0]);
        [&b"RIFF\0\0\0\0WEBP"[..], &head, &chunks.concat()].concat()
    }

    fn lossy(width: u16, height: u16) -> Vec<u8> {
        let sides = [width.to_le_bytes(), height.to_le_bytes()].concat();
        [&[0, 0, 0, 0x9d, 0x01, 0x2a][..], &sides, &[0]].concat()
    }

    fn lossless(width: u32, height: u32) -> Vec<u8> {
        let bits = (width - 1) | (height - 1) << 14;
        [&[0x2f][..], &bits.to_le_bytes()].concat()
    }

    /// A frame of 24 x 18 with these chunks.
    fn frame(chunks: &[Vec<u8>]) -> Vec<u8> {
        let head = [0, 0, 0, 0, 0, 0, 23, 0, 0, 17, 0, 0, 0, 0, 0, 0];
        chunk(b"ANMF", &[&head[..], &chunks.concat()].concat())
    }

    #[test]
    fn metadata_must_be_in_the_file() {
        let mut good = file(&[chunk(b"VP8 ", &lossy(24, 18)), chunk(b"EXIF", b"MM")]);
        assert!(check(&good).is_ok());
        let length = good.len() - 6;
        good[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        let message = check(&good).expect_err("refused").to_string();
        assert!(message.contains("have 4294967295 bytes"), "{message}");
    }

    #[test]
    fn pictures_must_be_as_large_as_is_said() {
        let alpha = chunk(b"ALPH", &[0]);
        let good = [
            file(&[chunk(b"VP8 ", &lossy(24, 18))]),
            file(&[chunk(b"VP8L", &lossless(24, 18))]),
            file(&[frame(&[chunk(b"VP8L", &lossless(24, 18))])]),
            file(&[frame(&[alpha.clone(), chunk(b"VP8 ", &lossy(24, 18))])]),
        ];
        let bad = [
            file(&[chunk(b"VP8 ", &lossy(16_383, 18))]),
            file(&[chunk(b"odd ", &[1]), chunk(b"VP8L", &lossless(24, 16_384))]),
            file(&[frame(&[chunk(b"VP8 ", &lossy(24, 16_383))])]),
            file(&[frame(&[alpha.clone(), chunk(b"VP8 ", &lossy(25, 18))])]),
            file(&[frame(&[alpha, chunk(b"any ", &lossy(24, 19))])]),
        ];
        for good in good {
            assert!(check(&good).is_ok());
        }
        for bad in bad {
            let message = check(&bad).expect_err("refused").to_string();
            assert!(message.contains("said to have 24 x 18"), "{message}");
            for end in 0..bad.len() {
                let _ = check(&bad[..end]);
            }
        }
    }
}
