//! Models that were optimised for this CPU: made once, shared, and never taken on trust.
//!
//! Long because each test is a short story about one cache folder, and all share how one is made.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::{Connection, Daemon, PATIENCE, bundle, copy_files, png, predict, run};
use dermald::model::stamp::Stamp;
use dermald::wire::Request;

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A daemon with a cache of its own that has answered once.
fn served(name: &str, cache: &Path) -> Daemon {
    let daemon = Daemon::start(name, &["--cache", text(cache)]);
    let prediction = daemon.connect().predict(predict(1, png([250, 0, 0])));
    assert_eq!(&*prediction.labels.0[0].name, "red");
    daemon
}

fn is_prepared(daemon: &Daemon) -> bool {
    daemon.status()["model"]["prepared"] == true
}

/// A daemon that has been asked something that it cannot answer before the model is prepared.
fn asked(name: &str, cache: &Path) -> (Daemon, Connection) {
    let daemon = Daemon::start(name, &["--cache", text(cache)]);
    let mut connection = daemon.connect();
    connection.send(&Request::Predict(predict(1, png([1, 2, 3]))));
    (daemon, connection)
}

/// `dermald prepare`: its exit code and what it said.
fn prepare(names: &[&str], cache: &Path) -> (i32, String) {
    let bundles: Vec<_> = names.iter().map(|name| bundle(name)).collect();
    let mut arguments = vec!["prepare", "--cache", text(cache)];
    arguments.extend(bundles.iter().map(|path| text(path)));
    run(&arguments, |_| {})
}

/// What lies in `cache` beside the lock.
fn content(cache: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(cache).expect("a cache");
    let paths = entries.map(|entry| entry.expect("read").path());
    paths.filter(|path| !path.ends_with("lock")).collect()
}

/// The one prepared model in `cache`.
fn prepared(cache: &Path) -> PathBuf {
    let folders = content(cache);
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].clone()
}

fn new_cache() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("cache");
    (folder, cache)
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
}

#[test]
fn first_request_prepares_and_the_next_daemon_finds_it() {
    let (_folder, cache) = new_cache();
    let first = served("nchw", &cache);
    assert!(is_prepared(&first));
    let made = std::fs::metadata(prepared(&cache).join("model.onnx")).expect("there");
    assert_eq!(made.mode() & 0o333, 0, "nobody may write to it");
    let second = served("nchw", &cache);
    assert!(is_prepared(&second));
    assert!(!second.log().contains("preparing"), "{}", second.log());
    let found = std::fs::metadata(prepared(&cache).join("model.onnx")).expect("there");
    assert_eq!(found.ino(), made.ino());
}

#[test]
fn status_tells_precision_and_method() {
    let model = Daemon::start("nchw", &[]).status()["model"].clone();
    assert_eq!(model["precision"], "float32");
    assert_eq!(model["method"], "gradcam");
    let model = Daemon::start("no-gradcam", &[]).status()["model"].clone();
    assert_eq!(model["method"], serde_json::Value::Null);
}

#[test]
fn copy_that_was_written_to_is_made_anew() {
    let (_folder, cache) = new_cache();
    drop(served("nchw", &cache));
    let graph = prepared(&cache).join("model.onnx");
    let mut content = std::fs::read(&graph).expect("read");
    let before = std::fs::metadata(&graph).expect("there").ino();
    content.push(0);
    set_mode(&graph, 0o600);
    std::fs::write(&graph, content).expect("written in place");
    assert!(is_prepared(&served("nchw", &cache)));
    assert_ne!(std::fs::metadata(&graph).expect("there").ino(), before);
}

#[test]
fn cache_that_was_copied_with_its_bundle_is_served_and_read_once() {
    let (folder, built) = new_cache();
    let (code, words) = prepare(&["nchw"], &built);
    assert_eq!(code, 0, "{words}");
    // As hosts do it: what was built is packed, and unpacked on another machine.
    let cache = folder.path().join("unpacked");
    std::fs::create_dir_all(cache.join(prepared(&built).file_name().expect("a name")))
        .expect("made");
    for file in content(&prepared(&built)) {
        let place = cache.join(file.strip_prefix(&built).expect("inside"));
        std::fs::copy(&file, place).expect("copied");
    }
    let record = || std::fs::read_to_string(prepared(&cache).join("prepared.toml")).expect("read");
    let packed = record();
    let inode = || {
        let graph = prepared(&cache).join("model.onnx");
        std::fs::metadata(graph).expect("there").ino()
    };
    let unpacked = inode();
    let first = served("nchw", &cache);
    assert!(is_prepared(&first));
    assert!(!first.log().contains("preparing"), "{}", first.log());
    assert_eq!(inode(), unpacked, "what was copied is served");
    let noted = record();
    assert_ne!(noted, packed, "the new stamps are noted");
    drop(served("nchw", &cache));
    assert_eq!(record(), noted, "and suffice from then on");
}

#[test]
fn copy_that_cannot_be_loaded_is_made_anew() {
    let (_folder, cache) = new_cache();
    drop(served("weights", &cache));
    let folder = prepared(&cache);
    // As a disk leaves it that loses what it was told to keep: the record fits, the content does not.
    let weights = folder.join("weights.bin");
    set_mode(&weights, 0o600);
    std::fs::write(&weights, "short").expect("written");
    set_mode(&weights, 0o444);
    let record = folder.join("prepared.toml");
    let mut table: toml::Table = std::fs::read_to_string(&record)
        .expect("read")
        .parse()
        .expect("TOML");
    let stamp = Stamp::of(&std::fs::metadata(&weights).expect("there"));
    table["files"]["weights.bin"]["stamp"] = toml::Value::try_from(stamp).expect("a table");
    std::fs::write(&record, table.to_string()).expect("written");
    let daemon = served("weights", &cache);
    assert!(is_prepared(&daemon));
    let log = daemon.log();
    assert!(log.contains("cannot be loaded any more"), "{log}");
}

#[test]
fn bundle_that_was_touched_since_is_hashed_again() {
    let (folder, cache) = new_cache();
    let copy = folder.path().join("copy");
    copy_files(&bundle("nchw"), &copy);
    let cache = text(&cache);
    let serve = || Daemon::start_with(&copy, &["--cache", cache], |_| {});
    let (code, words) = run(&["prepare", "--cache", cache, text(&copy)], |_| {});
    assert_eq!(code, 0, "{words}");
    let graph = copy.join("model.onnx");
    let mut bytes = std::fs::read(&graph).expect("read");
    std::fs::write(&graph, &bytes).expect("the same once more");
    drop(serve());
    bytes.push(0);
    std::fs::write(&graph, &bytes).expect("written");
    for command in ["prepare", "serve"] {
        let socket = folder.path().join("s/d.sock");
        let arguments: &[&str] = if command == "prepare" {
            &["prepare", "--cache", cache, text(&copy)]
        } else {
            let socket = text(&socket);
            &[
                "serve",
                "--cache",
                cache,
                "--socket",
                socket,
                "--bundle",
                text(&copy),
            ]
        };
        let (code, words) = run(arguments, |_| {});
        assert_ne!(code, 0, "{words}");
        assert!(words.contains("model.onnx: SHA-256 is"), "{words}");
    }
}

#[test]
fn cache_that_others_may_write_in_is_not_used_and_the_bundle_is_served() {
    let (_folder, cache) = new_cache();
    drop(served("nchw", &cache));
    let folder = prepared(&cache);
    for path in [cache.clone(), folder.clone(), folder.join("model.onnx")] {
        let mode = std::fs::metadata(&path).expect("there").mode();
        set_mode(&path, 0o777);
        let daemon = served("nchw", &cache);
        assert!(!is_prepared(&daemon));
        let log = daemon.log();
        assert!(log.contains("others may write in it"), "{log}");
        let (code, words) = prepare(&["nchw"], &cache);
        assert_eq!(code, 1, "{words}");
        assert!(words.contains("name a cache folder of your own"), "{words}");
        set_mode(&path, mode);
    }
    assert!(is_prepared(&served("nchw", &cache)));
}

#[test]
fn cache_of_another_user_is_not_used() {
    let (_folder, cache) = new_cache();
    drop(served("nchw", &cache));
    let graph = prepared(&cache).join("model.onnx");
    for path in [&graph, &cache] {
        if std::os::unix::fs::chown(path, Some(64_123), None).is_err() {
            // Without root nobody can give a file away; `make test-rust` says so.
            return;
        }
        let daemon = served("nchw", &cache);
        assert!(!is_prepared(&daemon));
        let log = daemon.log();
        assert!(log.contains("belongs to user 64123"), "{log}");
        std::os::unix::fs::chown(path, Some(0), None).expect("taken back");
    }
}

#[test]
fn what_root_prepared_serves_another_user() {
    if std::fs::metadata("/proc/self").expect("there").uid() != 0 {
        return;
    }
    let folder = tempfile::Builder::new()
        .permissions(PermissionsExt::from_mode(0o755))
        .tempdir_in("/var/tmp")
        .expect("a folder");
    let cache = folder.path().join("cache");
    let (code, words) = prepare(&["nchw"], &cache);
    assert_eq!(code, 0, "{words}");
    let model = bundle("nchw");
    let arguments = ["prepare", "--cache", text(&cache), text(&model)];
    let (code, words) = run(&arguments, |command| {
        command.uid(64_123);
    });
    assert!(
        code == 0 && words.contains("was prepared before"),
        "{words}"
    );
    // Another model would have to be written there, which only root may.
    let model = bundle("no-gradcam");
    let arguments = ["prepare", "--cache", text(&cache), text(&model)];
    let (code, words) = run(&arguments, |command| {
        command.uid(64_123);
    });
    assert!(code == 1 && words.contains("Permission denied"), "{words}");
}

#[test]
fn host_without_a_place_for_a_cache_serves_the_bundle_and_says_so() {
    let (_folder, cache) = new_cache();
    std::fs::write(&cache, "a file").expect("written");
    for name in ["nchw", "weights"] {
        let daemon = served(name, &cache);
        assert!(!is_prepared(&daemon));
        let log = daemon.log();
        assert!(log.contains("not prepared for this CPU"), "{log}");
        assert!(log.contains("DERMALD_CACHE"), "{log}");
        let (code, words) = prepare(&[name], &cache);
        assert_eq!(code, 1, "{words}");
    }
}

/// A file system of its own that is soon full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` without root, as `make test-rust` says.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={size},mode=755"),
                "tmpfs",
            ])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|done| done.status.success())
            .then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn disk_that_is_full_half_way_leaves_nothing_and_the_bundle_is_served() {
    // The model has 3 MB of weights. The copy fails, the optimised weights fail.
    for size in ["2m", "4m"] {
        let Some(disk) = SmallDisk::mount(size) else {
            return;
        };
        let cache = disk.0.path().join("cache");
        let (code, words) = prepare(&["weights"], &cache);
        assert_eq!(code, 1, "{words}");
        assert!(words.contains("the disk is full"), "{words}");
        assert_eq!(content(&cache), [] as [PathBuf; 0]);
        let daemon = served("weights", &cache);
        assert!(!is_prepared(&daemon));
        let log = daemon.log();
        assert!(log.contains("the disk is full"), "{log}");
        assert_eq!(content(&cache), [] as [PathBuf; 0]);
    }
}

#[test]
fn prepare_tells_times_and_whose_fault_it_is() {
    let (_folder, cache) = new_cache();
    let (code, words) = prepare(&["nchw", "no-gradcam"], &cache);
    assert_eq!(code, 0, "{words}");
    assert_eq!(words.matches(": prepared in ").count(), 2, "{words}");
    assert_eq!(words.matches("  float32  ").count(), 2, "{words}");
    assert_eq!(words.matches(" ms  ").count(), 2, "{words}");
    let cases = [
        ("wrong-hash", "model.onnx: SHA-256 is"),
        ("not-onnx", "not-onnx/model.onnx: "),
        (
            "wrong-width",
            "wrong-width/model.onnx: the manifest has 3 labels",
        ),
    ];
    for (broken, expected) in cases {
        let (code, words) = prepare(&[broken, "nchw"], &cache);
        assert_eq!(code, 3, "{words}");
        assert!(words.contains(expected), "{words}");
        assert!(words.contains("was prepared before"), "{words}");
    }
    assert_eq!(content(&cache).len(), 2, "no draft is left");
}

#[test]
fn two_at_once_prepare_once() {
    let (_folder, cache) = new_cache();
    let both = std::thread::scope(|scope| {
        [0, 1]
            .map(|_| scope.spawn(|| prepare(&["weights"], &cache)))
            .map(|thread| thread.join().expect("ended"))
    });
    assert!(both.iter().all(|(code, _)| *code == 0), "{both:?}");
    let made = both.iter().filter(|(_, text)| text.contains("prepared in"));
    assert_eq!(made.count(), 1, "{both:?}");
    prepared(&cache);
}

#[test]
fn weights_in_a_file_of_their_own_are_served_and_must_be_listed() {
    let (_folder, cache) = new_cache();
    let daemon = served("weights", &cache);
    assert!(is_prepared(&daemon));
    let weights = std::fs::metadata(prepared(&cache).join("weights.bin")).expect("there");
    assert!(
        weights.size() > 2_000_000,
        "the weights are not in the graph"
    );
    let (code, words) = prepare(&["weights-unlisted"], &cache);
    assert_eq!(code, 3, "{words}");
    assert!(words.contains("model.weights"), "{words}");
    // Where nothing can be prepared, the bundle is read by the daemon itself, and as strictly.
    let (daemon, mut connection) = asked("weights-unlisted", Path::new("/proc/nowhere"));
    let error = connection.receive_error();
    assert_eq!(&*error.code, "model_invalid", "{}", daemon.log());
    assert!(error.message.contains("model.weights"), "{}", error.message);
}

#[test]
fn self_test_that_deviates_is_refused_wherever_the_model_runs() {
    let (_folder, cache) = new_cache();
    let (code, words) = prepare(&["self-test"], &cache);
    assert_eq!(code, 0, "{words}");
    let (code, words) = prepare(&["self-test-wrong"], &cache);
    assert_eq!(code, 3, "{words}");
    let expected = "selftest.toml: case 1 (selftest-1.png): the probability of class ";
    assert!(words.contains(expected), "{words}");
    assert!(words.contains("the tolerance is 0.001"), "{words}");
    prepared(&cache);
    for cache in [&cache, Path::new("/proc/nowhere")] {
        let (daemon, mut connection) = asked("self-test-wrong", cache);
        let error = connection.receive_error();
        assert_eq!(&*error.code, "model_invalid", "{}", daemon.log());
        assert!(error.message.contains(expected), "{}", error.message);
    }
    assert!(!is_prepared(&served(
        "self-test",
        Path::new("/proc/nowhere")
    )));
}

/// The process that prepares for `daemon`, once it is there and runs our code.
fn preparation(daemon: &Daemon) -> u32 {
    let started = Instant::now();
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).expect("alive");
        let children = tasks.flatten().flat_map(|task| {
            let text = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let pids: Vec<u32> = text.split_whitespace().flat_map(str::parse).collect();
            pids
        });
        let prepares = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains("\0prepare\0")
        };
        if let Some(pid) = children.into_iter().find(prepares) {
            return pid;
        }
        assert!(started.elapsed() < PATIENCE, "nothing is prepared");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Ended, and buried or only waiting for that.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[test]
fn preparation_has_no_sockets_and_dies_with_a_killed_daemon() {
    let (_folder, cache) = new_cache();
    let (mut daemon, _connection) = asked("slow-self-test", &cache);
    let pid = preparation(&daemon);
    // The draft is there once the process has tied its life to ours.
    until("a draft", || cache.exists() && !content(&cache).is_empty());
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs");
    let targets: Vec<_> = descriptors
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .collect();
    let is_ours = |path: &PathBuf| path.starts_with("socket:") || path.ends_with("d.sock.lock");
    assert!(!targets.iter().any(is_ours), "{targets:?}");
    daemon.child.kill().expect("killed");
    daemon.child.wait().expect("ended");
    until("the end of the preparation", || has_ended(pid));
    // Nobody was left to clear up; the next one does.
    assert_eq!(content(&cache).len(), 1);
    let (code, words) = prepare(&["nchw"], &cache);
    assert_eq!(code, 0, "{words}");
    assert!(!text(&prepared(&cache)).contains("draft"));
}

#[test]
fn stop_ends_the_preparation_and_leaves_no_draft() {
    let (_folder, cache) = new_cache();
    let flags = ["--cache", text(&cache), "--grace", "100ms"];
    let mut daemon = Daemon::start("slow-self-test", &flags);
    let mut connection = daemon.connect();
    connection.send(&Request::Predict(predict(1, png([1, 2, 3]))));
    let pid = preparation(&daemon);
    until("a draft", || cache.exists() && !content(&cache).is_empty());
    assert_eq!(daemon.status()["state"], "starting");
    daemon.signal("TERM");
    assert!(daemon.wait().success(), "{}", daemon.log());
    assert!(has_ended(pid));
    assert_eq!(content(&cache), [] as [PathBuf; 0]);
}
