//! JPEG: sizes, scans and metadata. Huffman tables with one code of one bit make a block of a bit or
//! two, and progressive ones 16,384 blocks of 15 bits.

use crate::{BROKEN, Case, Classified, Either, Refused, TOO_LARGE};

const BASELINE: u8 = 0xc0;
const PROGRESSIVE: u8 = 0xc2;

/// First and last coefficient of a scan, and its place in the approximation.
type Band = [u8; 3];

const DC: Band = [0, 0, 0];
const AC: Band = [1, 63, 0];

pub fn cases() -> Vec<Case> {
    let scans = |count: usize, size| {
        let bands: Vec<Band> = (0..count)
            .map(|scan| if scan == 0 { DC } else { AC })
            .collect();
        jpeg(PROGRESSIVE, size, &[], &bands)
    };
    let segments = vec![(0xe2, vec![0x55; 65_000]); 150];
    let small_segments = vec![(0xe0, vec![]); 1_000_000];
    let loops = |entry: &[u8]| {
        let mut exif = b"Exif\0\0MM\0*\0\0\0\x08".to_vec();
        exif.extend((u16::MAX).to_be_bytes());
        exif.extend(entry.repeat(5_000));
        exif.extend(8_u32.to_be_bytes());
        jpeg(BASELINE, (16, 16), &[(0xe1, exif)], &[[0, 63, 0]])
    };
    let baseline = |size| jpeg(BASELINE, size, &[], &[[0, 63, 0]]);
    let mut endless = baseline((16, 16));
    endless.truncate(endless.len() - 2);
    vec![
        ("JPEG, 65535 x 65535", baseline((65_535, 65_535)), TOO_LARGE),
        (
            "JPEG, 65 megapixels of grey",
            baseline((8056, 8056)),
            Classified,
        ),
        (
            "JPEG, 65 megapixels in a line of blocks",
            baseline((65_496, 984)),
            Classified,
        ),
        (
            "JPEG, longer than libjpeg reads",
            baseline((65_528, 984)),
            Refused("picture_unsupported"),
        ),
        ("JPEG, 5,000 scans", scans(5_000, (64, 64)), TOO_LARGE),
        (
            "JPEG, 32 scans of 30 megapixels",
            scans(32, (5472, 5472)),
            Classified,
        ),
        (
            "JPEG, 32 scans of 65 megapixels",
            scans(32, (8056, 8056)),
            TOO_LARGE,
        ),
        ("JPEG, no end", endless, BROKEN),
        (
            "JPEG, 10 MB of metadata",
            jpeg(BASELINE, (16, 16), &segments, &[[0, 63, 0]]),
            Classified,
        ),
        (
            "JPEG, a million segments",
            jpeg(BASELINE, (16, 16), &small_segments, &[[0, 63, 0]]),
            Classified,
        ),
        (
            "JPEG, EXIF that leads back to itself",
            loops(b"\x87\x69\0\x04\0\0\0\x01\0\0\0\x08"),
            Either,
        ),
        (
            "JPEG, EXIF with values of 4 GB",
            loops(b"\x01\x12\0\x05\xff\xff\xff\xff\0\0\0\x08"),
            Either,
        ),
    ]
}

fn segment(file: &mut Vec<u8>, marker: u8, body: &[u8]) {
    let length = u16::try_from(body.len() + 2).expect("short");
    file.extend([0xff, marker]);
    file.extend(length.to_be_bytes());
    file.extend(body);
}

/// A grey picture of zeros, with `more` in front and a scan for each band.
fn jpeg(frame: u8, (width, height): (u16, u16), more: &[(u8, Vec<u8>)], bands: &[Band]) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8];
    for (marker, body) in more {
        segment(&mut file, *marker, body);
    }
    segment(&mut file, 0xdb, &[[0].as_slice(), &[1; 64]].concat());
    let [h1, h2] = height.to_be_bytes();
    let [w1, w2] = width.to_be_bytes();
    segment(&mut file, frame, &[8, h1, h2, w1, w2, 1, 1, 0x11, 0]);
    // A run of 16,384 blocks without coefficients, or the end of this one.
    let end = if frame == PROGRESSIVE { 0xe0 } else { 0 };
    for (class, symbol) in [(0x00, 0), (0x10, end)] {
        let mut table = vec![class, 1];
        table.resize(17, 0);
        table.push(symbol);
        segment(&mut file, 0xc4, &table);
    }
    let blocks = usize::from(width.div_ceil(8)) * usize::from(height.div_ceil(8));
    for [first, last, place] in bands {
        segment(&mut file, 0xda, &[1, 1, 0, *first, *last, *place]);
        let bits = match (frame, first) {
            (BASELINE, _) => 2 * blocks,
            (_, 0) => blocks,
            _ => 15 * blocks.div_ceil(1 << 14),
        };
        file.resize(file.len() + bits.div_ceil(8), 0);
    }
    file.extend([0xff, 0xd9]);
    file
}
