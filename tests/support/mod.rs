//! What the tests stand on: a real daemon process on a socket in a folder of its own, and a raw
//! connection to it.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "each test file uses its own part of this"
)]

mod group;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use dermald::wire::message::{Error, Explain, Hello, Predict, Prediction, Priority};
use dermald::wire::{self, Blob, Extensions, Frames, Message, Reply, Request, Text};

pub use group::MemoryGroup;

/// Nothing in these tests takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says so when it is dropped, which a panic does too: whoever goes on until then ends with the test.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A bundle made by `tests/bundles/make.py`.
pub fn bundle(name: &str) -> PathBuf {
    let folder = root().join("target/test-bundles").join(name);
    assert!(
        folder.exists(),
        "{} is missing: run `make setup`",
        folder.display()
    );
    folder
}

/// Copies the files of the folder `from` into `to`, which need not be there.
pub fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a file"))).expect("copied");
    }
}

/// ONNX Runtime's library, as the Makefile names it.
pub fn library() -> PathBuf {
    let named = PathBuf::from(std::env::var_os("ORT_DYLIB_PATH").unwrap_or_default());
    assert!(
        named.is_file(),
        "ORT_DYLIB_PATH names no ONNX Runtime ({}): run the tests with `make test-rust`",
        named.display()
    );
    named
}

/// `dermald` with a clean environment.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dermald"));
    command
        .env_clear()
        .env("ORT_DYLIB_PATH", library())
        .env("DERMALD_CACHE", root().join("target/test-cache"));
    command
}

/// A running daemon. Dropping it kills it.
pub struct Daemon {
    pub folder: tempfile::TempDir,
    pub socket: PathBuf,
    pub child: Child,
}

impl Daemon {
    /// Starts a daemon for the test bundle `name` and waits until it answers.
    pub fn start(name: &str, flags: &[&str]) -> Self {
        Self::start_with(&bundle(name), flags, |_| {})
    }

    /// The same for any bundle and with changes to the command.
    pub fn start_with(bundle: &Path, flags: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("dermald-test-")
            .tempdir_in("/dev/shm")
            .expect("a folder in /dev/shm");
        let socket = folder.path().join("s/d.sock");
        Self::start_at(folder, socket, bundle, flags, change)
    }

    /// The same on a socket that may be there already.
    pub fn start_at(
        folder: tempfile::TempDir,
        socket: PathBuf,
        bundle: &Path,
        flags: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = command();
        command
            .arg("serve")
            .arg("--socket")
            .arg(&socket)
            .arg("--bundle")
            .arg(bundle)
            .args(flags);
        let log = std::fs::File::create(folder.path().join("log")).expect("a log file");
        command.stderr(log).stdin(Stdio::null());
        change(&mut command);
        let mut child = command.spawn().expect("dermald starts");
        let started = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if let Some(status) = child.try_wait().expect("waited") {
                let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                panic!("dermald ended with {status}: {log}");
            }
            assert!(started.elapsed() < PATIENCE, "dermald does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Daemon {
            folder,
            socket,
            child,
        }
    }

    /// A connection after its hello.
    pub fn connect(&self) -> Connection {
        let mut connection = self.connect_raw();
        let reply = connection.ask(&hello(1, 1));
        assert!(matches!(reply, Reply::Welcome(_)), "{reply:?}");
        connection
    }

    /// A connection on which nothing was said.
    pub fn connect_raw(&self) -> Connection {
        let stream = UnixStream::connect(&self.socket).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        Connection {
            stream,
            frames: Frames::new(u32::MAX / 2),
            unread: BytesMut::new(),
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("waited") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "dermald does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log")
    }

    /// The JSON of a status reply.
    pub fn status(&self) -> serde_json::Value {
        let request = Request::Status(dermald::wire::message::About::new(1));
        match self.connect().ask(&request) {
            Reply::Status(status) => serde_json::from_str(&status.json).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    /// A field of `/proc/PID/status` in KiB, such as `VmRSS`.
    pub fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("the process lives");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .expect("the field");
        line.trim_start_matches(':')
            .split_whitespace()
            .next()
            .expect("a number")
            .parse()
            .expect("a number")
    }

    /// Waits until `condition` holds for the status.
    pub fn until(&self, what: &str, condition: impl Fn(&serde_json::Value) -> bool) {
        let started = Instant::now();
        while !condition(&self.status()) {
            assert!(started.elapsed() < PATIENCE, "never came: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A raw connection.
pub struct Connection {
    pub stream: UnixStream,
    frames: Frames,
    unread: BytesMut,
}

impl Connection {
    pub fn send(&mut self, request: &Request) {
        self.send_bytes(&frame(request));
    }

    /// Sends as much as the daemon takes: one that hangs up early has its reasons, which are read
    /// afterwards.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    pub fn ask(&mut self, request: &Request) -> Reply {
        self.send(request);
        self.receive().expect("a reply")
    }

    /// The next reply; `None` at the end of the stream.
    pub fn receive(&mut self) -> Option<Reply> {
        loop {
            if let Some(frame) = self.frames.next(&mut self.unread).expect("no limit") {
                return Some(wire::decode(&frame).expect("a reply"));
            }
            let mut piece = [0; 65536];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(read) => self.unread.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                // A read with a timeout is not taken up again by the kernel.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => panic!("no reply: {error}"),
            }
        }
    }

    pub fn receive_error(&mut self) -> Error {
        match self.receive() {
            Some(Reply::Error(error)) => error,
            other => panic!("no error: {other:?}"),
        }
    }

    pub fn predict(&mut self, request: Predict) -> Prediction {
        match self.ask(&Request::Predict(request)) {
            Reply::Prediction(prediction) => prediction,
            other => panic!("no prediction: {other:?}"),
        }
    }
}

pub fn frame<M: Message>(message: &M) -> Bytes {
    let mut out = BytesMut::new();
    wire::encode(message, &mut out);
    out.freeze()
}

pub fn hello(oldest: u16, newest: u16) -> Request {
    let client = Text::from("test");
    Request::Hello(Hello {
        oldest,
        newest,
        client,
        extensions: Extensions::default(),
    })
}

/// A request for all classes without an explanation.
pub fn predict(id: u64, picture: impl Into<Bytes>) -> Predict {
    Predict {
        id,
        picture: Blob(picture.into()),
        top_k: 0,
        target: None,
        explain: Explain::None,
        deadline_ms: 0,
        priority: Priority::Interactive,
        language: None,
        traceparent: None,
        extensions: Extensions::default(),
    }
}

/// A PNG of one colour.
pub fn png(colour: [u8; 3]) -> Bytes {
    png_of(64, 48, colour)
}

/// The same of any size.
pub fn png_of(width: u32, height: u32, colour: [u8; 3]) -> Bytes {
    let mut file = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(width, height, image::Rgb(colour))
        .write_to(&mut file, image::ImageFormat::Png)
        .expect("encoded");
    file.into_inner().into()
}

/// Runs `dermald` to its end and gives its exit code and what it printed.
pub fn run(arguments: &[&str], change: impl FnOnce(&mut Command)) -> (i32, String) {
    let mut command = command();
    command.args(arguments);
    change(&mut command);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("dermald runs");
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().unwrap_or(-1), text)
}

/// How much of something a test does: `short`, unless `make proof` says more.
pub fn amount(variable: &str, short: u64) -> u64 {
    std::env::var(variable).map_or(short, |text| text.parse().expect("a whole number"))
}

/// What must be the same whenever the same picture is asked for.
pub fn essence(prediction: &Prediction) -> Vec<(u32, f32)> {
    let labels = prediction.labels.0.iter();
    labels
        .map(|label| (label.index, label.probability))
        .collect()
}
