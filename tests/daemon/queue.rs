//! One thread, a bounded queue, deadlines, clients that leave, and the end of the daemon.

use std::time::{Duration, Instant};

use crate::support::{self, Daemon, png, predict};
use dermald::wire::message::{About, Predict};
use dermald::wire::{Reply, Request};

/// Each with its own picture: equal ones would be worked on together.
fn slow_request(id: u64, deadline_ms: u32) -> Request {
    Request::Predict(Predict {
        deadline_ms,
        ..predict(id, png([id.to_le_bytes()[0], 9, 9]))
    })
}

/// The daemon with the bundle whose run takes seconds, with one run under way.
fn busy_daemon(flags: &[&str]) -> (Daemon, support::Connection) {
    let daemon = Daemon::start("slow", flags);
    let mut runner = daemon.connect();
    runner.send(&slow_request(1, 0));
    daemon.until("a run", |status| {
        status["queue"]["running"] == true && status["model"]["loaded"] == true
    });
    (daemon, runner)
}

#[test]
fn full_queue_replies_busy_at_once() {
    let (daemon, _runner) = busy_daemon(&["--queue-requests", "2"]);
    let mut connection = daemon.connect();
    for id in 10..12 {
        connection.send(&slow_request(id, 0));
    }
    let started = Instant::now();
    connection.send(&slow_request(12, 0));
    let error = connection.receive_error();
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        (error.id, &*error.code, error.retryable),
        (Some(12), "busy", true)
    );
    assert!(
        error.retry_after_ms.is_some_and(|hint| hint >= 50),
        "{error:?}"
    );
}

#[test]
fn queue_is_bounded_in_bytes() {
    let (daemon, _runner) = busy_daemon(&["--queue-bytes", "1MiB", "--frame-bytes", "1MiB"]);
    let mut connection = daemon.connect();
    for id in 10..12 {
        connection.send(&Request::Predict(predict(id, vec![0; 700 * 1024])));
    }
    let error = connection.receive_error();
    assert_eq!((error.id, &*error.code), (Some(11), "busy"));
}

#[test]
fn health_status_and_metrics_never_wait_behind_inference() {
    let (daemon, _runner) = busy_daemon(&[]);
    let mut connection = daemon.connect();
    connection.send(&slow_request(2, 0));
    let mut slowest = Duration::ZERO;
    for id in 100..200 {
        let started = Instant::now();
        let reply = connection.ask(&Request::Health(About::new(id)));
        slowest = slowest.max(started.elapsed());
        assert!(matches!(reply, Reply::Health(health) if health.id == id));
    }
    assert_eq!(
        daemon.status()["queue"]["running"],
        true,
        "the run ended too early to prove it"
    );
    assert!(slowest < Duration::from_millis(50), "{slowest:?}");
    let reply = connection.ask(&Request::Metrics(About::new(3)));
    assert!(matches!(reply, Reply::Metrics(metrics) if metrics.text.ends_with("# EOF\n")));
}

#[test]
fn waiting_request_past_its_deadline_is_not_run() {
    let (daemon, _runner) = busy_daemon(&[]);
    let mut connection = daemon.connect();
    connection.send(&slow_request(2, 100));
    let error = connection.receive_error();
    assert_eq!((error.id, &*error.code), (Some(2), "deadline_exceeded"));
    let status = daemon.status();
    assert_eq!(status["queue"]["requests"], 0, "it still waits");
    assert_eq!(
        status["queue"]["running"], true,
        "the first run ended too early to prove it"
    );
}

#[test]
fn run_past_its_deadline_is_stopped_in_the_middle() {
    let daemon = Daemon::start("slow", &["--preload", "true"]);
    daemon.until("a loaded model", |status| status["model"]["loaded"] == true);
    let mut connection = daemon.connect();
    let started = Instant::now();
    connection.send(&slow_request(1, 300));
    assert_eq!(&*connection.receive_error().code, "deadline_exceeded");
    daemon.until("a free thread", |status| {
        status["queue"]["running"] == false
    });
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn jobs_of_a_client_that_left_are_given_up() {
    let (daemon, runner) = busy_daemon(&[]);
    let mut leaver = daemon.connect();
    for id in 10..15 {
        leaver.send(&slow_request(id, 0));
    }
    daemon.until("five waiting", |status| status["queue"]["requests"] == 5);
    drop(leaver);
    daemon.until("none waiting", |status| status["queue"]["requests"] == 0);
    assert_eq!(daemon.status()["outcomes"]["cancelled"], 5);
    drop(runner);
    daemon.until("a free thread", |status| {
        status["queue"]["running"] == false
    });
}

#[test]
fn half_closed_connection_counts_as_left() {
    let (daemon, runner) = busy_daemon(&[]);
    runner
        .stream
        .shutdown(std::net::Shutdown::Write)
        .expect("half closed");
    daemon.until("a free thread", |status| {
        status["queue"]["running"] == false
    });
}

#[test]
fn many_requests_share_a_connection_and_each_gets_its_own_answer() {
    let daemon = Daemon::start("nchw", &[]);
    let mut connection = daemon.connect();
    let colours = [[250, 0, 0], [0, 250, 0], [0, 0, 250]];
    for id in 0..30 {
        connection.send(&Request::Predict(predict(
            id,
            png(colours[usize::try_from(id % 3).expect("small")]),
        )));
    }
    for _ in 0..30 {
        match connection.receive().expect("a reply") {
            Reply::Prediction(prediction) => {
                let expected = (prediction.id % 3) as u32;
                assert_eq!(prediction.labels.0[0].index, expected, "{prediction:?}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn term_finishes_what_was_admitted_and_removes_the_socket() {
    let (mut daemon, mut runner) = busy_daemon(&["--grace", "50s"]);
    let mut idle = daemon.connect();
    daemon.signal("TERM");
    assert!(matches!(idle.receive(), Some(Reply::GoingAway(_))));
    assert!(idle.receive().is_none());
    assert!(!daemon.socket.exists(), "nobody new can come");
    runner.send(&slow_request(2, 0));
    let refused = runner.receive_error();
    assert_eq!(
        (refused.id, &*refused.code, refused.retryable),
        (Some(2), "going_away", true)
    );
    assert!(matches!(runner.receive(), Some(Reply::Prediction(answer)) if answer.id == 1));
    assert!(matches!(runner.receive(), Some(Reply::GoingAway(_))));
    assert!(daemon.wait().success());
}

#[test]
fn what_is_unfinished_after_the_grace_period_is_answered_going_away() {
    let (mut daemon, mut runner) = busy_daemon(&["--grace", "200ms"]);
    let started = Instant::now();
    daemon.signal("TERM");
    let error = runner.receive_error();
    assert_eq!((error.id, &*error.code), (Some(1), "going_away"));
    assert!(matches!(runner.receive(), Some(Reply::GoingAway(_))));
    assert!(daemon.wait().success());
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn client_that_was_not_accepted_yet_is_told_that_the_daemon_stops() {
    let mut daemon = Daemon::start("nchw", &[]);
    daemon.signal("STOP");
    let mut late = daemon.connect_raw();
    late.send(&support::hello(1, 1));
    daemon.signal("TERM");
    daemon.signal("CONT");
    let told = std::iter::from_fn(|| late.receive()).last();
    assert!(matches!(told, Some(Reply::GoingAway(_))), "{told:?}");
    assert!(daemon.wait().success());
}

#[test]
fn runtime_speaks_through_our_log_and_a_stopped_run_is_no_error_of_its() {
    let daemon = Daemon::start("slow", &["--log-format", "json", "--log-level", "debug"]);
    // "Running" begins with the decoding: a client that leaves then is noticed before the run. So
    // clients come and leave until one was there in the middle of a run.
    for _ in 0..50 {
        let mut connection = daemon.connect();
        connection.send(&slow_request(1, 0));
        daemon.until("a run", |status| status["queue"]["running"] == true);
        daemon.until("the model", |status| status["model"]["loaded"] == true);
        drop(connection);
        daemon.until("the end of the run", |status| {
            status["queue"]["running"] == false
        });
        if daemon.log().contains("terminate flag") {
            break;
        }
    }
    let log = daemon.log();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    assert!(lines.iter().all(|line| line["level"] != "ERROR"), "{log}");
    assert!(log.contains("terminate flag"), "{log}");
}
