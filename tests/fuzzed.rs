//! What `make fuzz` runs for long, for a few seconds and without libFuzzer: everything that was found
//! once, small files of every format as they are, and ten thousand changes of them.

#![allow(unreachable_pub, reason = "shared with a package of its own")]

mod support;

#[path = "fuzz/src/allowance.rs"]
mod allowance;
#[path = "fuzz/src/frame.rs"]
mod frame;
#[path = "fuzz/src/mutation.rs"]
mod mutation;
#[path = "fuzz/src/picture.rs"]
mod picture;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mutation::{Numbers, mutated};

/// Memory is counted for the whole process: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Changed files of each kind; the long form has more.
fn rounds() -> usize {
    std::env::var("TEST_MUTATIONS").map_or(10_000, |count| count.parse().expect("a number"))
}

/// The files of a folder of the repository by name, in their order.
fn files(folder: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let folder = support::root().join(folder);
    let entries = std::fs::read_dir(&folder)
        .unwrap_or_else(|_| panic!("{} is missing: run `make setup`", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|found| ending.is_empty() || found == ending)
        })
        .map(|path| (name(&path), std::fs::read(&path).expect("read")))
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into()
}

/// Runs `target` on `file`, and says which one it was when it fails or takes long. What failed lies in
/// `target/` then.
fn run(target: fn(&[u8]), file: &[u8], what: &str) {
    let started = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| target(file)));
    let took = started.elapsed();
    if done.is_err() || took > Duration::from_secs(3) {
        let kept = support::root().join("target/fuzzed-finding");
        std::fs::write(&kept, file).expect("written");
        panic!("{what} ({took:?}): see {}", kept.display());
    }
}

fn run_all(target: fn(&[u8]), found: &str, seeds: &[(String, Vec<u8>)]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, file) in files(found, "").iter().chain(seeds) {
        run(target, file, name);
    }
    let mut numbers = Numbers::new(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds() {
        let (name, file) = &seeds[round % seeds.len()];
        let changed = mutated(file, &mut numbers);
        run(target, &changed, &format!("{name}, change {round}"));
    }
}

#[test]
fn pictures_whatever_they_are_stay_within_time_and_memory() {
    let seeds = files("target/fuzz-seeds", "");
    let formats = ["jpg", "png", "webp", "gif", "bmp", "tiff"];
    for format in formats {
        let has = |(name, _): &(String, Vec<u8>)| name.ends_with(format);
        assert!(seeds.iter().any(has), "no {format} to start from");
    }
    run_all(picture::run, "tests/fuzz/regressions/picture", &seeds);
}

#[test]
fn frames_whatever_they_are_stay_within_memory_and_read_the_same_in_pieces() {
    let seeds = files("tests/vectors", "bin");
    run_all(frame::run, "tests/fuzz/regressions/frame", &seeds);
}
