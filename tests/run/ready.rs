//! Before the daemon serves.

use super::support::Daemon;
use super::{child, children, left_nothing, send, stands_still, start};

/// With a daemon that stands still before it serves.
fn start_slowly(flags: &[&str]) -> (Daemon, u32) {
    let run = start(flags, &["sleep", "600"], |command| {
        command.env("DERMALD_REHEARSE", "stop");
    });
    let daemon = child(&run, "dermald");
    stands_still(daemon);
    (run, daemon)
}

#[test]
fn stop_before_the_daemon_serves_is_a_stop() {
    let (mut run, daemon) = start_slowly(&[]);
    child(&run, "sleep");
    run.signal("TERM");
    while children(run.child.id()).len() > 1 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    send(daemon, "CONT");
    assert_eq!(run.wait().code(), Some(143), "{}", run.log());
    left_nothing(&run);
}

#[test]
fn command_may_be_started_when_the_daemon_serves_and_not_before() {
    let (mut run, daemon) = start_slowly(&["--wait-ready"]);
    assert_eq!(children(run.child.id()).len(), 1);
    send(daemon, "CONT");
    child(&run, "sleep");
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(143), "{}", run.log());
    left_nothing(&run);
}

#[test]
fn command_that_waits_is_not_started_after_a_stop_or_a_failure() {
    let (mut run, daemon) = start_slowly(&["--wait-ready"]);
    run.signal("TERM");
    std::thread::sleep(std::time::Duration::from_millis(100));
    send(daemon, "CONT");
    assert_eq!(run.wait().code(), Some(143), "{}", run.log());
    let flags = ["--wait-ready", "--bundle", "/nowhere"];
    let mut run = start(&flags, &["sh", "-c", "echo begun >&2"], |_| {});
    assert_eq!(run.wait().code(), Some(125), "{}", run.log());
    assert!(!run.log().contains("begun"), "{}", run.log());
    left_nothing(&run);
}

#[test]
fn reload_before_the_daemon_serves_comes_when_it_does() {
    let (run, daemon) = start_slowly(&[]);
    // `sleep` would die of it.
    send(child(&run, "sleep"), "STOP");
    run.signal("HUP");
    std::thread::sleep(std::time::Duration::from_millis(100));
    send(daemon, "CONT");
    run.until("a renewal", |status| {
        status["renewals"]["counts"]["reload"] == 1
    });
    assert_eq!(child(&run, "dermald"), daemon, "{}", run.log());
}
