//! Good JPEGs with bytes changed or cut off: each is an error or a picture, within time and limits.

#[path = "../fuzz/src/mutation.rs"]
#[expect(dead_code, unreachable_pub, reason = "shared with tests/fuzzed.rs")]
mod mutation;

use std::time::{Duration, Instant};

use dermald::image::{Detail, PictureLimits, Reading, decode};
use mutation::Numbers;

use crate::support;

const LIMITS: PictureLimits = PictureLimits {
    pixels: 65_000_000,
    bytes: 96 << 20,
};

const SCALED: Detail = Detail::Enough {
    size: (60, 40),
    longest_side: 0,
};

fn picture(name: &str) -> Vec<u8> {
    let path = support::root().join("target/test-pictures").join(name);
    std::fs::read(&path).unwrap_or_else(|_| panic!("{name} is missing: run `make setup`"))
}

#[test]
fn changed_bytes_make_an_error_or_a_picture() {
    let mut numbers = Numbers::new(0x9e37_79b9_7f4a_7c15);
    let names = [
        "baseline-420-700.jpg",
        "progressive-420-700.jpg",
        "progressive-422-700.jpg",
        "restarts-700.jpg",
        "cmyk-progressive-700.jpg",
        "ycck-700.jpg",
        "grey-700.jpg",
        "orientation-6-400.jpg",
        "size-17x15-420.jpg",
    ];
    for name in names {
        let whole = picture(name);
        for round in 0..60 {
            let mut file = whole.clone();
            // Headers are where lengths, counts and tables are: half of the changes go there.
            let end = if round % 2 == 0 { 700 } else { file.len() };
            for _ in 0..=numbers.below(4) {
                let at = numbers.below(end.min(file.len()));
                file[at] ^= 1 << numbers.below(8);
            }
            for detail in [SCALED, Detail::Full] {
                let started = Instant::now();
                if let Ok(photo) = decode::decode(&file, LIMITS, Reading::like_pillow(detail)) {
                    assert!(photo.part.width > 0.0 && photo.part.height > 0.0);
                }
                let took = started.elapsed();
                assert!(took < Duration::from_secs(3), "{name} {round}: {took:?}");
            }
        }
    }
}

#[test]
fn file_that_ends_early_is_an_error_at_every_scale() {
    for name in ["baseline-420-700.jpg", "progressive-420-700.jpg"] {
        let whole = picture(name);
        for part in 1..40 {
            let cut = &whole[..whole.len() * part / 40];
            assert!(
                decode::decode(cut, LIMITS, Reading::like_pillow(SCALED)).is_err(),
                "{name} {part}"
            );
            assert!(
                decode::decode(cut, LIMITS, Reading::like_pillow(Detail::Full)).is_err(),
                "{name} {part}"
            );
        }
    }
}
