//! The sandbox: what the daemon can no longer do, that it holds over renewals, and that everything it
//! promises goes on within. Each test that says what is denied says as well that it can be done
//! without.

use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{
    self, Daemon, PATIENCE, bundle, copy_files, essence, library, png, predict, root, run,
};
use dermald::wire::message::About;
use dermald::wire::{Reply, Request};

/// More images than layers that the kernel allows.
const RENEWALS: usize = 40;

/// A user with nothing of its own.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn renew(daemon: &Daemon, times: usize) {
    let mut owner = daemon.connect();
    for id in 0..times {
        let reply = owner.ask(&Request::Renew(About::new(id as u64)));
        assert!(matches!(reply, Reply::Renewed(_)), "{reply:?}");
    }
}

/// Sends HUP and gives what health says of the refusal.
fn refused_reload(daemon: &Daemon) -> String {
    let count =
        |status: &serde_json::Value| status["outcomes"]["reload_refused"].as_u64().unwrap_or(0);
    let before = count(&daemon.status());
    daemon.signal("HUP");
    daemon.until("a refusal", |status| count(status) > before);
    daemon.status()["message"]
        .as_str()
        .expect("text")
        .to_owned()
}

fn reload(daemon: &Daemon) {
    let count = |status: &serde_json::Value| status["renewals"]["counts"]["reload"].as_u64();
    let before = count(&daemon.status());
    daemon.signal("HUP");
    daemon.until("a reload", |status| count(status) > before);
}

/// A file that the daemon has no business with, and a port that somebody listens at.
struct Outside {
    folder: tempfile::TempDir,
    listener: TcpListener,
}

impl Outside {
    fn new() -> Self {
        let folder = folder();
        std::fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .expect("set");
        std::fs::write(folder.path().join("secret"), "secret").expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        Outside { folder, listener }
    }

    /// Has the daemon try to get at it.
    fn rehearse(&self, command: &mut Command) {
        let port = self.listener.local_addr().expect("known").port();
        let secret = self.folder.path().join("secret");
        command.env(
            "DERMALD_REHEARSE",
            format!("escape={port},{}", secret.display()),
        );
    }
}

/// What came of each attempt to escape, `NAME: OUTCOME`, over all images.
fn attempts(daemon: &Daemon) -> Vec<String> {
    // Who is answered comes after them.
    drop(daemon.connect());
    let log = daemon.log();
    let told = log
        .lines()
        .filter(|line| line.contains("an escape was rehearsed"));
    told.filter_map(|line| {
        Some(
            line.split_once("outcome=\"")?
                .1
                .split('"')
                .next()?
                .to_owned(),
        )
    })
    .collect()
}

const DENIED: [&str; 7] = [
    "read: Permission denied (os error 13)",
    "write: Permission denied (os error 13)",
    "tcp: Operation not permitted (os error 1)",
    "udp: Operation not permitted (os error 1)",
    "shell: Permission denied (os error 13)",
    "signal: Operation not permitted (os error 1)",
    "chroot: Operation not permitted (os error 1)",
];

#[test]
#[cfg(debug_assertions)]
fn taken_over_daemon_gets_nowhere_in_any_image_and_layers_do_not_pile_up() {
    let outside = Outside::new();
    let daemon = Daemon::start_with(&bundle("nchw"), &[], |command| outside.rehearse(command));
    let before = daemon.status()["sandbox"].clone();
    assert!(before["landlock"].as_u64() >= Some(6), "{before}");
    assert_eq!(before["missing"], serde_json::Value::Null);
    assert_eq!(before["network"], "none");
    assert_eq!(
        before["scoped"],
        serde_json::json!(["signal", "abstract_unix_socket"])
    );
    assert_eq!(attempts(&daemon), DENIED);
    let answer = essence(&daemon.connect().predict(predict(1, png([4, 5, 6]))));
    renew(&daemon, RENEWALS);
    assert_eq!(attempts(&daemon), vec![DENIED; RENEWALS + 1].concat());
    assert_eq!(
        daemon.status()["sandbox"],
        before,
        "it is still the first one"
    );
    assert_eq!(daemon.log().matches("in the sandbox").count(), 1);
    assert_eq!(
        essence(&daemon.connect().predict(predict(2, png([4, 5, 6])))),
        answer
    );
    reload(&daemon);
    assert_eq!(daemon.status()["sandbox"], before);
}

#[test]
#[cfg(debug_assertions)]
fn without_the_sandbox_all_of_it_can_be_done() {
    let outside = Outside::new();
    let daemon = Daemon::start_with(&bundle("nchw"), &["--sandbox=off"], |command| {
        outside.rehearse(command);
    });
    let chroot = if is_root() { "chroot: done" } else { DENIED[6] };
    let all =
        ["read", "write", "tcp", "udp", "shell", "signal"].map(|name| format!("{name}: done"));
    assert_eq!(attempts(&daemon), [&all[..], &[chroot.to_owned()]].concat());
    renew(&daemon, 1);
    let sandbox = &daemon.status()["sandbox"];
    assert_eq!(sandbox["landlock"], serde_json::Value::Null);
    assert_eq!(
        (&sandbox["no_new_privs"], &sandbox["seccomp"]),
        (&false.into(), &false.into())
    );
    assert_eq!(sandbox["missing"], "sandbox is off");
    let kernel =
        std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("read");
    assert!(
        kernel.contains("NoNewPrivs:\t0") && kernel.contains("Seccomp:\t0"),
        "{kernel}"
    );
}

#[test]
#[cfg(debug_assertions)]
fn user_without_rights_is_in_the_sandbox_too() {
    if !is_root() {
        // Then every other test here has said so already.
        return;
    }
    let outside = Outside::new();
    let place = tempfile::Builder::new()
        .prefix("dermald-test-")
        .tempdir_in("/dev/shm")
        .expect("a folder");
    let own = |name: &str| {
        let path = place.path().join(name);
        std::fs::create_dir(&path).expect("made");
        std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).expect("given away");
        path
    };
    let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), everybody).expect("set");
    copy_files(&bundle("nchw"), &place.path().join("model"));
    // Where the tests are built others may not look.
    let binary = place.path().join("dermald");
    std::fs::copy(env!("CARGO_BIN_EXE_dermald"), &binary).expect("copied");
    let capi = own("capi");
    let onnxruntime = capi.join(library().file_name().expect("a file"));
    std::fs::copy(library(), &onnxruntime).expect("copied");
    let (socket, cache) = (own("s").join("d.sock"), own("cache"));
    let bundle = place.path().join("model");
    let daemon = Daemon::start_at(
        place,
        socket,
        &bundle,
        &["--cache", text(&cache)],
        |command| {
            let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut other = Command::new(&binary);
            other
                .args(arguments)
                .env_clear()
                .env("ORT_DYLIB_PATH", &onnxruntime);
            other.stderr(std::fs::File::create(binary.with_file_name("log")).expect("a log"));
            other.uid(NOBODY).gid(NOBODY);
            outside.rehearse(&mut other);
            *command = other;
        },
    );
    daemon.connect().predict(predict(1, png([4, 5, 6])));
    let status = daemon.status();
    let version = status["sandbox"]["landlock"].as_u64();
    assert!(version >= Some(6), "{status}");
    assert_eq!(status["model"]["prepared"], true, "{}", daemon.log());
    renew(&daemon, 2);
    assert_eq!(attempts(&daemon), vec![DENIED; 3].concat());
    daemon.connect().predict(predict(2, png([4, 5, 6])));
}

#[test]
fn unprepared_model_is_prepared_within() {
    let folder = folder();
    let cache = folder.path().join("not/there/yet");
    let daemon = Daemon::start("nchw", &["--cache", text(&cache)]);
    let prediction = daemon.connect().predict(predict(1, png([250, 0, 0])));
    assert_eq!(&*prediction.labels.0[0].name, "red");
    let status = daemon.status();
    assert_eq!(status["model"]["prepared"], true, "{}", daemon.log());
    assert!(status["sandbox"]["seccomp"] == true, "{status}");
    let log = daemon.log();
    assert!(log.contains("preparing the model"), "{log}");
    assert!(
        !log.contains("ermission denied") && !log.contains("not permitted"),
        "something is missed: {log}"
    );
}

#[test]
fn bundle_that_is_exchanged_by_a_rename_or_a_link_is_taken() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("releases")).expect("made");
    copy_files(&bundle("nchw"), &at("releases/1"));
    copy_files(&bundle("no-gradcam"), &at("releases/2"));
    std::os::unix::fs::symlink("releases/1", at("current")).expect("linked");
    let daemon = Daemon::start_with(&at("current"), &[], |_| {});
    let digest = || daemon.status()["model"]["digest"].clone();
    let first = digest();
    std::os::unix::fs::symlink("releases/2", at("new")).expect("linked");
    std::fs::rename(at("new"), at("current")).expect("exchanged");
    reload(&daemon);
    let second = digest();
    assert_ne!(first, second);
    // The folder itself, in place of the other.
    copy_files(&bundle("nchw"), &at("releases/new"));
    std::fs::rename(at("releases/2"), at("releases/old")).expect("moved");
    std::fs::rename(at("releases/new"), at("releases/2")).expect("moved");
    reload(&daemon);
    assert_eq!(digest(), first);
    daemon.connect().predict(predict(1, png([1, 2, 3])));
}

#[test]
fn reload_that_needs_a_place_outside_is_refused_with_its_path() {
    let (folder, elsewhere) = (folder(), folder());
    let file = folder.path().join("dermald.toml");
    let away = |name: &str| elsewhere.path().join(name);
    std::fs::create_dir(away("models")).expect("made");
    copy_files(&bundle("nchw"), &away("models/other"));
    std::fs::copy(library(), away("libonnxruntime.so")).expect("copied");
    let write = |line: &str| {
        // As editors do.
        let new = folder.path().join("new");
        std::fs::write(&new, format!("queue_requests = 9\n{line}\n")).expect("written");
        std::fs::rename(&new, &file).expect("exchanged");
    };
    write("");
    let socket = away("s/d.sock");
    std::fs::create_dir(away("s")).expect("made");
    let command = |command: &mut Command| {
        command.env("DERMALD_BUNDLE", bundle("nchw"));
        let arguments = ["serve", "--config", text(&file), "--socket", text(&socket)];
        let mut other = support::command();
        // What the file is to change must not be named elsewhere.
        other
            .env_remove("ORT_DYLIB_PATH")
            .env_remove("DERMALD_CACHE");
        other.args(arguments).stdin(std::process::Stdio::null());
        other.stderr(std::fs::File::create(away("log")).expect("a log"));
        *command = other;
    };
    let settings = |bundle: &Path, cache: &Path, library: &Path, more: &str| {
        write(&format!(
            "bundle = {bundle:?}\ncache = {cache:?}\nonnxruntime = {library:?}\n{more}"
        ));
    };
    let (model, cache, runtime) = (bundle("nchw"), root().join("target/test-cache"), library());
    settings(&model, &cache, &runtime, "");
    let place = tempfile::tempdir_in(elsewhere.path()).expect("a folder");
    let daemon = Daemon::start_at(place, socket.clone(), &model, &[], command);
    let log = || std::fs::read_to_string(away("log")).expect("the log");

    let refuses = |what: &str, path: &Path| {
        let message = refused_reload(&daemon);
        for part in [
            "the last reload was refused",
            what,
            text(path),
            "restart needed",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert!(log().contains("restart needed"), "{}", log());
        assert_eq!(daemon.status()["state"], "ready");
    };
    settings(&away("models/other"), &cache, &runtime, "");
    refuses("bundle", &away("models/other"));
    settings(&model, &away("cache"), &runtime, "");
    refuses("cache", &away("cache"));
    settings(&model, &cache, &away("libonnxruntime.so"), "");
    refuses("onnxruntime", &away("libonnxruntime.so"));
    settings(&model, &cache, &runtime, "allow_users = \"nobody\"");
    refuses("allow_users", Path::new("/etc"));
    settings(&model, &cache, &runtime, "sandbox = \"off\"");
    refuses("sandbox", Path::new("off"));
    settings(&model, &cache, &runtime, "queue_requests_typo = 1");
    assert!(
        !refused_reload(&daemon).contains("restart needed"),
        "another fault"
    );

    settings(
        &model,
        &cache,
        &runtime,
        "allow_users = \"4242\"\nsandbox = \"required\"",
    );
    reload(&daemon);
    let message = daemon.status()["message"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(!message.contains("refused"), "{message}");
    daemon.connect().predict(predict(1, png([1, 2, 3])));
}

#[test]
fn sandbox_can_be_entered_by_a_reload() {
    let folder = folder();
    let file = folder.path().join("dermald.toml");
    std::fs::write(&file, "sandbox = \"off\"\n").expect("written");
    let daemon = Daemon::start("nchw", &["--config", text(&file)]);
    let version = || daemon.status()["sandbox"]["landlock"].as_u64();
    assert_eq!(version(), None);
    std::fs::write(&file, "sandbox = \"auto\"\n").expect("written");
    renew(&daemon, 1);
    assert_eq!(version(), None, "only a reload reads files");
    reload(&daemon);
    assert!(version() >= Some(6), "{}", daemon.log());
    daemon.connect().predict(predict(1, png([1, 2, 3])));
}

#[test]
#[cfg(debug_assertions)]
fn kernel_without_it_is_a_line_in_the_log_unless_it_is_required() {
    let old = |command: &mut Command| {
        command.env("DERMALD_REHEARSE", "old-kernel");
    };
    let daemon = Daemon::start_with(&bundle("nchw"), &[], old);
    renew(&daemon, 2);
    let told = daemon.log().matches("no sandbox for files here").count();
    assert_eq!(told, 1, "{}", daemon.log());
    assert_eq!(
        daemon.status()["sandbox"]["missing"],
        "an old kernel was rehearsed"
    );
    daemon.connect().predict(predict(1, png([1, 2, 3])));

    let bundle = bundle("nchw");
    let place = folder();
    let socket = place.path().join("d.sock");
    let arguments = [
        "--bundle",
        text(&bundle),
        "--socket",
        text(&socket),
        "--sandbox=required",
    ];
    for command in ["serve", "check"] {
        let (code, said) = run(&[&[command], &arguments[..]].concat(), old);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("sandbox is \"required\""), "{said}");
        assert!(said.contains("an old kernel was rehearsed"), "{said}");
    }
    assert!(!socket.exists());
}

#[test]
fn supervisor_outside_is_still_told() {
    let folder = folder();
    let path = folder.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).expect("bound");
    supervisor.set_read_timeout(Some(PATIENCE)).expect("set");
    let daemon = Daemon::start_with(&bundle("nchw"), &[], |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    renew(&daemon, 1);
    let mut ready = 0;
    while ready < 2 {
        let mut message = [0; 4096];
        let length = supervisor.recv(&mut message).expect("once for each image");
        ready += String::from_utf8_lossy(&message[..length])
            .matches("READY=1")
            .count();
    }
}

#[test]
fn signals_from_outside_still_come_through() {
    let mut daemon = Daemon::start("nchw", &[]);
    daemon.connect().predict(predict(1, png([1, 2, 3])));
    let started = Instant::now();
    daemon.signal("TERM");
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(
        !daemon.socket.exists(),
        "the socket's folder can be written to"
    );
}

#[test]
fn supervisor_behind_an_abstract_socket_still_hears() {
    let name = format!("dermald-sandbox-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let supervisor = UnixDatagram::bind_addr(&address).expect("bound");
    let daemon = Daemon::start_with(&support::bundle("nchw"), &[], |command| {
        command.env("NOTIFY_SOCKET", format!("@{name}"));
    });
    let mut heard = [0; 512];
    let length = supervisor.recv(&mut heard).expect("heard");
    let words = String::from_utf8_lossy(&heard[..length]);
    assert!(words.contains("READY=1"), "{words}");
    let scoped = &daemon.status()["sandbox"]["scoped"];
    assert!(!scoped.to_string().contains("abstract"), "{scoped}");
}
