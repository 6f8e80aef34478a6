//! `dermald run`: real processes, and what becomes of them.

mod codes;
mod container;
mod crashes;
mod ready;
mod signals;
mod stops;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dermald::wire::{Reply, Request};
use support::{Connection, Daemon, PATIENCE, predict, root};

/// A daemon beside `command`, waited for until it listens.
fn run_beside(flags: &[&str], command: &[&str]) -> Daemon {
    let daemon = start(flags, command, |_| {});
    listens(&daemon);
    daemon
}

/// Waits until its socket takes connections.
fn listens(run: &Daemon) {
    let started = Instant::now();
    while std::os::unix::net::UnixStream::connect(&run.socket).is_err() {
        assert!(started.elapsed() < PATIENCE, "{}", run.log());
        std::thread::sleep(Duration::from_millis(5));
    }
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
    command.env("DERMALD_SOCKET", &socket);
    command.env("DERMALD_BUNDLE", root().join("models/demo"));
    command.arg("run").args(flags);
    command.arg("--").args(words);
    change(&mut command);
    command.stderr(log).stdin(Stdio::null());
    let child = command.spawn().expect("dermald starts");
    Daemon {
        folder,
        socket,
        child,
    }
}

/// Processes whose parent is `pid`: their ids and names. One that has not become its command yet has none.
fn children(pid: u32) -> Vec<(u32, String)> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let numbers = listed.unwrap_or_default();
    let named = |pid: &str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // Just forked it looks like its parent.
        let word = line.split(|byte| *byte == 0).nth(1);
        let becomes = [Some(b"child".as_slice()), Some(b"run")].contains(&word);
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        let name = if becomes { "" } else { name.trim() };
        Some((pid.parse().ok()?, name.to_owned()))
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

/// A shell that does what `traps` say, and nothing else until it is told to end.
fn shell(traps: &str) -> [String; 3] {
    let words = format!("{traps}; echo begun >&2; while :; do sleep 0.05; done");
    ["sh".into(), "-c".into(), words]
}

/// A daemon beside a [`shell`] whose traps are set.
fn run_beside_shell(flags: &[&str], traps: &str) -> Daemon {
    let words = shell(traps);
    let run = run_beside(flags, &words.each_ref().map(String::as_str));
    says(&run, "begun");
    run
}

/// Waits until its log has these words.
fn says(run: &Daemon, words: &str) {
    says_times(run, words, 1);
}

/// Waits until its log has these words so many times.
fn says_times(run: &Daemon, words: &str, times: usize) {
    let started = Instant::now();
    while run.log().matches(words).count() < times {
        assert!(started.elapsed() < PATIENCE, "no {words}: {}", run.log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the process stands still.
fn stands_still(pid: u32) {
    let started = Instant::now();
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    while !state().contains(") T ") {
        assert!(started.elapsed() < PATIENCE, "{}", state());
        std::thread::sleep(Duration::from_millis(5));
    }
}
