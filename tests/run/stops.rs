//! Ends that somebody asked for.

use std::time::{Duration, Instant};

use dermald::wire::{Reply, Request};

use super::support::{PATIENCE, png, predict};
use super::{child, children, is_gone, left_nothing, run_beside, run_beside_shell, says};

#[test]
fn requests_in_flight_are_answered_when_the_host_says_stop() {
    let mut run = run_beside(&[], &["sleep", "600"]);
    let mut connection = run.connect();
    for id in 0..20 {
        connection.send(&Request::Predict(predict(id, png([1, 2, 3]))));
    }
    assert!(connection.receive().is_some());
    run.signal("TERM");
    for _ in 1..20 {
        let reply = connection.receive();
        assert!(matches!(reply, Some(Reply::Prediction(_))), "{reply:?}");
    }
    assert_eq!(run.wait().code(), Some(143));
    left_nothing(&run);
}

#[test]
fn nobody_outlives_a_stop_whatever_he_ignores() {
    let words = "trap '' TERM; (trap '' TERM; exec sleep 61) & while :; do sleep 62; done";
    let mut run = run_beside(&["--stop-timeout", "300ms"], &["sh", "-c", words]);
    let shell = child(&run, "sh");
    let started = Instant::now();
    while children(shell).len() < 2 {
        assert!(started.elapsed() < PATIENCE, "{}", run.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let sleepers = children(shell);
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(137), "{}", run.log());
    for (pid, name) in sleepers {
        assert!(is_gone(pid), "{name} is left behind");
    }
    left_nothing(&run);
}

#[test]
fn nobody_outlives_a_parent_that_was_killed() {
    let mut run = run_beside(&[], &["sleep", "600"]);
    let (daemon, command) = (child(&run, "dermald"), child(&run, "sleep"));
    run.signal("KILL");
    run.wait();
    assert!(is_gone(daemon) && is_gone(command));
}

#[test]
fn second_stop_reaches_the_command_too() {
    let traps = "n=0; trap 'n=$((n+1)); echo told $n >&2; [ $n = 2 ] && exit 5' TERM";
    let mut run = run_beside_shell(&[], traps);
    run.signal("TERM");
    says(&run, "told 1");
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(5), "{}", run.log());
    left_nothing(&run);
}

/// As gunicorn below a shell that died of the TERM which only it was told.
#[test]
fn what_a_shell_leaves_behind_has_the_commands_time_and_a_daemon() {
    let binary = env!("CARGO_BIN_EXE_dermald");
    let inner = format!(
        "trap \"sleep 6; {binary} health >&2; exit 0\" TERM; echo set >&2; while :; do sleep 0.05; done"
    );
    let words = format!("sh -c '{inner}' & wait");
    let mut run = run_beside(&["--stop-timeout", "50s"], &["sh", "-c", &words]);
    says(&run, "set");
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(143), "{}", run.log());
    assert!(run.log().contains("ready"), "{}", run.log());
    left_nothing(&run);
}
