//! Faults that a debug build rehearses: a leak, and a kernel that refuses `exec`.

#![cfg(debug_assertions)]

mod support;

use dermald::wire::Request;
use dermald::wire::message::About;
use support::{Daemon, amount, essence, png, predict};

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
