//! What one client may take from the others: room for what arrives, what it leaves unread, the turn
//! of the I/O thread.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::support::{self, Connection, Daemon, frame, png, predict};
use dermald::wire::message::{About, ColourMap, Explain, Format, OverlayForm, Predict};
use dermald::wire::{Reply, Request};

/// A picture of some 200 KB: the bytes behind a PNG's end are not looked at.
fn large_picture() -> Vec<u8> {
    let mut file = png([250, 0, 0]).to_vec();
    file.resize(200 * 1024, 0);
    file
}

/// Sends the beginning of a request of 8 MiB: its length and `body` bytes.
fn begin(daemon: &Daemon, body: usize) -> Connection {
    let mut connection = daemon.connect();
    connection.send_bytes(&(8_u32 << 20).to_be_bytes());
    connection.send_bytes(&vec![0x55; body]);
    connection
}

#[test]
fn announced_lengths_keep_nobody_waiting() {
    let flags = ["--stall-timeout", "60s", "--frame-bytes", "8MiB"];
    let daemon = Daemon::start("nchw", &flags);
    let _announced: Vec<Connection> = (0..8).map(|_| begin(&daemon, 0)).collect();
    let _begun: Vec<Connection> = (0..8).map(|_| begin(&daemon, 40 * 1024)).collect();
    let started = Instant::now();
    let prediction = daemon.connect().predict(predict(1, large_picture()));
    assert_eq!(&*prediction.labels.0[0].name, "red");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn request_that_crawls_loses_its_turn_to_those_that_wait() {
    let flags = ["--stall-timeout", "60s", "--frame-bytes", "8MiB"];
    let daemon = Daemon::start("nchw", &flags);
    let mut crawler = begin(&daemon, 300 * 1024);
    let started = Instant::now();
    let prediction = daemon.connect().predict(predict(1, large_picture()));
    assert_eq!(&*prediction.labels.0[0].name, "red");
    assert!(started.elapsed() < Duration::from_secs(30));
    let error = crawler.receive_error();
    assert_eq!((&*error.code, error.retryable), ("stalled", true));
    assert!(
        error.message.contains("while others waited"),
        "{}",
        error.message
    );
}

#[test]
fn deadline_counts_from_the_first_byte() {
    let daemon = Daemon::start("nchw", &["--stall-timeout", "60s"]);
    let mut connection = daemon.connect();
    let request = frame(&Request::Predict(Predict {
        deadline_ms: 300,
        ..predict(1, png([1, 2, 3]))
    }));
    let (first, rest) = request.split_at(request.len() / 2);
    connection.send_bytes(first);
    std::thread::sleep(Duration::from_millis(400));
    connection.send_bytes(rest);
    assert_eq!(&*connection.receive_error().code, "deadline_exceeded");
}

#[test]
fn reader_that_trickles_is_left_after_the_stall_timeout() {
    let daemon = Daemon::start("nchw", &["--stall-timeout", "500ms"]);
    let mut slow = daemon.connect();
    let timeout = Some(Duration::from_millis(200));
    slow.stream.set_write_timeout(timeout).expect("set");
    slow.send_bytes(&frame(&Request::Metrics(About::new(1))).repeat(2000));
    let started = Instant::now();
    let mut piece = [0; 4096];
    // At this pace the answers would take half a minute.
    while !matches!(slow.stream.read(&mut piece), Ok(0) | Err(_)) {
        assert!(started.elapsed() < Duration::from_secs(20), "still served");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        daemon.log().contains("does not read its replies"),
        "{}",
        daemon.log()
    );
}

#[test]
fn replies_that_nobody_takes_are_bounded_in_bytes() {
    let daemon = Daemon::start("nchw", &["--stall-timeout", "10m"]);
    let noise = image::RgbImage::from_fn(512, 512, |x, y| {
        let mixed = (x * 7919 + y * 104_729) ^ (x * y * 31);
        image::Rgb([0, 8, 16].map(|shift| (mixed >> shift).to_le_bytes()[0]))
    });
    let mut file = std::io::Cursor::new(Vec::new());
    noise
        .write_to(&mut file, image::ImageFormat::Png)
        .expect("encoded");
    let explain = Explain::Overlay(OverlayForm {
        format: Format::Png,
        longest_side: 2048,
        colour_map: ColourMap::Jet,
        alpha: 0.2,
    });
    let mut deaf = daemon.connect();
    for id in 0..16 {
        deaf.send(&Request::Predict(Predict {
            explain: explain.clone(),
            ..predict(id, file.get_ref().clone())
        }));
    }
    daemon.until("the deaf client left", |status| status["connections"] == 1);
    assert!(
        daemon.log().contains("leaves too many replies unread"),
        "{}",
        daemon.log()
    );
    let peak = daemon.memory("VmHWM");
    assert!(peak < 250 * 1024, "{peak} KiB");
}

#[test]
fn one_that_asks_without_pause_does_not_keep_the_others_waiting() {
    const QUESTIONS: u64 = 20_000;
    let daemon = Daemon::start("nchw", &[]);
    let mut eager = daemon.connect();
    let mut writer = eager.stream.try_clone().expect("cloned");
    let asking = std::thread::spawn(move || {
        let questions: Vec<u8> = (0..QUESTIONS)
            .flat_map(|id| frame(&Request::Health(About::new(id))))
            .collect();
        std::io::Write::write_all(&mut writer, &questions).expect("sent");
    });
    let listening = std::thread::spawn(move || {
        for id in 0..QUESTIONS {
            match eager.receive() {
                Some(Reply::Health(health)) => assert_eq!(health.id, id),
                other => panic!("{other:?}"),
            }
        }
    });
    let mut other = daemon.connect();
    let mut slowest = Duration::ZERO;
    while !listening.is_finished() {
        let started = Instant::now();
        other.ask(&Request::Health(About::new(1)));
        slowest = slowest.max(started.elapsed());
    }
    asking.join().expect("asked");
    listening.join().expect("all answered in their order");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

/// Opened one after the other, since each has its turn; 256 places are there.
const SILENT: usize = 2_000;

#[test]
fn connections_that_say_nothing_keep_nobody_out() {
    let daemon = Daemon::start("nchw", &["--stall-timeout", "60s"]);
    let mut first = daemon.connect();
    first.predict(predict(1, png([250, 0, 0])));
    let silent: Vec<UnixStream> = (0..SILENT)
        .map(|_| UnixStream::connect(&daemon.socket).expect("connected"))
        .collect();
    let started = Instant::now();
    // Who comes while all places are taken by ones that had no time yet is told to come again.
    let mut visitor = loop {
        let mut visitor = daemon.connect_raw();
        visitor.send(&support::hello(1, 1));
        match visitor.receive() {
            Some(Reply::Welcome(_)) => break visitor,
            Some(Reply::Error(error)) => assert_eq!(&*error.code, "too_many_connections"),
            other => panic!("{other:?}"),
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    };
    visitor.predict(predict(1, png([250, 0, 0])));
    first.predict(predict(2, png([250, 0, 0])));
    let status = daemon.status();
    assert!(status["connections"].as_u64() <= Some(260), "{status}");
    drop(silent);
}

#[test]
fn each_user_has_so_many_connections_and_the_rest_is_told_to_come_again() {
    let daemon = Daemon::start("nchw", &["--connections-per-user", "2"]);
    let (_first, second) = (daemon.connect(), daemon.connect());
    let error = daemon.connect_raw().receive_error();
    assert_eq!(
        (&*error.code, error.retryable, error.retry_after_ms),
        ("too_many_connections", true, Some(1000))
    );
    assert!(
        error.message.contains("has all connections"),
        "{}",
        error.message
    );
    drop(second);
    let started = Instant::now();
    while !matches!(
        daemon.connect_raw().ask(&support::hello(1, 1)),
        Reply::Welcome(_)
    ) {
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let daemon = Daemon::start("nchw", &["--rate-limit", "0.2"]);
    let mut client = daemon.connect();
    for id in 0..2 {
        client.predict(predict(id, png([250, 0, 0])));
    }
    client.send(&Request::Predict(predict(2, png([250, 0, 0]))));
    let error = client.receive_error();
    assert_eq!((&*error.code, error.retryable), ("busy", true));
    assert!(error.message.contains("rate_limit"), "{}", error.message);
    let wait = error.retry_after_ms.expect("when");
    assert!((3000..=5000).contains(&wait), "{wait}");
    // What costs nothing is not counted.
    for id in 3..100 {
        assert!(matches!(
            client.ask(&Request::Health(About::new(id))),
            Reply::Health(_)
        ));
    }
}
