//! A real second user: refused by the daemon, and not trusted by the client.
//!
//! Changing to another user takes root; without it these tests say so and prove nothing.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::support::{Daemon, bundle, copy_files};

/// Users of no name, so that they can be on no list.
const STRANGER: u32 = 64_123;
const GUEST: u32 = 64_124;

/// Whether we may become another user.
fn root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("NOT TESTED: changing to another user takes root");
    }
    root
}

/// A copy of `dermald` that every user can reach. Made once, before anything is started: a file
/// that is open for writing in a forked child cannot be run.
fn public_copy() -> &'static PathBuf {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("dermald-peers-{}", std::process::id()));
        std::fs::create_dir(&folder).expect("made");
        let copy = folder.join("dermald");
        std::fs::copy(env!("CARGO_BIN_EXE_dermald"), &copy).expect("copied");
        for path in [&folder, &copy] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("opened");
        }
        copy
    })
}

fn health(binary: &PathBuf, socket: &str, uid: u32, flags: &[&str]) -> (i32, String) {
    let output = std::process::Command::new(binary)
        .args(["health", "--socket", socket])
        .args(flags)
        .env_clear()
        .uid(uid)
        .gid(uid)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

#[test]
fn stranger_is_refused_by_file_mode_and_by_credentials_and_a_guest_is_served() {
    if !root() {
        return;
    }
    let binary = public_copy();
    let closed = Daemon::start("nchw", &[]);
    let (code, text) = health(
        binary,
        closed.socket.to_str().expect("UTF-8"),
        STRANGER,
        &[],
    );
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("Permission denied"), "{text}");

    // With a guest the file modes are open, and the kernel's word decides.
    let open = Daemon::start("nchw", &["--allow-users", &GUEST.to_string()]);
    std::fs::set_permissions(open.folder.path(), PermissionsExt::from_mode(0o755)).expect("opened");
    let socket = open.socket.to_str().expect("UTF-8");
    let (code, text) = health(binary, socket, STRANGER, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains(&format!("not_allowed: user {STRANGER} may not use")),
        "{text}"
    );
    let (code, text) = health(binary, socket, GUEST, &[]);
    assert_eq!(code, 0, "{text}");

    let group = Daemon::start("nchw", &["--allow-groups", &GUEST.to_string()]);
    std::fs::set_permissions(group.folder.path(), PermissionsExt::from_mode(0o755))
        .expect("opened");
    let socket = group.socket.to_str().expect("UTF-8");
    assert_eq!(health(binary, socket, GUEST, &[]).0, 0, "by its group");
    assert_eq!(health(binary, socket, STRANGER, &[]).0, 1);
}

#[test]
fn client_does_not_trust_a_daemon_of_another_user() {
    if !root() {
        return;
    }
    let binary = public_copy();
    // A listener of the stranger's, at a place where the guest can reach it.
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).expect("opened");
    let socket = folder.path().join("own/d.sock");
    let socket = socket.to_str().expect("UTF-8");
    let copy = folder.path().join("bundle");
    copy_files(&bundle("nchw"), &copy);
    let mut foreign = std::process::Command::new(binary)
        .args([
            "serve",
            "--socket",
            socket,
            "--allow-users",
            &GUEST.to_string(),
            "--bundle",
        ])
        .arg(&copy)
        .env_clear()
        .uid(STRANGER)
        .gid(STRANGER)
        .spawn()
        .expect("it starts");
    let stranger = STRANGER.to_string();
    let wait = ["--wait", "30s", "--daemon-uid", &stranger];
    let (ready, text) = health(binary, socket, 0, &wait);
    let untrusted = health(binary, socket, GUEST, &[]);
    let trusted = health(
        binary,
        socket,
        GUEST,
        &["--daemon-uid", &STRANGER.to_string()],
    );
    foreign.kill().expect("killed");
    foreign.wait().expect("ended");
    assert_eq!(ready, 0, "{text}");
    assert_eq!(untrusted.0, 1, "{}", untrusted.1);
    assert!(
        untrusted.1.contains(&format!("served by user {STRANGER}")),
        "{}",
        untrusted.1
    );
    assert_eq!(trusted.0, 0, "{}", trusted.1);
}
