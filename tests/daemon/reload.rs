//! New models, configurations and binaries under a daemon that goes on serving, and signals meanwhile.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{self, Daemon, Over, essence, png, predict};
use bytes::Bytes;
use dermald::lifecycle::handover::{self, Descriptors};
use dermald::wire::message::About;
use dermald::wire::{self, Reply, Request};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// A copy of a test bundle whose files may be changed.
fn copy_of(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fill(folder.path(), name);
    folder
}

/// Replaces the files of `folder`, each in one step, the manifest last.
fn fill(folder: &Path, name: &str) {
    let mut files: Vec<_> = std::fs::read_dir(support::bundle(name))
        .expect("readable")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort_by_key(|path| path.ends_with("manifest.toml"));
    for path in files {
        let name = path.file_name().expect("a file");
        let new = folder.join("new");
        std::fs::copy(&path, &new).expect("copied");
        std::fs::rename(&new, folder.join(name)).expect("renamed");
    }
}

#[test]
fn reload_takes_a_new_model_and_refuses_a_broken_one() {
    let folder = copy_of("nchw");
    let daemon = Daemon::start_with(folder.path(), &[], |_| {});
    let digest = || daemon.status()["model"]["digest"].clone();
    let old = digest();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = daemon.connect();
            let mut answers: HashMap<String, Vec<(u32, f32)>> = HashMap::new();
            let mut id = 0;
            while !stop.load(Ordering::SeqCst) {
                id += 1;
                let prediction = client.predict(predict(id, png([200, 30, 60])));
                let told = answers
                    .entry(prediction.model.digest.to_string())
                    .or_insert_with(|| essence(&prediction));
                assert_eq!(
                    *told,
                    essence(&prediction),
                    "the digest names another model"
                );
            }
            answers
        });
        let over = Over(&stop);
        fill(folder.path(), "no-gradcam");
        daemon.signal("HUP");
        daemon.until("the new model", |status| status["model"]["digest"] != old);
        let new = digest();

        fill(folder.path(), "wrong-width");
        daemon.signal("HUP");
        // The model that was taken may still be loading when the next is refused.
        daemon.until("a refusal", |status| {
            status["outcomes"]["reload_refused"] == 1 && status["state"] == "ready"
        });
        let status = daemon.status();
        assert_eq!(status["model"]["digest"], new);
        let message = status["message"].as_str().expect("text");
        assert!(message.contains("the last reload was refused"), "{message}");
        // Renewals for other reasons keep the good model, whatever lies in the folder.
        daemon.connect().ask(&Request::Renew(About::new(1)));
        assert_eq!(digest(), new);
        assert!(
            daemon.status()["message"]
                .as_str()
                .expect("text")
                .contains("refused")
        );

        fill(folder.path(), "nchw");
        daemon.signal("HUP");
        daemon.until("the old model again", |status| {
            status["model"]["digest"] == old
        });
        assert!(
            !daemon.status()["message"]
                .as_str()
                .expect("text")
                .contains("refused")
        );
        drop(over);
        let answers = client.join().expect("a client that saw nothing of it");
        assert_eq!(answers.len(), 2, "{answers:?}");
    });
}

#[test]
fn reload_reads_the_configuration_and_refuses_a_bad_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dermald.toml");
    std::fs::write(&file, "queue_requests = 5\n").expect("written");
    let flags = ["--config", file.to_str().expect("text")];
    let daemon = Daemon::start("nchw", &flags);
    let limit = |status: &serde_json::Value| status["queue"]["limit_requests"].clone();
    let mut client = daemon.connect();
    std::fs::write(&file, "queue_requests = 7\n").expect("written");
    assert_eq!(limit(&daemon.status()), 5);
    client.ask(&Request::Renew(About::new(1)));
    assert_eq!(limit(&daemon.status()), 5, "only a reload reads files");
    daemon.signal("HUP");
    daemon.until("the new limit", |status| limit(status) == 7);
    std::fs::write(&file, "queue_requests = 0\n").expect("written");
    daemon.signal("HUP");
    daemon.until("a refusal", |status| {
        status["outcomes"]["reload_refused"] == 1
    });
    let message = daemon.status()["message"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(message.contains("queue_requests is \"0\""), "{message}");
    assert_eq!(limit(&daemon.status()), 7);
}

#[test]
fn renew_with_reload_waits_for_what_comes_of_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dermald.toml");
    std::fs::write(&file, "queue_requests = 5\n").expect("written");
    let flags = ["--config", file.to_str().expect("text")];
    let daemon = Daemon::start("nchw", &flags);
    let socket = daemon.socket.to_str().expect("text").to_owned();
    let reload = || support::run(&["renew", "--reload", "--socket", &socket], |_| {});
    let limit = || daemon.status()["queue"]["limit_requests"].clone();
    for wanted in [7, 9] {
        std::fs::write(&file, format!("queue_requests = {wanted}\n")).expect("written");
        assert_eq!(reload(), (0, "reloaded\n".into()));
        assert_eq!(limit(), wanted, "it is over when it says so");
    }
    std::fs::write(&file, "queue_requests = 0\n").expect("written");
    let (code, text) = reload();
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("queue_requests is \"0\""), "{text}");
    assert_eq!(limit(), 9);
}

#[test]
fn reload_opens_the_socket_to_guests_and_other_renewals_leave_its_mode() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("dermald.toml");
    std::fs::write(&file, "").expect("written");
    let daemon = Daemon::start("nchw", &["--config", file.to_str().expect("text")]);
    let mode = || {
        let found = std::fs::metadata(&daemon.socket).expect("it is there");
        std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777
    };
    assert_eq!(mode(), 0o600);
    let of_the_operator = std::os::unix::fs::PermissionsExt::from_mode(0o660);
    std::fs::set_permissions(&daemon.socket, of_the_operator).expect("set");
    daemon.connect().ask(&Request::Renew(About::new(1)));
    assert_eq!(mode(), 0o660, "only a reload changes it");
    std::fs::write(&file, "allow_users = [4242]\n").expect("written");
    daemon.signal("HUP");
    daemon.until("a reload", |status| {
        status["renewals"]["counts"]["reload"] == 1
    });
    assert_eq!(mode(), 0o666);
}

#[test]
fn binary_that_was_replaced_takes_over_and_a_broken_one_does_not() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let binary = folder.path().join("dermald");
    let place = |bytes: &[u8]| {
        let new = folder.path().join("new");
        std::fs::write(&new, bytes).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&new, mode).expect("set");
        std::fs::rename(&new, &binary).expect("renamed");
    };
    let original = std::fs::read(env!("CARGO_BIN_EXE_dermald")).expect("read");
    place(&original);
    let daemon = Daemon::start_with(&support::bundle("nchw"), &[], |command| {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut other = std::process::Command::new(&binary);
        other
            .args(arguments)
            .env_clear()
            .env("ORT_DYLIB_PATH", support::library())
            .env("DERMALD_CACHE", support::root().join("target/test-cache"))
            .stderr(std::fs::File::create(folder.path().join("log")).expect("a log"))
            .stdin(std::process::Stdio::null());
        *command = other;
    });
    let log = || std::fs::read_to_string(folder.path().join("log")).expect("the log");
    let running =
        || std::fs::read_link(format!("/proc/{}/exe", daemon.child.id())).expect("a link");
    let mut client = daemon.connect();
    place(b"#!/bin/sh\nexit 1\n");
    let reply = client.ask(&Request::Renew(About::new(1)));
    assert!(matches!(reply, Reply::Renewed(_)), "{reply:?}");
    assert!(log().contains("no dermald that runs"), "{}", log());
    assert!(running().to_string_lossy().contains("deleted"));
    place(&original);
    client.ask(&Request::Renew(About::new(2)));
    assert_eq!(running(), binary);
    client.predict(predict(3, png([1, 2, 3])));
}

#[test]
fn state_of_another_version_keeps_the_listener_and_sends_clients_away() {
    // The last one without a sandbox, and one that is not written yet.
    for version in [2, u32::MAX] {
        state_of(version);
    }
}

fn state_of(version: u32) {
    let folder = tempfile::Builder::new()
        .prefix("dermald-test-")
        .tempdir_in("/dev/shm")
        .expect("a folder");
    let socket = folder.path().join("s/d.sock");
    std::fs::create_dir(folder.path().join("s")).expect("made");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let lock = std::fs::File::create(folder.path().join("s/d.sock.lock")).expect("made");
    let connect = || std::os::unix::net::UnixStream::connect(&socket).expect("connected");
    let (mut between, mut midway) = (connect(), connect());
    let accepted = [listener.accept(), listener.accept()].map(|client| client.expect("there").0);
    let descriptors = Descriptors {
        listener: listener.as_fd(),
        lock: lock.as_fd(),
        identity: (0, 0),
        connections: vec![(accepted[0].as_fd(), true), (accepted[1].as_fd(), false)],
    };
    let memfd = handover::pack(&descriptors, version, &"from another time").expect("packed");
    for fd in [
        memfd.as_fd(),
        listener.as_fd(),
        lock.as_fd(),
        accepted[0].as_fd(),
        accepted[1].as_fd(),
    ] {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).expect("inherited");
    }
    let flag = format!("--renewed={}", memfd.as_raw_fd());
    let daemon = Daemon::start_at(
        folder,
        socket.clone(),
        &support::bundle("nchw"),
        &[&flag],
        |_| {},
    );
    drop((listener, lock, accepted, memfd));
    let mut said = Vec::new();
    between.read_to_end(&mut said).expect("read");
    let told: Reply = wire::decode(&Bytes::from(said.split_off(4))).expect("a reply");
    assert!(
        matches!(&told, Reply::GoingAway(away) if &*away.reason == "renewing"),
        "{told:?}"
    );
    said.clear();
    midway.read_to_end(&mut said).expect("read");
    assert!(
        said.is_empty(),
        "nothing may be said into the middle of a reply"
    );
    daemon.connect().predict(predict(1, png([1, 2, 3])));
    assert!(daemon.log().contains("version"), "{}", daemon.log());
    let sandbox = &daemon.status()["sandbox"];
    assert_eq!(
        sandbox["seccomp"], true,
        "nothing said that there is one: {sandbox}"
    );
}

#[test]
fn signals_in_a_tight_loop_never_kill_it_halfway() {
    let mut daemon = Daemon::start("nchw", &[]);
    let mut client = daemon.connect();
    let expected = essence(&client.predict(predict(1, png([3, 2, 1]))));
    let storm = Instant::now();
    let mut id = 1;
    while storm.elapsed() < Duration::from_secs(2) {
        daemon.signal("HUP");
        id += 1;
        assert_eq!(
            essence(&client.predict(predict(id, png([3, 2, 1])))),
            expected
        );
    }
    let reloads = daemon.status()["renewals"]["counts"]["reload"].as_u64();
    assert!(reloads >= Some(1), "{reloads:?}");
    // A TERM at any moment of a renewal is a clean stop.
    for _ in 0..3 {
        daemon.signal("HUP");
        client.send(&Request::Renew(About::new(7)));
    }
    daemon.signal("TERM");
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert!(!daemon.socket.exists());
}
