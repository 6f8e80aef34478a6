//! systemd's protocols, spoken without systemd: the listening socket comes as descriptor 3, and
//! readiness, heartbeat and the end are told to a datagram socket. `make units` shows the same with
//! systemd itself.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::{self, Connection, Daemon, PATIENCE, bundle, command, hello, png, predict};
use dermald::wire::message::About;
use dermald::wire::{Reply, Request};

/// A daemon, and what it tells whoever started it.
struct Activated {
    daemon: Daemon,
    notices: Receiver<String>,
}

/// Opens the socket, and what is told of it; the daemon is started by `start`.
struct Plan {
    folder: tempfile::TempDir,
    listener: UnixListener,
    notices: UnixDatagram,
}

impl Plan {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in /dev/shm");
        let listener = UnixListener::bind(folder.path().join("d.sock")).expect("bound");
        let notices = UnixDatagram::bind(folder.path().join("notify")).expect("bound");
        Plan {
            folder,
            listener,
            notices,
        }
    }

    /// The shell becomes the daemon, so that LISTEN_PID and WATCHDOG_PID are its process.
    fn start(self, flags: &[&str], watchdog_us: u64) -> Activated {
        let Plan {
            folder,
            listener,
            notices,
        } = self;
        let socket = folder.path().join("d.sock");
        let daemon = command();
        let words =
            "export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; exec \"$@\" 3<&0 0</dev/null";
        let mut shell = std::process::Command::new("/bin/sh");
        shell
            .args(["-c", words, "sh"])
            .arg(daemon.get_program())
            .arg("serve")
            .arg("--socket")
            .arg(&socket)
            .arg("--bundle")
            .arg(bundle("nchw"))
            .args(flags)
            .env_clear()
            .envs(
                daemon
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env("WATCHDOG_USEC", watchdog_us.to_string())
            .stdin(Stdio::from(OwnedFd::from(listener)))
            .stderr(std::fs::File::create(folder.path().join("log")).expect("a log file"));
        let child = shell.spawn().expect("a shell starts");
        Activated {
            daemon: Daemon {
                folder,
                socket,
                child,
            },
            notices: heard(notices),
        }
    }
}

/// What is told, as it comes: a daemon whose notices nobody takes waits once the socket is full.
fn heard(notices: UnixDatagram) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut text = [0; 4096];
        while let Ok(length) = notices.recv(&mut text) {
            let notice = String::from_utf8_lossy(&text[..length]).into_owned();
            if sender.send(notice).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Activated {
    /// The next notice, which comes in time.
    fn notice(&self) -> String {
        self.notices
            .recv_timeout(PATIENCE)
            .expect("a notice in time")
    }

    fn until(&self, wanted: &str) -> String {
        let started = Instant::now();
        loop {
            let notice = self.notice();
            if notice.lines().any(|line| line == wanted) {
                return notice;
            }
            assert!(started.elapsed() < PATIENCE, "no {wanted}, but {notice}");
        }
    }
}

const A_MINUTE: u64 = 60_000_000;

#[test]
fn client_that_came_before_the_daemon_is_served_and_the_socket_outlives_it() {
    let plan = Plan::new();
    let socket = plan.folder.path().join("d.sock");
    let mut early = UnixStream::connect(&socket).expect("nobody accepts, but it listens");
    std::io::Write::write_all(&mut early, &support::frame(&hello(1, 1))).expect("sent");
    let mut activated = plan.start(&[], A_MINUTE);
    let ready = activated.until("READY=1");
    assert!(ready.contains("STATUS=serving"), "{ready}");
    early.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut early, &mut first).expect("a welcome");

    activated.daemon.signal("TERM");
    activated.until("STOPPING=1");
    assert!(activated.daemon.wait().success());
    assert!(socket.exists(), "it belongs to whoever opened it");
    let files = std::fs::read_dir(activated.daemon.folder.path()).expect("it is there");
    assert!(
        files
            .flatten()
            .all(|file| file.file_name() != "d.sock.lock"),
        "the listener itself is the lock"
    );
}

#[test]
fn heartbeat_ends_when_the_inference_thread_hangs() {
    // Every tenth of a second, and half a second in one step is a hang.
    let activated = Plan::new().start(&["--hang-limit", "500ms"], 200_000);
    activated.until("READY=1");
    for _ in 0..3 {
        activated.until("WATCHDOG=1");
    }
    let mut connection = activated.daemon.connect();
    connection.send(&Request::Predict(predict(
        1,
        b"dermald, rehearse a hang".as_slice(),
    )));
    let started = Instant::now();
    while !activated
        .daemon
        .log()
        .contains("the inference thread hangs")
    {
        assert!(started.elapsed() < PATIENCE, "{}", activated.daemon.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    // What was told before is waiting to be heard; then there is silence, while others are served.
    let silence = Duration::from_millis(700);
    while activated.notices.recv_timeout(silence).is_ok() {
        assert!(started.elapsed() < PATIENCE, "it goes on beating");
    }
    assert_eq!(activated.daemon.status()["queue"]["running"], true);
}

#[test]
fn renewed_image_goes_on_with_socket_readiness_and_heartbeat() {
    let activated = Plan::new().start(&[], 200_000);
    activated.until("READY=1");
    let mut client: Connection = activated.daemon.connect();
    client.predict(predict(1, png([1, 2, 3])));
    for _ in 0..3 {
        let reply = client.ask(&Request::Renew(About::new(2)));
        assert!(matches!(reply, Reply::Renewed(_)), "{reply:?}");
        activated.until("READY=1");
        activated.until("WATCHDOG=1");
        client.predict(predict(3, png([1, 2, 3])));
    }
    // A listener that came by itself has no file of ours, in this image too.
    assert!(activated.daemon.socket.exists());
    activated.daemon.connect();
}
