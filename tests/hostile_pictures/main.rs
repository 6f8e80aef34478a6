//! Pictures made to harm, through a running daemon: each gets a picture's answer or a clear error within
//! three seconds, and when all of them are over, the daemon has its memory back.
//!
//! `-- --nocapture` tells how long each took; in a release build those are the figures to go by.

#![allow(unreachable_pub, reason = "a program of its own")]

mod jpeg;
mod others;
mod png;
mod tiff;

#[path = "../fuzz/src/mutation.rs"]
mod mutation;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use dermald::wire::{Reply, Request};
use mutation::{Numbers, mutated};
use support::{Connection, Daemon, png as small, predict};

/// What becomes of a picture.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// It is decoded: what it promises is within the limits, however small its file is.
    Classified,
    /// An error with this code.
    Refused(&'static str),
    /// Decoders may see it either way.
    Either,
}

use Fate::{Classified, Either, Refused};

const TOO_LARGE: Fate = Refused("picture_too_large");
const BROKEN: Fate = Refused("picture_broken");

/// Its name, its bytes and its fate.
type Case = (&'static str, Vec<u8>, Fate);

/// As long as one picture may keep the others waiting.
const LONGEST: Duration = Duration::from_secs(3);

/// What the allocator may keep of it all.
const REST_KIB: u64 = 4 * 1024;

/// What one picture may take at a time, in KiB: the limit on decoding, its own bytes twice while they
/// arrive, what the model takes; and what is only noticed as it is read, for a file that lies.
fn most_kib(length: usize, fate: Fate) -> u64 {
    let lies = matches!(fate, Refused("picture_broken"));
    let beyond = if lies { 64 } else { 0 };
    (96 + 16 + beyond) * 1024 + 2 * (length as u64 / 1024)
}

/// What the daemon says: the code of the error, or none for a prediction.
fn ask(connection: &mut Connection, picture: Vec<u8>) -> (Option<String>, Duration) {
    let started = Instant::now();
    let reply = connection.ask(&Request::Predict(predict(1, picture)));
    let took = started.elapsed();
    match reply {
        Reply::Prediction(_) => (None, took),
        Reply::Error(error) => {
            assert!(error.message.len() < 500, "{}", error.message);
            (Some(error.code.0), took)
        }
        other => panic!("{other:?}"),
    }
}

/// The kernel counts the peak of what is resident anew.
fn forget_peak(daemon: &Daemon) {
    let path = format!("/proc/{}/clear_refs", daemon.child.id());
    std::fs::write(path, "5").expect("it is our own child");
}

fn is_fate(fate: Fate, code: Option<&str>) -> bool {
    let callers = ["picture_broken", "picture_too_large", "picture_unsupported"];
    match (fate, code) {
        (Classified | Either, None) => true,
        (Refused(expected), Some(code)) => code == expected,
        (Either, Some(code)) => callers.contains(&code),
        _ => false,
    }
}

/// Both ways to decode a JPEG, which are different decoders.
const DECODE: [&str; 2] = ["scaled", "full"];

fn ready(decode: &str) -> (Daemon, Connection, u64) {
    let bundle = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(support::bundle("nchw")).expect("a bundle") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), bundle.path().join(entry.file_name())).expect("copied");
    }
    let manifest = bundle.path().join("manifest.toml");
    let text = std::fs::read_to_string(&manifest).expect("read");
    assert_eq!(text.matches("decode = \"scaled\"").count(), 1);
    let text = text.replace("decode = \"scaled\"", &format!("decode = \"{decode}\""));
    std::fs::write(&manifest, text).expect("written");
    let daemon = Daemon::start_with(bundle.path(), &["--log-level", "warn"], |_| {});
    let mut connection = daemon.connect();
    for _ in 0..10 {
        assert_eq!(ask(&mut connection, small([250, 0, 0]).to_vec()).0, None);
    }
    let before = daemon.memory("RssAnon");
    (daemon, connection, before)
}

fn assert_unharmed(daemon: &Daemon, mut connection: Connection, before: u64) {
    let prediction = connection.predict(predict(2, small([250, 0, 0])));
    assert_eq!(&*prediction.labels.0[0].name, "red");
    assert_eq!(daemon.status()["panics"]["picture"], 0);
    // The answer is on its way before everything is given back.
    let mut after = daemon.memory("RssAnon");
    let asked = Instant::now();
    while after > before + REST_KIB && asked.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(10));
        after = daemon.memory("RssAnon");
    }
    assert!(after <= before + REST_KIB, "from {before} to {after} KiB");
    println!("memory: {before} KiB before, {after} KiB after");
}

#[test]
fn pictures_made_to_harm_are_answered_in_time_and_leave_nothing_behind() {
    for decode in DECODE {
        println!("decode = {decode}");
        send_cases(decode);
    }
}

fn send_cases(decode: &str) {
    let (daemon, mut connection, before) = ready(decode);
    let mut wrong = Vec::new();
    for cases in [png::cases, jpeg::cases, tiff::cases, others::cases] {
        for (name, file, fate) in cases() {
            let length = file.len();
            let resting = daemon.memory("RssAnon");
            forget_peak(&daemon);
            let (code, took) = ask(&mut connection, file);
            let peak = daemon.memory("VmHWM") - daemon.memory("RssFile");
            let grown = peak.saturating_sub(resting);
            let outcome = code.as_deref().unwrap_or("classified");
            println!(
                "{:>6} ms {:>4} MiB  {outcome}: {name}, {length} bytes",
                took.as_millis(),
                grown / 1024
            );
            let fits = took <= LONGEST && grown <= most_kib(length, fate);
            // Every pixel of it may be more than a pixel of each block.
            let is_too_large = decode == "full" && code.as_deref() == Some("picture_too_large");
            if !fits || !(is_fate(fate, code.as_deref()) || is_too_large) {
                wrong.push(format!(
                    "{name}: {outcome} after {took:?} and {grown} KiB, expected {fate:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_unharmed(&daemon, connection, before);
}

/// The long form changes more of them.
#[test]
fn ten_thousand_changed_files_are_answered_in_time_and_leave_nothing_behind() {
    let rounds = std::env::var("TEST_MUTATIONS").map_or(10_000, |n| n.parse().expect("a number"));
    let folder = support::root().join("target/fuzz-seeds");
    let entries = std::fs::read_dir(folder).expect("`make setup` makes the seeds");
    let mut seeds: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some())
        .collect();
    seeds.sort();
    let seeds: Vec<_> = seeds
        .iter()
        .map(|path| std::fs::read(path).expect("read"))
        .collect();
    for decode in DECODE {
        println!("decode = {decode}");
        send_changed(&seeds, rounds / DECODE.len(), decode);
    }
}

fn send_changed(seeds: &[Vec<u8>], rounds: usize, decode: &str) {
    let (daemon, mut connection, before) = ready(decode);
    let mut numbers = Numbers::new(0x2545_f491_4f6c_dd1d);
    let (mut classified, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let file = mutated(&seeds[round % seeds.len()], &mut numbers);
        let fate = if file.is_empty() {
            Refused("picture_empty")
        } else {
            Either
        };
        let (code, took) = ask(&mut connection, file);
        assert!(is_fate(fate, code.as_deref()), "change {round}: {code:?}");
        slowest = slowest.max(took);
        classified += usize::from(code.is_none());
    }
    println!("{rounds} changed files, {classified} classified, the slowest took {slowest:?}");
    assert!(slowest < LONGEST, "{slowest:?}");
    assert!(
        (rounds / 20..rounds).contains(&classified),
        "{classified} of {rounds} are pictures"
    );
    assert_unharmed(&daemon, connection, before);
}
