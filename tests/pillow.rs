//! The way of a picture to the model's size, beside Pillow's on the same file
//! (`tests/pictures/make.py` wrote both).

mod support;

use std::path::PathBuf;

use dermald::image::{Detail, PictureLimits, Pixels, Reading, decode, resize};
use dermald::model::{Alpha, Fit, Resize};

/// The size that `make.py` calls the model's.
const MODEL_SIZE: (u32, u32) = (150, 100);

const LIMITS: PictureLimits = PictureLimits {
    pixels: 65_000_000,
    bytes: 96 << 20,
};

/// Transparency is dropped, as Pillow drops it.
fn reading(detail: Detail) -> Reading {
    Reading {
        detail,
        alpha: Alpha::Drop,
    }
}

/// How far one picture is from another, in levels of 0 to 255.
struct Distance {
    mean: f64,
    /// 999 of 1000 values are no further apart.
    most: u8,
}

fn distance(ours: &Pixels, pillows: &Pixels) -> Distance {
    assert_eq!(ours.dimensions(), pillows.dimensions());
    let pairs = ours.as_raw().iter().zip(pillows.as_raw());
    let mut apart: Vec<u8> = pairs.map(|(a, b)| a.abs_diff(*b)).collect();
    apart.sort_unstable();
    let sum: u64 = apart.iter().map(|levels| u64::from(*levels)).sum();
    let count = u32::try_from(apart.len()).expect("a small picture");
    Distance {
        mean: f64::from(u32::try_from(sum).expect("a small picture")) / f64::from(count),
        most: apart[apart.len() * 999 / 1000],
    }
}

/// All pictures of `make.py`.
fn pictures() -> Vec<PathBuf> {
    let folder = support::root().join("target/test-pictures");
    let listed = std::fs::read_dir(&folder)
        .unwrap_or_else(|_| panic!("{} is missing: run `make setup`", folder.display()));
    let mut pictures: Vec<PathBuf> = listed
        .map(|entry| entry.expect("readable").path())
        .filter(|path| !path.to_string_lossy().contains(".expected."))
        .filter(|path| path.extension().is_some())
        .collect();
    pictures.sort();
    assert!(pictures.len() >= 60, "{} pictures", pictures.len());
    pictures
}

/// The names of pictures that are further from Pillow's than `close` allows, with how far.
fn far(detail: Detail, close: fn(&Distance) -> bool) -> Vec<String> {
    let judge = |path: &PathBuf| {
        let name = path
            .file_name()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        let file = std::fs::read(path).expect("readable");
        let photo = match decode::decode(&file, LIMITS, reading(detail)) {
            Ok(photo) => photo,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        let ours = resize::resize(&photo, MODEL_SIZE, Resize::Lanczos, Fit::Stretch);
        let expected = path.with_file_name(format!("{name}.expected.png"));
        let pillows = image::open(expected).expect("a PNG").into_rgb8();
        let distance = distance(&ours, &pillows);
        let text = format!("{name}: mean {:.2}, most {}", distance.mean, distance.most);
        (!close(&distance)).then_some(text)
    };
    pictures().iter().filter_map(judge).collect()
}

#[test]
fn full_pictures_are_pillows_within_a_level() {
    let far = far(Detail::Full, |distance| {
        distance.mean <= 1.0 && distance.most <= 3
    });
    assert!(far.is_empty(), "{}", far.join("\n"));
}

#[test]
fn scaled_pictures_are_pillows_full_ones_within_two_levels() {
    let enough = Detail::Enough {
        size: (2 * MODEL_SIZE.0, 2 * MODEL_SIZE.1),
        longest_side: 0,
    };
    let far = far(enough, |distance| distance.mean <= 2.0);
    assert!(far.is_empty(), "{}", far.join("\n"));
}
