//! TIFF: sizes, directories that lead to themselves, lists, and every compression's way to make much of
//! little.

use weezl::BitOrder;
use weezl::encode::Encoder;

use crate::png::zeros;
use crate::{BROKEN, Case, Classified, Either, TOO_LARGE};

const SHORT: u16 = 3;
const LONG: u16 = 4;

/// Tag, type, number of values, value or its place.
type Entry = (u16, u16, u32, u32);

/// Where the data begins: room for a header and 20 entries.
const DATA: u32 = 8 + 2 + 20 * 12 + 4;

/// 16 megapixels, of which the decoder holds two copies.
const SIDE: u32 = 4000;

pub fn cases() -> Vec<Case> {
    let bytes = u64::from(SIDE * SIDE * 3);
    let all = usize::try_from(bytes).expect("96 MB");
    let lzw = Encoder::with_tiff_size_switch(BitOrder::Msb, 8)
        .encode(&vec![0; all])
        .expect("a code");
    let packbits = [0x81, 0].repeat(all / 128 + 1);
    let small = |entry| tiff((10, 10), 1, &[entry], &[0; 300], 0);
    vec![
        (
            "TIFF, 65535 x 65535",
            tiff((65_535, 65_535), 1, &[], &[0; 300], 0),
            TOO_LARGE,
        ),
        (
            "TIFF, sides of 2^31",
            tiff((1 << 31, 1 << 31), 1, &[], &[0; 300], 0),
            Either,
        ),
        (
            "TIFF, sides of 2^32 - 1",
            tiff((u32::MAX, u32::MAX), 1, &[], &[0; 300], 0),
            Either,
        ),
        (
            "TIFF, a directory that follows itself",
            tiff((10, 10), 1, &[], &[0; 300], 8),
            BROKEN,
        ),
        (
            "TIFF, a subdirectory that is its parent",
            small((330, LONG, 1, 8)),
            Classified,
        ),
        (
            "TIFF, an EXIF directory that is its parent",
            small((34_665, LONG, 1, 8)),
            Classified,
        ),
        (
            "TIFF, a profile of 4 GB",
            small((34_675, 7, u32::MAX, DATA)),
            Classified,
        ),
        ("TIFF, a list of eight million numbers", numbers(), BROKEN),
        ("TIFF, one strip for 4,000 rows", same_strip(), Classified),
        (
            "TIFF, deflate",
            tiff((SIDE, SIDE), 8, &[], &zeros(bytes), 0),
            Classified,
        ),
        ("TIFF, LZW", tiff((SIDE, SIDE), 5, &[], &lzw, 0), Classified),
        (
            "TIFF, PackBits",
            tiff((SIDE, SIDE), 32_773, &[], &packbits, 0),
            Classified,
        ),
    ]
}

/// An RGB picture with its pixels in one strip; `more` replaces entries or adds some.
fn tiff(
    (width, height): (u32, u32),
    coding: u32,
    more: &[Entry],
    data: &[u8],
    next: u32,
) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("short");
    let mut entries: Vec<Entry> = vec![
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        // Three times eight bits, behind the pixels; those begin at an even place.
        (258, SHORT, 3, DATA + length),
        (259, SHORT, 1, coding),
        (262, SHORT, 1, 2),
        (273, LONG, 1, DATA),
        (277, SHORT, 1, 3),
        (278, LONG, 1, height),
        (279, LONG, 1, length),
    ];
    entries.retain(|(tag, ..)| more.iter().all(|entry| entry.0 != *tag));
    entries.extend(more);
    entries.sort_unstable();
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend(u16::try_from(entries.len()).expect("few").to_le_bytes());
    for (tag, kind, count, value) in entries {
        file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    file.extend(next.to_le_bytes());
    file.resize(DATA as usize, 0);
    file.extend(data);
    file.extend([8, 0, 8, 0, 8, 0]);
    file
}

/// Where the strips are, as bytes: each would take 32 bytes of memory.
fn numbers() -> Vec<u8> {
    const COUNT: u32 = 8_000_000;
    tiff(
        (10, 10),
        1,
        &[(273, 1, COUNT, DATA)],
        &vec![0; COUNT as usize],
        0,
    )
}

/// Every row is the same bytes of the file.
fn same_strip() -> Vec<u8> {
    let list = |number: u32| number.to_le_bytes().repeat(SIDE as usize);
    let data = [list(DATA), list(3 * SIDE)].concat();
    let entries = [
        (273, LONG, SIDE, DATA),
        (278, LONG, 1, 1),
        (279, LONG, SIDE, DATA + 4 * SIDE),
    ];
    tiff((SIDE, SIDE), 1, &entries, &data, 0)
}
