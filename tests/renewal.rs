//! Renewals that no client can see: what is half-read, queued or half-written crosses from one image of
//! the process to the next.

mod support;

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dermald::lifecycle::handover::{self, Descriptors};
use dermald::wire::message::{About, Prediction};
use dermald::wire::{self, Reply, Request};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use support::{Connection, Daemon, frame, png, predict};

/// Clients that keep their connections, and never try anything twice.
const CLIENTS: u64 = 8;

/// How much is asked and how often the daemon is renewed; `make proof` asks for more.
fn amount(variable: &str, short: u64) -> u64 {
    std::env::var(variable).map_or(short, |text| text.parse().expect("a whole number"))
}

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

fn essence(prediction: &Prediction) -> Vec<(u32, f32)> {
    let labels = prediction.labels.0.iter();
    labels
        .map(|label| (label.index, label.probability))
        .collect()
}

/// One client's doings until `left` is used up; every answer must be the right one, once.
fn client(number: u64, daemon: &Daemon, known: &[Known], left: &AtomicU64) -> Connection {
    let mut dice = Dice(number);
    let mut connection = daemon.connect();
    let mut next_id = number << 32;
    let take = || {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    };
    while take() {
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
        match dice.below(3) {
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
                std::thread::sleep(Duration::from_millis(20));
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
    let known: Vec<Known> = (0..6_u8)
        .map(|shade| {
            let picture = png([shade * 40, 255 - shade * 40, 90]);
            let answer = essence(&daemon.connect().predict(predict(1, picture.clone())));
            Known { picture, answer }
        })
        .collect();
    let left = AtomicU64::new(requests);
    let done = AtomicBool::new(false);
    let renewed = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (daemon, known, left) = (&daemon, &known, &left);
                scope.spawn(move || client(number + 1, daemon, known, left))
            })
            .collect();
        let renewer = scope.spawn(|| {
            let mut owner = daemon.connect();
            let mut dice = Dice(4242);
            let mut renewed = 0;
            while renewed < renewals || !done.load(Ordering::SeqCst) {
                // Each renewal waits until a share of the requests was asked, so that they are spread.
                let due = requests - requests * renewed.min(renewals) / renewals.max(1);
                if renewed < renewals && left.load(Ordering::SeqCst) <= due {
                    dice.pause(30);
                    let reply = owner.ask(&Request::Renew(About::new(renewed)));
                    assert!(
                        matches!(&reply, Reply::Renewed(told) if told.id == renewed),
                        "{reply:?}"
                    );
                    renewed += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
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
        done.store(true, Ordering::SeqCst);
        renewer.join().expect("renewals")
    });
    let status = daemon.status();
    let carried = &status["renewals"]["carried"];
    println!("{renewed} renewals over {requests} rounds carried {carried}");
    assert_eq!(status["renewals"]["counts"]["asked"], renewed);
    assert_eq!(
        status["outcomes"]
            .as_object()
            .map(|all| all.keys().cloned().collect()),
        Some(vec!["ok".to_owned()])
    );
    for kind in ["half_read", "queued", "half_written"] {
        assert!(
            carried[kind].as_u64() >= Some(crossings),
            "{kind}: {carried}, expected at least {crossings} of each"
        );
    }
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
fn failed_exec_leaves_the_old_image_serving() {
    let daemon = Daemon::start_with(&support::bundle("nchw"), &[], |command| {
        command.env("DERMALD_REHEARSE", "exec");
    });
    let mut client = daemon.connect();
    let before = essence(&client.predict(predict(1, png([1, 2, 3]))));
    client.send(&Request::Renew(About::new(2)));
    assert_eq!(&*client.receive_error().code, "renewal_failed");
    assert_eq!(essence(&client.predict(predict(3, png([1, 2, 3])))), before);
    let status = daemon.status();
    let message = status["message"].as_str().expect("text");
    assert!(message.contains("a failure was rehearsed"), "{message}");
    assert_eq!(status["renewals"]["counts"]["asked"], 0);
}

#[test]
fn leak_is_survived_below_the_limit() {
    let requests = amount("TEST_LEAKS", 200);
    let daemon = Daemon::start_with(
        &support::bundle("nchw"),
        &[
            "--memory-limit=120MiB",
            "--queue-bytes=20MiB",
            "--least-lifetime=1ms",
        ],
        |command| {
            command.env("DERMALD_REHEARSE", "leak");
        },
    );
    let mut client = daemon.connect();
    let mut most = 0;
    for id in 0..requests {
        client.predict(predict(id, png([9, 8, 7])));
        most = most.max(daemon.memory("VmRSS"));
    }
    let status = daemon.status();
    let renewed = status["renewals"]["counts"]["memory"].as_u64();
    println!(
        "{requests} leaks of 1 MiB: at most {} MiB resident, {renewed:?} renewals",
        most >> 10
    );
    assert!(renewed >= Some(requests / 120), "{status}");
    // One job of this model and its leak.
    assert!(most < (120 + 12) << 10, "{most} KiB");
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

/// A copy of a test bundle whose files may be changed.
fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fill(folder.path(), name);
    folder
}

/// Replaces the files of `folder`, each in one step, the manifest last.
fn fill(folder: &Path, name: &str) {
    let mut files: Vec<_> = std::fs::read_dir(support::bundle(name))
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort_by_key(|path| path.ends_with("manifest.toml"));
    for path in files {
        let name = path.file_name().expect("a file");
        let new = folder.join("new");
        std::fs::copy(&path, &new).expect("copied");
        std::fs::rename(&new, folder.join(name)).expect("renamed");
    }
}

#[test]
fn reload_takes_a_new_model_and_refuses_a_broken_one() {
    let folder = copy_of("nchw");
    let daemon = Daemon::start_with(folder.path(), &[], |_| {});
    let digest = || daemon.status()["model"]["digest"].clone();
    let old = digest();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = daemon.connect();
            let mut answers: HashMap<String, Vec<(u32, f32)>> = HashMap::new();
            let mut id = 0;
            while !stop.load(Ordering::SeqCst) {
                id += 1;
                let prediction = client.predict(predict(id, png([200, 30, 60])));
                let told = answers
                    .entry(prediction.model.digest.to_string())
                    .or_insert_with(|| essence(&prediction));
                assert_eq!(
                    *told,
                    essence(&prediction),
                    "the digest names another model"
                );
            }
            answers
        });
        fill(folder.path(), "no-gradcam");
        daemon.signal("HUP");
        daemon.until("the new model", |status| status["model"]["digest"] != old);
        let new = digest();

        fill(folder.path(), "wrong-width");
        daemon.signal("HUP");
        daemon.until("a refusal", |status| {
            status["outcomes"]["reload_refused"] == 1
        });
        let status = daemon.status();
        assert_eq!(
            (status["state"].as_str(), &status["model"]["digest"]),
            (Some("ready"), &new)
        );
        let message = status["message"].as_str().expect("text");
        assert!(message.contains("the last reload was refused"), "{message}");
        // Renewals for other reasons keep the good model, whatever lies in the folder.
        daemon.connect().ask(&Request::Renew(About::new(1)));
        assert_eq!(digest(), new);
        assert!(
            daemon.status()["message"]
                .as_str()
                .expect("text")
                .contains("refused")
        );

        fill(folder.path(), "nchw");
        daemon.signal("HUP");
        daemon.until("the old model again", |status| {
            status["model"]["digest"] == old
        });
        assert!(
            !daemon.status()["message"]
                .as_str()
                .expect("text")
                .contains("refused")
        );
        stop.store(true, Ordering::SeqCst);
        let answers = client.join().expect("a client that saw nothing of it");
        assert_eq!(answers.len(), 2, "{answers:?}");
    });
}

#[test]
fn reload_reads_the_configuration_and_refuses_a_bad_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dermald.toml");
    std::fs::write(&file, "queue_requests = 5\n").expect("written");
    let flags = ["--config", file.to_str().expect("text")];
    let daemon = Daemon::start("nchw", &flags);
    let limit = |status: &serde_json::Value| status["queue"]["limit_requests"].clone();
    let mut client = daemon.connect();
    std::fs::write(&file, "queue_requests = 7\n").expect("written");
    assert_eq!(limit(&daemon.status()), 5);
    client.ask(&Request::Renew(About::new(1)));
    assert_eq!(limit(&daemon.status()), 5, "only a reload reads files");
    daemon.signal("HUP");
    daemon.until("the new limit", |status| limit(status) == 7);
    std::fs::write(&file, "queue_requests = 0\n").expect("written");
    daemon.signal("HUP");
    daemon.until("a refusal", |status| {
        status["outcomes"]["reload_refused"] == 1
    });
    let message = daemon.status()["message"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(message.contains("queue_requests is \"0\""), "{message}");
    assert_eq!(limit(&daemon.status()), 7);
}

#[test]
fn binary_that_was_replaced_takes_over_and_a_broken_one_does_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let binary = folder.path().join("dermald");
    let place = |bytes: &[u8]| {
        let new = folder.path().join("new");
        std::fs::write(&new, bytes).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, mode).expect("set");
        std::fs::rename(&new, &binary).expect("renamed");
    };
    let original = std::fs::read(env!("CARGO_BIN_EXE_dermald")).expect("read");
    place(&original);
    let daemon = Daemon::start_with(&support::bundle("nchw"), &[], |command| {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut other = std::process::Command::new(&binary);
        other
            .args(arguments)
            .env_clear()
            .env("ORT_DYLIB_PATH", support::library())
            .env("DERMALD_CACHE", support::root().join("target/test-cache"))
            .stderr(std::fs::File::create(folder.path().join("log")).expect("a log"))
            .stdin(std::process::Stdio::null());
        *command = other;
    });
    let log = || std::fs::read_to_string(folder.path().join("log")).expect("the log");
    let running =
        || std::fs::read_link(format!("/proc/{}/exe", daemon.child.id())).expect("a link");
    let mut client = daemon.connect();
    place(b"#!/bin/sh\nexit 1\n");
    let reply = client.ask(&Request::Renew(About::new(1)));
    assert!(matches!(reply, Reply::Renewed(_)), "{reply:?}");
    assert!(log().contains("no dermald that runs"), "{}", log());
    assert!(running().to_string_lossy().contains("deleted"));
    place(&original);
    client.ask(&Request::Renew(About::new(2)));
    assert_eq!(running(), binary);
    client.predict(predict(3, png([1, 2, 3])));
}

#[test]
fn state_of_another_version_keeps_the_listener_and_sends_clients_away() {
    let folder = tempfile::Builder::new()
        .prefix("dermald-test-")
        .tempdir_in("/dev/shm")
        .expect("a folder");
    let socket = folder.path().join("s/d.sock");
    std::fs::create_dir(folder.path().join("s")).expect("made");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let lock = std::fs::File::create(folder.path().join("s/d.sock.lock")).expect("made");
    let connect = || std::os::unix::net::UnixStream::connect(&socket).expect("connected");
    let (mut between, mut midway) = (connect(), connect());
    let accepted = [listener.accept(), listener.accept()].map(|client| client.expect("there").0);
    let descriptors = Descriptors {
        listener: listener.as_fd(),
        lock: lock.as_fd(),
        identity: (0, 0),
        connections: vec![(accepted[0].as_fd(), true), (accepted[1].as_fd(), false)],
    };
    let memfd = handover::pack(&descriptors, u32::MAX, &"from the future").expect("packed");
    for fd in [
        memfd.as_fd(),
        listener.as_fd(),
        lock.as_fd(),
        accepted[0].as_fd(),
        accepted[1].as_fd(),
    ] {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).expect("inherited");
    }
    let flag = format!("--renewed={}", memfd.as_raw_fd());
    let daemon = Daemon::start_at(
        folder,
        socket.clone(),
        &support::bundle("nchw"),
        &[&flag],
        |_| {},
    );
    drop((listener, lock, accepted, memfd));
    let mut said = Vec::new();
    between.read_to_end(&mut said).expect("read");
    let told: Reply = wire::decode(&Bytes::from(said.split_off(4))).expect("a reply");
    assert!(
        matches!(&told, Reply::GoingAway(away) if &*away.reason == "renewing"),
        "{told:?}"
    );
    said.clear();
    midway.read_to_end(&mut said).expect("read");
    assert!(
        said.is_empty(),
        "nothing may be said into the middle of a reply"
    );
    daemon.connect().predict(predict(1, png([1, 2, 3])));
    assert!(daemon.log().contains("version"), "{}", daemon.log());
}

#[test]
fn signals_in_a_tight_loop_never_kill_it_halfway() {
    let mut daemon = Daemon::start("nchw", &[]);
    let mut client = daemon.connect();
    let expected = essence(&client.predict(predict(1, png([3, 2, 1]))));
    let storm = Instant::now();
    let mut id = 1;
    while storm.elapsed() < Duration::from_secs(2) {
        daemon.signal("HUP");
        id += 1;
        assert_eq!(
            essence(&client.predict(predict(id, png([3, 2, 1])))),
            expected
        );
    }
    let reloads = daemon.status()["renewals"]["counts"]["reload"].as_u64();
    assert!(reloads >= Some(1), "{reloads:?}");
    // A TERM at any moment of a renewal is a clean stop.
    for _ in 0..3 {
        daemon.signal("HUP");
        client.send(&Request::Renew(About::new(7)));
    }
    daemon.signal("TERM");
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert!(!daemon.socket.exists());
}
