//! Bad input over a real socket: each kind gets its error, and the next client is served as if
//! nothing had happened.

use std::time::Duration;

use crate::support::{Connection, Daemon, frame, hello, png, predict};
use dermald::wire::message::About;
use dermald::wire::{Fault, Reply, Request};

/// The next client is served.
fn assert_serves(daemon: &Daemon) {
    let prediction = daemon.connect().predict(predict(1, png([250, 0, 0])));
    assert_eq!(&*prediction.labels.0[0].name, "red");
}

/// Sends `bytes` behind a hello and expects `code`, then the end of the stream.
fn assert_sent_away(daemon: &Daemon, bytes: &[u8], code: &str) {
    let mut connection = daemon.connect();
    connection.send_bytes(bytes);
    let error = connection.receive_error();
    assert_eq!(&*error.code, code, "{}", error.message);
    assert!(connection.receive().is_none(), "the connection stays open");
}

/// A frame with the right length around `body`.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len())
        .expect("short")
        .to_be_bytes()
        .to_vec();
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn garbage_before_the_hello_is_answered_and_ends_the_connection() {
    let daemon = Daemon::start("nchw", &[]);
    let garbage: [(&[u8], &str); 4] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "frame_too_large"),
        (&[0, 0, 0, 3, 1, 2, 3], "malformed"),
        (&[0, 0, 0, 0], "malformed"),
        (&[0, 0, 0, 4, 99, 0, 0, 0], "hello_expected"),
    ];
    for (bytes, code) in garbage {
        let mut connection = daemon.connect_raw();
        connection.send_bytes(bytes);
        assert_eq!(&*connection.receive_error().code, code, "{bytes:?}");
        assert!(connection.receive().is_none());
    }
    let mut connection = daemon.connect_raw();
    connection.send(&Request::Health(About::new(1)));
    assert_eq!(&*connection.receive_error().code, "hello_expected");
    assert_serves(&daemon);
}

#[test]
fn versions_without_overlap_are_told_who_is_too_old() {
    let daemon = Daemon::start("nchw", &[]);
    for (oldest, newest, words) in [
        (2, 9, "this dermald is too old"),
        (0, 0, "client is too old"),
        (3, 1, "makes no sense"),
    ] {
        let mut connection = daemon.connect_raw();
        connection.send(&hello(oldest, newest));
        let error = connection.receive_error();
        assert_eq!(&*error.code, "unsupported_version");
        assert!(error.message.contains(words), "{}", error.message);
        assert!(connection.receive().is_none());
    }
    let mut connection = daemon.connect_raw();
    assert!(
        matches!(connection.ask(&hello(0, 7)), Reply::Welcome(welcome) if welcome.version == 1)
    );
    assert_serves(&daemon);
}

#[test]
fn frames_that_are_no_message_end_the_connection() {
    let daemon = Daemon::start("nchw", &["--frame-bytes", "1MiB"]);
    assert_sent_away(&daemon, &(2_u32 << 20).to_be_bytes(), "frame_too_large");
    let health = frame(&Request::Health(About::new(1)));
    let mut trailing = health[4..].to_vec();
    trailing.push(0);
    assert_sent_away(&daemon, &framed(&trailing), "malformed");
    assert_sent_away(&daemon, &framed(&health[4..health.len() - 1]), "malformed");
    assert_sent_away(&daemon, &frame(&hello(1, 1)), "hello_expected");
    assert_serves(&daemon);
}

#[test]
fn unknown_message_is_answered_with_its_id_and_the_connection_goes_on() {
    let daemon = Daemon::start("nchw", &[]);
    let mut connection = daemon.connect();
    let mut bytes = frame(&Request::Health(About::new(77))).to_vec();
    bytes[4] = 50;
    connection.send_bytes(&bytes);
    let error = connection.receive_error();
    assert_eq!((error.id, &*error.code), (Some(77), "unknown_message"));
    assert!(matches!(
        connection.ask(&Request::Health(About::new(78))),
        Reply::Health(_)
    ));
}

#[test]
fn staller_is_sent_away_in_the_hello_and_in_a_request() {
    let daemon = Daemon::start("nchw", &["--stall-timeout", "200ms"]);
    let mut silent = daemon.connect_raw();
    assert_eq!(&*silent.receive_error().code, "stalled");
    let mut half = daemon.connect();
    let request = frame(&Request::Predict(predict(1, png([1, 2, 3]))));
    half.send_bytes(&request[..request.len() / 2]);
    assert_eq!(&*half.receive_error().code, "stalled");
    assert!(half.receive().is_none());
    // Between requests a connection may be silent for as long as it likes.
    let mut quiet = daemon.connect();
    std::thread::sleep(Duration::from_millis(500));
    assert!(matches!(
        quiet.ask(&Request::Health(About::new(1))),
        Reply::Health(_)
    ));
    assert_serves(&daemon);
}

#[test]
fn client_that_does_not_read_is_left_and_others_are_served() {
    let daemon = Daemon::start("nchw", &["--stall-timeout", "300ms"]);
    let mut deaf = daemon.connect();
    let question = frame(&Request::Metrics(About::new(1)));
    let many = question.repeat(50);
    // Until the daemon stops reading, or leaves.
    deaf.stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("set");
    for _ in 0..200 {
        deaf.send_bytes(&many);
    }
    assert_serves(&daemon);
    daemon.until("the deaf client gone", |status| status["connections"] == 1);
    assert!(
        daemon.memory("VmRSS") < 100 * 1024,
        "{} KiB",
        daemon.memory("VmRSS")
    );
}

#[test]
fn large_requests_that_crawl_in_share_the_room_of_one() {
    let daemon = Daemon::start("nchw", &["--stall-timeout", "20s", "--frame-bytes", "8MiB"]);
    assert_serves(&daemon);
    let before = daemon.memory("RssAnon");
    let body = vec![0x55; 7 << 20];
    let crawlers: Vec<Connection> = (0..12)
        .map(|_| {
            let mut crawler = daemon.connect();
            crawler
                .stream
                .set_write_timeout(Some(Duration::from_millis(200)))
                .expect("set");
            crawler.send_bytes(&(8_u32 << 20).to_be_bytes());
            crawler.send_bytes(&body);
            crawler
        })
        .collect();
    assert_serves(&daemon);
    let grown = daemon.memory("RssAnon").saturating_sub(before);
    assert!(
        grown < 16 * 1024,
        "{} clients made the daemon hold {grown} KiB",
        crawlers.len()
    );
}

#[test]
fn bad_pictures_are_the_callers_fault() {
    let daemon = Daemon::start("nchw", &[]);
    let whole = png([250, 0, 0]);
    let mut huge = whole.to_vec();
    huge[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
    huge[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
    // The header's checksum, computed by hand for 60,000 x 60,000 with 8 bits of RGB.
    let checksum = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&checksum.to_be_bytes());
    let bad: [(Vec<u8>, &str, &str); 4] = [
        (Vec::new(), "picture_empty", "0 bytes"),
        (
            whole[..whole.len() / 2].to_vec(),
            "picture_broken",
            "broken",
        ),
        (b"%PDF-1.7 and so on".to_vec(), "picture_unsupported", "PDF"),
        (huge, "picture_too_large", "60000 x 60000"),
    ];
    let mut connection = daemon.connect();
    for (number, (picture, code, words)) in bad.into_iter().enumerate() {
        let id = number as u64;
        connection.send(&Request::Predict(predict(id, picture)));
        let error = connection.receive_error();
        assert_eq!(
            (error.id, &*error.code, error.retryable),
            (Some(id), code, false)
        );
        assert!(error.message.contains(words), "{}", error.message);
    }
    assert_eq!(
        &*connection.predict(predict(9, whole)).labels.0[0].name,
        "red"
    );
}

/// A panic in the work on a picture is ours to answer for: it is told, counted, and costs neither the
/// thread nor the loaded model. A release build has no file to rehearse it with.
#[test]
fn bug_in_a_decoder_costs_one_answer_and_not_the_model() {
    const REHEARSAL: &[u8] = b"dermald, rehearse a panic";
    let daemon = Daemon::start("nchw", &[]);
    let mut connection = daemon.connect();
    connection.predict(predict(1, png([250, 0, 0])));
    connection.send(&Request::Predict(predict(2, REHEARSAL)));
    let error = connection.receive_error();
    if !cfg!(debug_assertions) {
        return assert_eq!(&*error.code, "picture_unsupported");
    }
    assert_eq!(
        (error.id, &*error.code, error.fault, error.retryable),
        (Some(2), "picture_failed", Fault::Daemon, false)
    );
    let status = daemon.status();
    assert_eq!(
        status["panics"],
        serde_json::json!({ "picture": 1, "model": 0 })
    );
    assert_eq!(status["outcomes"]["picture_failed"], 1);
    assert_eq!(status["model"]["loaded"], true);
    let Reply::Metrics(metrics) = connection.ask(&Request::Metrics(About::new(3))) else {
        panic!("no metrics");
    };
    let counted = "dermald_panics_total{work=\"picture\"} 1\n";
    assert!(metrics.text.contains(counted), "{}", metrics.text);
    let next = connection.predict(predict(4, png([250, 0, 0])));
    assert_eq!(&*next.labels.0[0].name, "red");
    assert_eq!(next.timings.load_us, 0, "the model was loaded anew");
    assert!(daemon.log().contains("a bug stopped the work on a picture"));
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn memory_does_not_grow_over_ten_thousand_bad_requests() {
    let daemon = Daemon::start("nchw", &["--log-level", "error"]);
    // Its model is no growth. Who vanishes before the turn comes may not have it loaded in either round.
    assert_serves(&daemon);
    let good = frame(&Request::Predict(predict(1, png([3, 4, 5]))));
    let broken = frame(&Request::Predict(predict(1, png([3, 4, 5]).slice(..40))));
    let round = |count: usize| {
        for number in 0..count {
            let mut connection = daemon.connect();
            match number % 5 {
                0 => connection.send_bytes(&[0xff; 64]),
                1 => connection.send_bytes(&good[..good.len() / 2]),
                2 => connection.send_bytes(&good),
                3 => connection.send_bytes(&framed(&[1, 0, 0, 0, 7])),
                _ => {
                    connection.send_bytes(&broken);
                    assert_eq!(&*connection.receive_error().code, "picture_broken");
                }
            }
            // Every other client vanishes without reading.
            if number % 10 == 0 {
                connection.receive_error();
            }
        }
        daemon.until("all gone", |status| status["connections"] == 1);
        daemon.memory("RssAnon")
    };
    let before = round(2_000);
    let after = round(10_000);
    assert!(after <= before + 1024, "from {before} to {after} KiB");
    assert_serves(&daemon);
}
