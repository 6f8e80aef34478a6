//! PNG: sizes that are only claimed, and what deflate makes of a few bytes, in pixels and in texts.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::{Case, Classified, Either, TOO_LARGE};

const GREY: u8 = 0;
const RGB: u8 = 2;

pub fn cases() -> Vec<Case> {
    let zeros_of = |side: u64| zeros((1 + 3 * side) * side);
    let bomb = zeros(256 << 20);
    let text = |kind, head: &[u8]| {
        let body = [head, &bomb].concat();
        png((10, 10), GREY, &[(kind, body)], &zeros(110))
    };
    let texts = vec![(*b"tEXt", b"key\0value".to_vec()); 200_000];
    let mut exif = b"MM\0*\0\0\0\x08\xff\xff".to_vec();
    exif.resize(2 << 20, 0x01);
    vec![
        (
            "PNG, 65535 x 65535",
            png((65_535, 65_535), RGB, &[], &zeros(9)),
            TOO_LARGE,
        ),
        (
            "PNG, sides of 2^31 - 1",
            png((i32::MAX as u32, i32::MAX as u32), RGB, &[], &zeros(9)),
            Either,
        ),
        (
            "PNG, 64 megapixels of zeros",
            png((8000, 8000), RGB, &[], &zeros(9)),
            TOO_LARGE,
        ),
        (
            "PNG, 32 megapixels of zeros",
            png((5700, 5700), RGB, &[], &zeros_of(5700)),
            Classified,
        ),
        (
            "PNG, 256 MiB of data for 100 pixels",
            png((10, 10), GREY, &[], &bomb),
            Either,
        ),
        ("PNG, zTXt of 256 MiB", text(*b"zTXt", b"key\0\0"), Either),
        (
            "PNG, iTXt of 256 MiB",
            text(*b"iTXt", b"key\0\x01\0\0\0"),
            Either,
        ),
        ("PNG, iCCP of 256 MiB", text(*b"iCCP", b"key\0\0"), Either),
        (
            "PNG, 200,000 texts",
            png((10, 10), GREY, &texts, &zeros(110)),
            Either,
        ),
        (
            "PNG, EXIF of 2 MiB",
            png((10, 10), GREY, &[(*b"eXIf", exif)], &zeros(110)),
            Either,
        ),
    ]
}

/// `count` zeros, deflated: a thousandth of them, and a few bytes of wrapping.
pub fn zeros(count: u64) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::new(6));
    std::io::copy(&mut std::io::repeat(0).take(count), &mut out).expect("to memory");
    out.finish().expect("to memory")
}

fn png(size: (u32, u32), colour: u8, more: &[([u8; 4], Vec<u8>)], data: &[u8]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [size.0.to_be_bytes(), size.1.to_be_bytes()].concat();
    header.extend([8, colour, 0, 0, 0]);
    chunk(&mut file, *b"IHDR", &header);
    for (kind, body) in more {
        chunk(&mut file, *kind, body);
    }
    chunk(&mut file, *b"IDAT", data);
    chunk(&mut file, *b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) {
    let length = u32::try_from(body.len()).expect("short");
    let start = file.len() + 4;
    file.write_all(&length.to_be_bytes()).expect("to memory");
    file.extend(kind);
    file.extend(body);
    let sum = crc32fast::hash(&file[start..]);
    file.extend(sum.to_be_bytes());
}
