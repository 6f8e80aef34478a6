//! The daemon crashes, hangs or is killed.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use dermald::wire::{Reply, Request};

use super::support::{Daemon, MemoryGroup, copy_files, png, png_of, predict, root};
use super::{
    answer, child, is_gone, left_nothing, listens, run_beside, run_beside_shell, says, says_times,
    send, start,
};

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
fn picture_for_which_the_memory_does_not_suffice_is_refused_after_the_second_kill() {
    let Some(group) = MemoryGroup::with(72) else {
        return;
    };
    let run = start(&["--decode-bytes", "1GiB"], &["sleep", "600"], |command| {
        group.enclose(command);
    });
    listens(&run);
    let large = png_of(6000, 5000, [1, 2, 3]);
    for _ in 0..2 {
        assert!(answer(&mut run.connect(), large.clone()).is_none());
    }
    let Some(Reply::Error(error)) = answer(&mut run.connect(), large) else {
        panic!("no refusal: {}", run.log());
    };
    assert!(
        error.message.contains("crashed 2 times"),
        "{}",
        error.message
    );
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
}

/// A daemon that another kills has done nothing wrong, nor has the picture that was in work.
#[test]
fn picture_that_was_in_work_at_kills_from_outside_is_not_refused() {
    let run = run_beside(&["--decode-bytes", "1GiB"], &["sleep", "600"]);
    let large = png_of(4000, 3000, [1, 2, 3]);
    for _ in 0..3 {
        let mut connection = run.connect();
        connection.send(&Request::Predict(predict(1, large.clone())));
        run.until("a run", |status| status["queue"]["running"] == true);
        send(child(&run, "dermald"), "KILL");
        assert!(connection.receive().is_none());
    }
    let reply = answer(&mut run.connect(), large);
    assert!(matches!(reply, Some(Reply::Prediction(_))), "{reply:?}");
}

#[test]
fn daemon_that_hangs_is_ended_and_the_picture_refused_after_the_second_time() {
    let run = run_beside(&["--hang-limit", "1s"], &["sleep", "600"]);
    let hang = b"dermald, rehearse a hang".as_slice();
    for _ in 0..2 {
        let hung = child(&run, "dermald");
        assert!(answer(&mut run.connect(), hang).is_none(), "it was ended");
        assert!(is_gone(hung));
        assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    }
    let Some(Reply::Error(error)) = answer(&mut run.connect(), hang) else {
        panic!("no refusal: {}", run.log());
    };
    assert_eq!(error.code.0, "picture_failed");
    assert!(
        run.log().contains("the inference thread hangs"),
        "{}",
        run.log()
    );
}

#[test]
fn daemon_that_stands_still_alone_is_ended() {
    let run = run_beside(&["--hang-limit", "1s"], &["sleep", "600"]);
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    let daemon = child(&run, "dermald");
    send(daemon, "STOP");
    says(&run, "says nothing any more");
    assert!(is_gone(daemon));
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
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
fn daemon_that_crashes_at_every_start_is_started_after_longer_and_longer_pauses() {
    let mut run = start(&[], &["sleep", "600"], |command| {
        command.env("DERMALD_REHEARSE", "crash");
    });
    let command = child(&run, "sleep");
    for pause in [50, 100, 200, 400, 800] {
        says(&run, &format!("pause_ms={pause}\n"));
    }
    assert!(Path::new(&format!("/proc/{command}")).exists());
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(143));
    left_nothing(&run);
}

#[test]
fn daemon_whose_model_was_spoilt_is_given_up_and_comes_back_when_told() {
    let model = Spoilt::new();
    let mut run = model.run_until_given_up("haste");
    let command = child(&run, "sleep");
    // At once, instead of a wait for nobody; and the site stays.
    assert!(UnixStream::connect(&run.socket).is_err());
    assert!(Path::new(&format!("/proc/{command}")).exists());
    model.mend();
    // `sleep` would die of a HUP that went to it as well: whether one does is told elsewhere.
    send(command, "STOP");
    run.signal("HUP");
    listens(&run);
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    send(command, "CONT");
    assert_eq!(run.wait().code(), Some(129), "{}", run.log());
}

#[test]
fn daemon_that_was_given_up_is_tried_again_by_itself() {
    let model = Spoilt::new();
    let mut run = model.run_until_given_up("haste,impatience");
    let command = child(&run, "sleep");
    // Another attempt, which fails as well.
    says_times(&run, "is given up", 2);
    model.mend();
    listens(&run);
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    assert_eq!(child(&run, "sleep"), command);
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(143), "{}", run.log());
    left_nothing(&run);
}

/// A bundle that is spoilt while it is served.
struct Spoilt {
    folder: tempfile::TempDir,
    sound: Vec<u8>,
}

impl Spoilt {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        copy_files(&root().join("models/demo"), folder.path());
        let sound = std::fs::read(folder.path().join("manifest.toml")).expect("read");
        Spoilt { folder, sound }
    }

    fn write(&self, manifest: &[u8]) {
        let path = self.folder.path().join("manifest.toml");
        std::fs::write(path, manifest).expect("written");
    }

    fn mend(&self) {
        self.write(&self.sound);
    }

    fn run_until_given_up(&self, rehearsed: &str) -> Daemon {
        let bundle = self.folder.path().display().to_string();
        let run = start(&["--bundle", &bundle], &["sleep", "600"], |command| {
            command.env("DERMALD_REHEARSE", rehearsed);
        });
        listens(&run);
        assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
        self.write(b"half a manifest");
        send(child(&run, "dermald"), "KILL");
        says(&run, "is given up");
        run
    }
}

#[test]
fn daemon_that_the_host_told_to_stop_as_well_is_there_until_the_command_ends() {
    let traps = "trap 'sleep 2; exit 4' TERM";
    let mut run = run_beside_shell(&[], traps);
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    let daemon = child(&run, "dermald");
    run.signal("TERM");
    send(daemon, "TERM");
    assert!(is_gone(daemon));
    assert!(answer(&mut run.connect(), png([1, 2, 3])).is_some());
    assert_eq!(run.wait().code(), Some(4), "{}", run.log());
    assert!(!run.log().contains("ERROR"), "{}", run.log());
    left_nothing(&run);
}
