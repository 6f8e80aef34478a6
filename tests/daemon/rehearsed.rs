//! Faults that a debug build rehearses: a leak, a kernel that refuses `exec`, a picture that the
//! inference thread hangs over.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::support::{self, Connection, Daemon, amount, essence, png, predict};
use dermald::wire::message::{About, Prediction};
use dermald::wire::{Reply, Request};

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

fn prediction(client: &mut Connection) -> Prediction {
    match client.receive() {
        Some(Reply::Prediction(prediction)) => prediction,
        other => panic!("no prediction: {other:?}"),
    }
}

/// The start of a picture that a debug build hangs over.
const HANG: &[u8] = b"dermald, rehearse a hang";

#[test]
fn daemon_that_hangs_renews_itself_and_only_the_picture_is_given_up() {
    let daemon = Daemon::start_with(&support::bundle("nchw"), &["--hang-limit=500ms"], |_| ());
    let mut waiting = daemon.connect();
    let expected = essence(&waiting.predict(predict(1, png([1, 2, 3]))));
    let mut hangs = daemon.connect();
    hangs.send(&Request::Predict(predict(2, HANG)));
    daemon.until("it hangs", |status| status["queue"]["running"] == true);
    // Waits behind it.
    waiting.send(&Request::Predict(predict(3, png([1, 2, 3]))));
    let error = hangs.receive_error();
    assert_eq!((&*error.code, error.retryable), ("inference_failed", false));
    assert!(error.message.contains("hung for"), "{}", error.message);
    assert_eq!(essence(&prediction(&mut waiting)), expected);
    assert_eq!(daemon.status()["renewals"]["counts"]["hang"], 1);

    // Once may be the machine's fault. Twice is the picture's.
    hangs.send(&Request::Predict(predict(4, HANG)));
    assert_eq!(&*hangs.receive_error().code, "inference_failed");
    hangs.send(&Request::Predict(predict(5, HANG)));
    assert_eq!(&*hangs.receive_error().code, "picture_failed");
    assert_eq!(
        essence(&waiting.predict(predict(6, png([1, 2, 3])))),
        expected
    );
    assert_eq!(daemon.status()["renewals"]["counts"]["hang"], 2);
}

#[test]
fn daemon_that_is_to_wait_says_that_it_is_stuck() {
    let options = ["--hang-limit=500ms", "--on-hang=wait"];
    let daemon = Daemon::start_with(&support::bundle("nchw"), &options, |_| ());
    daemon.connect().send(&Request::Predict(predict(1, HANG)));
    let mut client = daemon.connect();
    client.send(&Request::Predict(predict(2, HANG)));
    let began = Instant::now();
    daemon.until("it is stuck", |status| status["state"] == "stuck");
    assert!(began.elapsed() < Duration::from_secs(5));
    let message = daemon.status()["message"].to_string();
    assert!(message.contains("in one step for"), "{message}");
}

#[test]
fn daemon_that_is_to_exit_aborts() {
    let options = ["--hang-limit=500ms", "--on-hang=exit"];
    let mut daemon = Daemon::start_with(&support::bundle("nchw"), &options, |_| ());
    let mut client = daemon.connect();
    client.send(&Request::Predict(predict(1, HANG)));
    assert_eq!(daemon.wait().signal(), Some(6), "SIGABRT");
}
