//! The command line, seen from a shell.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, Daemon, command, png, predict, run};

/// The socket as an argument.
fn socket(daemon: &Daemon) -> &str {
    daemon.socket.to_str().expect("UTF-8")
}

#[test]
fn health_gives_up_on_a_daemon_that_hangs() {
    let daemon = Daemon::start("nchw", &[]);
    daemon.signal("STOP");
    let started = Instant::now();
    let arguments = ["health", "--socket", socket(&daemon), "--wait", "100ms"];
    let (code, text) = run(&arguments, |_| {});
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("no answer within 2000 ms"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(20));
    daemon.signal("CONT");
}

#[test]
fn settings_of_the_daemon_do_not_matter_to_who_asks_it() {
    let daemon = Daemon::start("nchw", &[]);
    let (code, text) = run(&["health", "--socket", socket(&daemon)], |command| {
        command.env("OMP_NUM_THREADS", "many");
    });
    assert_eq!(code, 0, "{text}");
}

#[test]
fn full_disk_is_an_error_and_a_reader_that_left_is_none() {
    let daemon = Daemon::start("nchw", &[]);
    let full = std::fs::File::create("/dev/full").expect("opened");
    let status = |stdout: Stdio| {
        let mut command = command();
        command
            .args(["metrics", "--socket", socket(&daemon)])
            .stdout(stdout);
        command.stderr(Stdio::piped()).output().expect("it runs")
    };
    let output = status(full.into());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("dermald: standard output: No space"),
        "{message}"
    );
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(status(writer.into()).status.code(), Some(0));
}

#[test]
fn overlays_never_overwrite_each_other() {
    let daemon = Daemon::start("nchw", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let photos = ["a.png", "a.jpg"].map(|name| folder.path().join(name));
    for photo in &photos {
        std::fs::write(photo, png([1, 2, 3])).expect("written");
    }
    let [first, second] = photos.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let out = folder.path().join("out.png");
    let out = out.to_str().expect("UTF-8");
    let arguments = [
        "predict",
        first,
        second,
        "--overlay",
        out,
        "--socket",
        socket(&daemon),
    ];
    let (code, text) = run(&arguments, |_| {});
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("would both be"), "{text}");
}

#[test]
fn json_says_why_there_is_no_overlay() {
    let daemon = Daemon::start("nchw", &["--grad-cam", "false"]);
    let folder = tempfile::tempdir().expect("a folder");
    let (photo, out) = (folder.path().join("a.png"), folder.path().join("out.png"));
    std::fs::write(&photo, png([1, 2, 3])).expect("written");
    let [photo, out] = [&photo, &out].map(|path| path.to_str().expect("UTF-8"));
    let arguments = [
        "predict",
        photo,
        "--json",
        "--overlay",
        out,
        "--socket",
        socket(&daemon),
    ];
    let (code, text) = run(&arguments, |_| {});
    assert_eq!(code, 0, "{text}");
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let why = answer["explanation"].as_str().expect("a reason");
    assert!(why.contains("switched off"), "{why}");
}

#[test]
fn more_connections_than_descriptors_stop_the_start() {
    let binary = env!("CARGO_BIN_EXE_dermald");
    let bundle = support::bundle("nchw");
    let line = format!(
        "ulimit -n 200; exec {binary} serve --socket /dev/shm/dermald-never/s --bundle {}",
        bundle.display()
    );
    let output = Command::new("sh")
        .args(["-c", &line])
        .env_clear()
        .output()
        .expect("sh runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("max_connections is 256") && text.contains("200 descriptors"),
        "{text}"
    );
}

#[test]
fn health_is_told_to_programs_as_json() {
    let daemon = Daemon::start("nchw", &[]);
    let (code, text) = run(&["health", "--json", "--socket", socket(&daemon)], |_| {});
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (code, &told["state"], &told["ready"]),
        (0, &"ready".into(), &true.into())
    );
    assert_eq!(told["model"], daemon.status()["model"]["digest"]);
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));

    let (code, text) = run(
        &["health", "--json", "--socket", "/dev/shm/dermald-never/s"],
        |_| {},
    );
    let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (code, &told["state"], &told["ready"]),
        (2, &"unreachable".into(), &false.into())
    );
}

#[test]
fn status_is_drawn_again_and_again_and_a_daemon_that_is_away_is_told() {
    let daemon = Daemon::start("nchw", &["--memory-limit", "400MiB"]);
    let socket = socket(&daemon).to_owned();
    daemon.connect().predict(predict(1, png([250, 0, 0])));
    let mut watch = command()
        .args(["status", "--watch", "--every", "20ms", "--socket", &socket])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut next = |beginning: &str| {
        let mut lines = lines.by_ref().map(|line| line.expect("text"));
        lines
            .find(|line| line.starts_with(beginning))
            .expect("a line")
    };
    for _ in 0..2 {
        assert!(next("dermald ").contains("ready"));
        assert!(next("memory ").contains(" of 400.0 MiB rss"));
        assert!(next("answers ").contains("ok 1"));
    }
    drop(daemon);
    assert!(next("no daemon answers").contains(&socket));
    watch.kill().expect("killed");
    watch.wait().expect("ended");
}
