//! The way of a picture to the model's size, beside Pillow's on the same file
//! (`tests/pictures/make.py` wrote both).

use std::path::{Path, PathBuf};

use dermald::image::{Detail, PictureError, PictureLimits, Pixels, Reading, decode, resize};
use dermald::model::{Colour, Fit, Orientation, Resize, Truncated};

use crate::support;

/// The size that `make.py` calls the model's.
const MODEL_SIZE: (u32, u32) = (150, 100);

const LIMITS: PictureLimits = PictureLimits {
    pixels: 65_000_000,
    bytes: 96 << 20,
};

/// What the model needs, with which large JPEGs come out smaller.
const ENOUGH: Detail = Detail::Enough {
    size: (2 * MODEL_SIZE.0, 2 * MODEL_SIZE.1),
    longest_side: 0,
};

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

/// How far from Pillow's a picture may be.
#[derive(Clone, Copy)]
struct Bound {
    mean: f64,
    most: u8,
}

const EQUAL: Bound = Bound { mean: 0.0, most: 0 };

/// Most are within half a level. With colours at a quarter of the width it is 1.4.
const SCALED: Bound = Bound {
    mean: 1.5,
    most: u8::MAX,
};

/// What has a bound of its own, and why.
type Exceptions<'a> = &'a [(&'a str, Bound)];

/// Pillow cuts fractions off where it turns 5 bits into 8, and our decoder rounds. JPEG inside of TIFF is
/// not decoded by libjpeg here.
const NOT_EQUAL: Exceptions = &[
    ("16-bottom-up.bmp", Bound { mean: 0.6, most: 2 }),
    ("16-top-down.bmp", Bound { mean: 0.6, most: 2 }),
    ("jpeg.tiff", Bound { mean: 0.1, most: 1 }),
];

/// libjpeg does not smooth halved colours that are at most two columns wide, and both Rust decoders do.
/// The pictures have a colour of its own for each pixel, and nobody's photo is 3 pixels wide.
const NARROW: Bound = Bound {
    mean: 15.0,
    most: 70,
};
const TOO_NARROW: Exceptions = &[
    ("size-1x3-420.jpg", NARROW),
    ("size-3x4-420.jpg", NARROW),
    ("size-3x4-422.jpg", NARROW),
    ("size-3x7000-420.jpg", NARROW),
    ("size-3x7000-422.jpg", NARROW),
];

/// What is refused by name although Pillow reads it: our TIFF decoder knows neither palettes nor grey
/// with alpha.
const REFUSED: [&str; 2] = ["grey-alpha.tiff", "palette.tiff"];

/// All pictures of a folder that `make.py` wrote.
fn pictures(folder: &str, least: usize) -> Vec<PathBuf> {
    let folder = support::root().join("target/test-pictures").join(folder);
    let listed = std::fs::read_dir(&folder)
        .unwrap_or_else(|_| panic!("{} is missing: run `make setup`", folder.display()));
    let mut pictures: Vec<PathBuf> = listed
        .map(|entry| entry.expect("readable").path())
        .filter(|path| !path.to_string_lossy().contains(".expected."))
        .filter(|path| path.extension().is_some())
        .collect();
    pictures.sort();
    assert!(pictures.len() >= least, "{} pictures", pictures.len());
    pictures
}

/// Those that are as they should be.
fn whole() -> Vec<PathBuf> {
    pictures("", 300)
}

fn name(path: &Path) -> String {
    let name = path.file_name().expect("a file");
    name.to_string_lossy().into_owned()
}

/// What we make of a picture at the model's size, and what Pillow does.
fn both(path: &Path, reading: Reading) -> Result<(Pixels, Pixels), PictureError> {
    let file = std::fs::read(path).expect("readable");
    let photo = decode::decode(&file, LIMITS, reading)?;
    let ours = resize::resize(&photo, MODEL_SIZE, Resize::Lanczos, Fit::Stretch);
    let expected = path.with_file_name(format!("{}.expected.png", name(path)));
    let pillows = image::open(expected).expect("a PNG").into_rgb8();
    Ok((ours, pillows))
}

/// Those of `pictures` that are further from Pillow's than they may be, with how far.
fn far(
    pictures: &[PathBuf],
    reading: Reading,
    bound: Bound,
    exceptions: Exceptions,
) -> Vec<String> {
    let judge = |path: &PathBuf| {
        let name = name(path);
        let exception = exceptions.iter().find(|(excepted, _)| *excepted == name);
        let bound = exception.map_or(bound, |(_, bound)| *bound);
        let (ours, pillows) = match both(path, reading) {
            Ok(pictures) => pictures,
            Err(error) => return Some(format!("{name}: {error}")),
        };
        let distance = distance(&ours, &pillows);
        let text = format!("{name}: mean {:.2}, most {}", distance.mean, distance.most);
        (distance.mean > bound.mean || distance.most > bound.most).then_some(text)
    };
    let readable = |path: &&PathBuf| !REFUSED.contains(&&*name(path));
    pictures.iter().filter(readable).filter_map(judge).collect()
}

#[test]
fn full_pictures_are_pillows_to_the_bit() {
    let reading = Reading::like_pillow(Detail::Full);
    let far = far(&whole(), reading, EQUAL, NOT_EQUAL);
    assert!(far.is_empty(), "{}", far.join("\n"));
}

#[test]
fn scaled_pictures_are_near_pillows_full_ones() {
    let far = far(&whole(), Reading::like_pillow(ENOUGH), SCALED, TOO_NARROW);
    assert!(far.is_empty(), "{}", far.join("\n"));
}

/// The files have the same pixels, and each its own orientation.
#[test]
fn photos_stay_as_stored_where_the_manifest_says_so() {
    for extension in ["png", "tiff", "webp", "jpg"] {
        let decoded = |number: u8, orientation: Orientation| {
            let size = if extension == "jpg" { "-400" } else { "" };
            let name = format!("orientation-{number}{size}.{extension}");
            let path = support::root().join("target/test-pictures").join(name);
            let reading = Reading {
                orientation,
                ..Reading::like_pillow(Detail::Full)
            };
            let file = std::fs::read(path).expect("readable");
            decode::decode(&file, LIMITS, reading)
                .expect("a picture")
                .pixels
        };
        let stored = decoded(1, Orientation::Exif);
        assert!(decoded(6, Orientation::AsStored) == stored, "{extension}");
        let (width, height) = stored.dimensions();
        assert_eq!(decoded(6, Orientation::Exif).dimensions(), (height, width));
    }
}

/// `ImageOps.fit` is the centre crop of many trainings.
#[test]
fn filters_are_pillows_to_the_bit() {
    for path in pictures("filters", 32) {
        let name = name(&path);
        let [filter, fit, _] = *name.split(',').collect::<Vec<_>>() else {
            panic!("{name} is not named by filter, fit and size");
        };
        let filter: Resize = serde_json::from_value(filter.into()).expect("a filter");
        let fit: Fit = serde_json::from_value(fit.into()).expect("a fit");
        let photo = image::open(&path).expect("a PNG").into_rgb8().into();
        let ours = resize::resize(&photo, MODEL_SIZE, filter, fit);
        let expected = path.with_file_name(format!("{name}.expected.png"));
        let distance = distance(&ours, &image::open(expected).expect("a PNG").into_rgb8());
        // Pillow keeps the edges of a crop in 32 bits.
        let bound = if fit == Fit::CentreCrop { 0.001 } else { 0.0 };
        assert!(distance.mean <= bound, "{name}: {:.4}", distance.mean);
    }
}

/// Display P3, Adobe RGB and a gamma of 1.8 differ by 9 to 17 levels when they are left aside.
#[test]
fn profiles_are_near_littlecmss() {
    for detail in [Detail::Full, ENOUGH] {
        let reading = Reading {
            colour: Colour::Srgb,
            ..Reading::like_pillow(detail)
        };
        let far = far(&pictures("profiles", 14), reading, SCALED, &[]);
        assert!(far.is_empty(), "{}", far.join("\n"));
    }
}

#[test]
fn files_that_end_early_are_refused_or_pillows_as_the_manifest_says() {
    let cut = pictures("cut", 24);
    let refusing = Reading::like_pillow(ENOUGH);
    for path in &cut {
        let file = std::fs::read(path).expect("readable");
        let answer = decode::decode(&file, LIMITS, refusing);
        let broken = matches!(answer, Err(PictureError::Broken(_)));
        assert!(broken, "{}: {answer:?}", name(path));
    }
    let accepting = Reading {
        truncated: Truncated::Accept,
        ..refusing
    };
    for path in &cut {
        let name = name(path);
        let (ours, pillows) = both(path, accepting).expect("a picture");
        let distance = distance(&ours, &pillows);
        // A row of a BMP that is there in part is taken by us, and not by Pillow.
        let bound = if name.ends_with(".bmp") { 1.0 } else { 0.0 };
        assert!(distance.mean <= bound, "{name}: {:.2}", distance.mean);
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let unread = |path: &&PathBuf| REFUSED.contains(&&*name(path));
    let pictures = whole();
    let refused: Vec<_> = pictures.iter().filter(unread).collect();
    assert_eq!(refused.len(), REFUSED.len());
    for path in refused {
        let file = std::fs::read(path).expect("readable");
        let answer = decode::decode(&file, LIMITS, Reading::like_pillow(Detail::Full));
        let unsupported = matches!(answer, Err(PictureError::Unsupported(_)));
        assert!(unsupported, "{}: {answer:?}", name(path));
    }
}
