//! `dermald run`: real processes, and what becomes of them.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dermald::wire::{Reply, Request};
use support::{Connection, Daemon, PATIENCE, png, predict, root};

/// A daemon beside `command`, waited for until it listens.
fn run_beside(flags: &[&str], command: &[&str]) -> Daemon {
    let daemon = start(flags, command, |_| {});
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(&daemon.socket).is_err() {
        assert!(started.elapsed() < PATIENCE, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    daemon
}

fn start(flags: &[&str], words: &[&str], change: impl FnOnce(&mut Command)) -> Daemon {
    let folder = tempfile::Builder::new()
        .prefix("dermald-run-")
        .tempdir_in("/dev/shm")
        .expect("a folder in /dev/shm");
    let socket = folder.path().join("s/d.sock");
    let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
    let mut command = support::command();
    // The command finds its programs.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.arg("run").arg("--socket").arg(&socket);
    command
        .arg("--bundle")
        .arg(root().join("models/demo"))
        .args(flags);
    command
        .arg("--")
        .args(words)
        .stderr(log)
        .stdin(Stdio::null());
    change(&mut command);
    let child = command.spawn().expect("dermald starts");
    Daemon {
        folder,
        socket,
        child,
    }
}

/// Processes whose parent is `pid`: their ids and names.
fn children(pid: u32) -> Vec<(u32, String)> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let numbers = listed.unwrap_or_default();
    let named = |pid: &str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some((pid.parse().ok()?, name.trim().to_owned()))
    };
    numbers.split_whitespace().filter_map(named).collect()
}

fn child(run: &Daemon, name: &str) -> u32 {
    let started = Instant::now();
    loop {
        let found = children(run.child.id())
            .into_iter()
            .find(|(_, known)| known == name);
        if let Some((pid, _)) = found {
            return pid;
        }
        assert!(started.elapsed() < PATIENCE, "no {name}: {}", run.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn send(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
}

fn is_gone(pid: u32) -> bool {
    let started = Instant::now();
    while Path::new(&format!("/proc/{pid}")).exists() {
        if started.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Nothing but the lock is left of it.
fn left_nothing(run: &Daemon) {
    let folder = run.socket.parent().expect("a folder");
    let files = std::fs::read_dir(folder).expect("it is there");
    let names: Vec<_> = files.map(|file| file.expect("read").file_name()).collect();
    assert_eq!(names, ["d.sock.lock"]);
}

fn answer(connection: &mut Connection, picture: impl Into<bytes::Bytes>) -> Option<Reply> {
    connection.send(&Request::Predict(predict(1, picture)));
    connection.receive()
}

#[test]
fn exit_codes_are_the_commands_or_say_whose_fault_it_was() {
    let cases: [(&[&str], i32, &str); 5] = [
        (&["sh", "-c", "exit 7"], 7, "exit code 7"),
        (&["sh", "-c", "kill -KILL $$"], 137, "SIGKILL"),
        (
            &["/nowhere/gunicorn"],
            127,
            "/nowhere/gunicorn: No such file",
        ),
        (&["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (&["sh", "-c", "setsid sleep 60 & exit 0"], 125, "--daemon"),
    ];
    for (command, code, words) in cases {
        let mut run = start(&[], command, |_| {});
        assert_eq!(run.wait().code(), Some(code), "{}", run.log());
        assert!(run.log().contains(words), "{}", run.log());
        left_nothing(&run);
    }
    let mut run = start(&["--threads", "none"], &["sleep", "60"], |_| {});
    assert_eq!(run.wait().code(), Some(125));
    // The daemon's own words, and the command does not go on without it.
    let mut run = start(&["--allow-users", "nobody-knows"], &["sleep", "60"], |_| {});
    assert_eq!(run.wait().code(), Some(125), "{}", run.log());
    assert!(run.log().contains("nobody-knows"), "{}", run.log());
}

#[test]
fn callers_wait_while_a_daemon_that_was_killed_is_started_again() {
    let mut run = run_beside(&[], &["sleep", "600"]);
    for _ in 0..3 {
        let daemon = child(&run, "dermald");
        assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
        send(daemon, "KILL");
        // Refused by nobody, before the next one is there.
        let reply = answer(&mut run.connect(), png([1, 2, 3]));
        assert!(matches!(reply, Some(Reply::Prediction(_))), "{reply:?}");
        assert!(is_gone(daemon));
    }
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(143), "sleep dies of TERM");
    left_nothing(&run);
}

#[test]
fn picture_that_took_the_daemon_down_twice_is_refused_and_no_other_is() {
    let run = run_beside(&[], &["sleep", "600"]);
    let poison = b"dermald, rehearse a crash".as_slice();
    for _ in 0..2 {
        assert!(answer(&mut run.connect(), poison).is_none(), "it crashes");
    }
    let Some(Reply::Error(error)) = answer(&mut run.connect(), poison) else {
        panic!("no refusal: {}", run.log());
    };
    assert_eq!(error.code.0, "picture_failed");
    assert!(
        error.message.contains("crashed 2 times"),
        "{}",
        error.message
    );
    assert!(matches!(
        answer(&mut run.connect(), png([1, 2, 3])),
        Some(Reply::Prediction(_))
    ));
    // A renewal of the daemon does not forget it.
    send(child(&run, "dermald"), "HUP");
    run.until("a renewal", |status| {
        status["renewals"]["counts"]["reload"] == 1
    });
    assert!(matches!(
        answer(&mut run.connect(), poison),
        Some(Reply::Error(_))
    ));
}

#[test]
fn daemon_that_hangs_is_ended_and_another_takes_over() {
    let run = run_beside(&["--hang-limit", "1s"], &["sleep", "600"]);
    let hung = child(&run, "dermald");
    let hang = b"dermald, rehearse a hang".as_slice();
    assert!(answer(&mut run.connect(), hang).is_none(), "it was ended");
    assert!(is_gone(hung));
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    assert!(
        run.log().contains("the inference thread hangs"),
        "{}",
        run.log()
    );
}

#[test]
fn daemon_that_was_frozen_with_its_parent_is_not_taken_for_hung() {
    let run = run_beside(&["--hang-limit", "1s"], &["sleep", "600"]);
    let daemon = child(&run, "dermald");
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    for signal in ["STOP", "CONT"] {
        run.signal(signal);
        send(daemon, signal);
        std::thread::sleep(Duration::from_millis(2500));
    }
    assert_eq!(child(&run, "dermald"), daemon, "{}", run.log());
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
}

#[test]
fn daemon_that_crashes_at_every_start_is_given_up_and_the_command_stays() {
    let mut run = start(&[], &["sleep", "600"], |command| {
        command.env("DERMALD_REHEARSE", "crash");
    });
    let command = child(&run, "sleep");
    let started = Instant::now();
    while !run.log().contains("is given up") {
        assert!(started.elapsed() < PATIENCE, "{}", run.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // At once, instead of a wait for nobody.
    assert!(std::os::unix::net::UnixStream::connect(&run.socket).is_err());
    assert!(Path::new(&format!("/proc/{command}")).exists());
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(143));
}

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
fn works_as_the_first_process_of_a_container() {
    if !nix::unistd::geteuid().is_root() {
        return println!("NOT TESTED: as process 1, which needs root");
    }
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let socket = folder.path().join("d.sock");
    let socket = socket.to_string_lossy();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("set");
    // An orphan comes to process 1, which must not take it for its own.
    let words = format!(
        "(setsid sleep 0.1 &); sleep 0.3; exec {} health --wait 30s --socket {socket}",
        env!("CARGO_BIN_EXE_dermald")
    );
    let bundle = root().join("models/demo");
    let command = support::command();
    let run = command.get_program().to_owned();
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(run);
    unshare
        .args(["run", "--socket", &socket, "--bundle"])
        .arg(bundle);
    unshare.args(["--", "sh", "-c", &words]);
    unshare.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let output = unshare.output().expect("unshare runs");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("ready"),
        "{log}"
    );
}
