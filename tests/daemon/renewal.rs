//! Renewals that no client can see: what is half-read, queued or half-written crosses from one image of
//! the process to the next.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::support::{self, Connection, Daemon, Over, amount, essence, frame, png, predict};
use bytes::Bytes;
use dermald::wire::message::About;
use dermald::wire::{Reply, Request};

/// Clients that keep their connections, and never try anything twice.
const CLIENTS: u64 = 8;

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn pause(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_micros(self.below(most_ms * 1000)));
    }
}

/// What a picture's answer must be, told by a daemon that was not renewed.
struct Known {
    picture: Bytes,
    answer: Vec<(u32, f32)>,
}

/// How often is renewed beyond what was asked for, at most, until enough has crossed.
const MORE_RENEWALS: u64 = 200;

/// One client's doings until `left` is used up and `enough` has crossed; every answer must be the right
/// one, once.
fn client(
    number: u64,
    daemon: &Daemon,
    known: &[Known],
    left: &AtomicU64,
    enough: &AtomicBool,
) -> Connection {
    let mut dice = Dice(number);
    let mut connection = daemon.connect();
    let mut next_id = number << 32;
    let take = || {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    };
    while take() || !enough.load(Ordering::SeqCst) {
        let mut asked = HashMap::new();
        let mut wires = Vec::new();
        for _ in 0..=dice.below(4) {
            next_id += 1;
            let known = &known[usize::try_from(dice.below(known.len() as u64)).expect("small")];
            asked.insert(next_id, &known.answer);
            wires.push(frame(&Request::Predict(predict(
                next_id,
                known.picture.clone(),
            ))));
        }
        let mut told = 0;
        match dice.below(4) {
            // All at once: they wait in the queue.
            0 => connection.send_bytes(&wires.concat()),
            // In pieces: half-read.
            1 => {
                for wire in &wires {
                    let cut =
                        1 + usize::try_from(dice.below(wire.len() as u64 - 1)).expect("small");
                    connection.send_bytes(&wire[..cut]);
                    dice.pause(8);
                    connection.send_bytes(&wire[cut..]);
                }
            }
            // More answers than the socket takes, while nobody reads: half-written.
            _ => {
                told = 200;
                for id in 0..told {
                    connection.send(&Request::Metrics(About::new(id)));
                }
                std::thread::sleep(Duration::from_millis(40));
                connection.send_bytes(&wires.concat());
            }
        }
        while told > 0 || !asked.is_empty() {
            match connection.receive() {
                Some(Reply::Prediction(prediction)) => {
                    let expected = asked.remove(&prediction.id);
                    let expected = expected.expect("an answer to a question, and the first one");
                    assert_eq!(&essence(&prediction), expected, "somebody else's answer");
                }
                Some(Reply::Metrics(metrics)) => {
                    assert!(metrics.text.ends_with("# EOF\n"), "cut: {}", &*metrics.text);
                    told -= 1;
                }
                other => panic!("client {number} with {} unanswered: {other:?}", asked.len()),
            }
        }
    }
    connection
}

#[test]
fn connections_and_requests_cross_renewals_unharmed() {
    let renewals = amount("TEST_RENEWALS", 12);
    let requests = amount("TEST_RENEWAL_REQUESTS", 1200);
    let crossings = amount("TEST_RENEWAL_CROSSINGS", 3);
    let daemon = Daemon::start_with(
        &support::root().join("models/demo"),
        &["--queue-requests", "256"],
        |_| {},
    );
    let known: Vec<Known> = (0..24_u8)
        .map(|shade| {
            let picture = png([shade * 10, 255 - shade * 10, 90]);
            let answer = essence(&daemon.connect().predict(predict(1, picture.clone())));
            Known { picture, answer }
        })
        .collect();
    let left = AtomicU64::new(requests);
    let enough = AtomicBool::new(false);
    let renewed = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (daemon, known, left, enough) = (&daemon, &known, &left, &enough);
                scope.spawn(move || client(number + 1, daemon, known, left, enough))
            })
            .collect();
        let renewer = scope.spawn(|| {
            let _over = Over(&enough);
            let mut owner = daemon.connect();
            let mut dice = Dice(4242);
            let mut renewed = 0;
            let mut renew = || {
                dice.pause(30);
                let reply = owner.ask(&Request::Renew(About::new(renewed)));
                assert!(
                    matches!(&reply, Reply::Renewed(told) if told.id == renewed),
                    "{reply:?}"
                );
                renewed += 1;
                renewed
            };
            for number in 0..renewals {
                // Each waits until a share of the requests was asked, so that they are spread.
                let due = requests - requests * number / renewals.max(1);
                while left.load(Ordering::SeqCst) > due {
                    std::thread::sleep(Duration::from_millis(1));
                }
                renew();
            }
            // What crosses is chance: on a slow machine it takes some more, with half of a request that
            // waits for each.
            let mut halved = daemon.connect();
            while !KINDS.iter().all(|kind| carried(&daemon, kind) >= crossings) {
                let wire = frame(&Request::Predict(predict(0, known[0].picture.clone())));
                let (first, second) = wire.split_at(wire.len() / 2);
                halved.send_bytes(first);
                let renewed = renew();
                halved.send_bytes(second);
                match halved.receive() {
                    Some(Reply::Prediction(told)) => assert_eq!(essence(&told), known[0].answer),
                    other => panic!("{other:?}"),
                }
                if renewed >= renewals + MORE_RENEWALS {
                    break;
                }
            }
            renewed
        });
        // Nothing more may come on any connection: an answer that was given twice would.
        for client in clients {
            let connection = client.join().expect("a client that saw nothing of it");
            connection.stream.set_nonblocking(true).expect("set");
            let mut more = [0; 1];
            let read = (&connection.stream).read(&mut more);
            assert!(
                matches!(&read, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock),
                "{read:?}"
            );
        }
        renewer.join().expect("renewals")
    });
    let status = daemon.status();
    let told = &status["renewals"]["carried"];
    println!("{renewed} renewals over {requests} rounds carried {told}");
    assert_eq!(status["renewals"]["counts"]["asked"], renewed);
    assert_eq!(
        status["outcomes"]
            .as_object()
            .map(|all| all.keys().cloned().collect()),
        Some(vec!["ok".to_owned()])
    );
    for kind in KINDS {
        assert!(
            carried(&daemon, kind) >= crossings,
            "{kind}: {told}, expected at least {crossings} of each"
        );
    }
}

/// What must have been under way at renewals.
const KINDS: [&str; 3] = ["half_read", "queued", "half_written"];

/// How much of this kind has crossed so far.
fn carried(daemon: &Daemon, kind: &str) -> u64 {
    let status = daemon.status();
    status["renewals"]["carried"][kind]
        .as_u64()
        .expect("a number")
}

#[test]
fn image_is_replaced_and_descriptors_do_not_pile_up() {
    let daemon = Daemon::start("nchw", &[]);
    let open = || {
        let folder = format!("/proc/{}/fd", daemon.child.id());
        std::fs::read_dir(folder).expect("it lives").count()
    };
    let mut owner = daemon.connect();
    owner.ask(&Request::Renew(About::new(1)));
    let (before, started) = (open(), daemon.status()["uptime_seconds"].as_u64());
    for id in 2..12 {
        let reply = owner.ask(&Request::Renew(About::new(id)));
        assert!(matches!(reply, Reply::Renewed(_)), "{reply:?}");
    }
    assert_eq!(open(), before);
    assert!(daemon.status()["uptime_seconds"].as_u64() >= started);
    let arguments = std::fs::read(format!("/proc/{}/cmdline", daemon.child.id())).expect("read");
    let flags = String::from_utf8_lossy(&arguments)
        .matches("--renewed=")
        .count();
    assert_eq!(flags, 1, "the flag of one renewal is not kept for the next");
}

#[test]
fn limit_below_what_the_model_needs_is_told_and_does_not_loop() {
    let daemon = Daemon::start("nchw", &["--memory-limit=40MiB", "--least-lifetime=1ms"]);
    let mut client = daemon.connect();
    for id in 0..3 {
        client.send(&Request::Predict(predict(id, png([1, 1, 1]))));
        let error = client.receive_error();
        assert_eq!(&*error.code, "limit_too_low");
        assert!(
            error.message.contains("set memory_limit to"),
            "{}",
            error.message
        );
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(daemon.status()["renewals"]["counts"]["memory"], 0);
}

#[test]
fn idle_daemon_gives_its_model_back() {
    let daemon = Daemon::start("nchw", &["--idle=300ms", "--least-lifetime=1ms"]);
    let mut client = daemon.connect();
    let before = essence(&client.predict(predict(1, png([1, 2, 3]))));
    let loaded = daemon.memory("RssAnon");
    daemon.until("an idle renewal", |status| {
        status["renewals"]["counts"]["idle"] == 1
    });
    let idle = daemon.memory("RssAnon");
    assert!(idle < loaded / 2, "{idle} KiB of {loaded}");
    assert_eq!(daemon.status()["model"]["loaded"], false);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(
        daemon.status()["renewals"]["counts"]["idle"],
        1,
        "a fresh image is not idle"
    );
    assert_eq!(essence(&client.predict(predict(2, png([1, 2, 3])))), before);
}

#[test]
fn number_of_requests_is_a_reason() {
    let daemon = Daemon::start("nchw", &["--max-requests=5", "--least-lifetime=1ms"]);
    let mut client = daemon.connect();
    for id in 0..25 {
        client.predict(predict(id, png([4, 5, 6])));
    }
    daemon.until("renewals", |status| {
        status["renewals"]["counts"]["requests"].as_u64() >= Some(4)
    });
    let outcomes = &daemon.status()["outcomes"];
    assert_eq!(outcomes["ok"], 25, "counters do not fall: {outcomes}");
}
