//! GIF, WebP and BMP.

use weezl::BitOrder;
use weezl::encode::Encoder;

use crate::{BROKEN, Case, Classified, Either, TOO_LARGE};

pub fn cases() -> Vec<Case> {
    let frame = |side: u16| gif_frame((side, side));
    let many = frame(1).repeat(100_000);
    let mut comments = gif((1, 1), &[0x21, 0xfe]);
    comments.truncate(comments.len() - 1);
    comments.extend([&[255][..], &[0x55; 255]].concat().repeat(40_000));
    comments.extend([0, 0x3b]);
    // 22 runs of 255 and one of 90, then the end of the row.
    let row = [[255, 0].repeat(22), vec![90, 0, 0, 0]].concat();
    let runs = [row.repeat(5700), vec![0, 1]].concat();
    vec![
        (
            "GIF, 65535 x 65535",
            gif((65_535, 65_535), &frame(1)),
            TOO_LARGE,
        ),
        (
            "GIF, 12 megapixels of one colour",
            gif((3500, 3500), &frame(3500)),
            Classified,
        ),
        (
            "GIF, 12 megapixels and a frame of one",
            gif((3500, 3500), &frame(1)),
            Classified,
        ),
        (
            "GIF, a frame that is larger than its screen",
            gif((10, 10), &frame(3500)),
            Either,
        ),
        ("GIF, 100,000 frames", gif((1, 1), &many), Classified),
        ("GIF, a comment of 10 MB", comments, Either),
        (
            "WebP, 16384 x 16384 in 26 bytes",
            webp((16_384, 16_384)),
            Either,
        ),
        (
            "WebP, 33 megapixels in 26 bytes",
            webp((5700, 5700)),
            TOO_LARGE,
        ),
        (
            "WebP, 14 megapixels in 26 bytes",
            webp((3700, 3700)),
            Classified,
        ),
        ("WebP, 327,680 tables of 4 KiB", tables(), BROKEN),
        ("WebP, a canvas of 2^24 x 2^24", canvas(), Either),
        (
            "BMP, 65535 x 65535",
            bmp((65_535, 65_535), 0, &[0; 300]),
            TOO_LARGE,
        ),
        (
            "BMP, sides of 2^31 - 1",
            bmp((i32::MAX, i32::MAX), 0, &[0; 300]),
            Either,
        ),
        (
            "BMP, a height of -2^31",
            bmp((10, i32::MIN), 0, &[0; 300]),
            Either,
        ),
        (
            "BMP, 32 megapixels in runs",
            bmp((5700, 5700), 1, &runs),
            Classified,
        ),
        (
            "BMP, 32 megapixels and no data",
            bmp((5700, 5700), 1, &[0, 1]),
            Either,
        ),
    ]
}

fn gif((width, height): (u16, u16), blocks: &[u8]) -> Vec<u8> {
    let mut file = b"GIF89a".to_vec();
    file.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    // Two colours.
    file.extend([0x80, 0, 0, 10, 20, 30, 200, 100, 50]);
    file.extend(blocks);
    file.push(0x3b);
    file
}

fn gif_frame((width, height): (u16, u16)) -> Vec<u8> {
    let pixels = vec![0; usize::from(width) * usize::from(height)];
    let packed = Encoder::new(BitOrder::Lsb, 2)
        .encode(&pixels)
        .expect("colours below 4");
    let mut frame = vec![0x2c, 0, 0, 0, 0];
    frame.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    frame.extend([0, 2]);
    for piece in packed.chunks(255) {
        frame.push(u8::try_from(piece.len()).expect("at most 255"));
        frame.extend(piece);
    }
    frame.push(0);
    frame
}

fn riff(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    let mut file = b"RIFF".to_vec();
    file.extend((12 + length).to_le_bytes());
    file.extend(b"WEBP");
    file.extend(kind);
    file.extend(length.to_le_bytes());
    file.extend(body);
    file
}

/// Lossless: every prefix code has one symbol, so that a pixel takes no bits at all.
fn webp((width, height): (u32, u32)) -> Vec<u8> {
    let size = (width - 1) | (height - 1) << 14;
    let mut body = vec![0x2f];
    body.extend(size.to_le_bytes());
    // No transform, no cache, no groups of codes, then five times "simple, one symbol of one bit, zero".
    let bits = (0..5).fold(0_u32, |bits, code| bits | 1 << (3 + 4 * code));
    body.extend(bits.to_le_bytes());
    body.push(0);
    riff(*b"VP8L", &body)
}

/// Bits, the first of them lowest.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn add(&mut self, number: u32, bits: usize) {
        for bit in 0..bits {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("pushed");
            *last |= u8::from(number >> bit & 1 == 1) << (self.count % 8);
            self.count += 1;
        }
    }
}

/// Lossless, 4 x 4 pixels that are said to need the last of 65,536 groups of tables. Each table has codes
/// of up to ten bits, which is 4 KiB in memory and twelve bytes here.
fn tables() -> Vec<u8> {
    let mut bits = Bits::default();
    bits.add(0x2f, 8);
    bits.add(3, 14);
    bits.add(3, 14);
    bits.add(0, 4);
    // No transform, no cache, groups for blocks of 4 x 4; of their picture no cache.
    bits.add(0b100, 3);
    bits.add(0, 3);
    bits.add(0, 1);
    // Its only pixel: green and red 255, the rest zero.
    for _ in 0..2 {
        bits.add(0b101, 3);
        bits.add(255, 8);
    }
    for _ in 0..3 {
        bits.add(0b0001, 4);
    }
    let mut table = Bits::default();
    // A table of its own, with the lengths of 14 of the codes for lengths, in their odd order.
    table.add(0, 1);
    table.add(10, 4);
    let lengths = [0, 0, 0, 3, 3, 3, 3, 3, 0, 3, 4, 4, 4, 4];
    for length in lengths {
        table.add(length, 3);
    }
    // For the first eleven symbols only: in 2 + 2 * 1 bits, less 2.
    table.add(1, 1);
    table.add(1, 3);
    table.add(9, 4);
    // Lengths 1 to 6 have codes 0 to 5 of three bits, 7 to 10 have 12 to 15 of four, highest bit first.
    for length in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10_u32] {
        let (code, width) = if length <= 6 {
            (length - 1, 3)
        } else {
            (length + 5, 4)
        };
        table.add(code.reverse_bits() >> (32 - width), width);
    }
    for _ in 0..5 * 65_536 {
        for bit in 0..table.count {
            bits.add(u32::from(table.bytes[bit / 8] >> (bit % 8) & 1), 1);
        }
    }
    riff(*b"VP8L", &bits.bytes)
}

/// Only the header of an extended file, which has 24 bits for each side.
fn canvas() -> Vec<u8> {
    riff(*b"VP8X", &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
}

/// A palette of two colours; `coding` 1 is in runs.
fn bmp((width, height): (i32, i32), coding: u32, data: &[u8]) -> Vec<u8> {
    const HEADERS: u32 = 14 + 40 + 8;
    let length = u32::try_from(data.len()).expect("short");
    let mut file = b"BM".to_vec();
    file.extend(
        [HEADERS + length, 0, HEADERS, 40]
            .map(u32::to_le_bytes)
            .concat(),
    );
    file.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    file.extend([1, 0, 8, 0]);
    file.extend([coding, length, 0, 0, 2, 0].map(u32::to_le_bytes).concat());
    file.extend([10, 20, 30, 0, 200, 100, 50, 0]);
    file.extend(data);
    file
}
