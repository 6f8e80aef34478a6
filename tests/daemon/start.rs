//! What stops the start, and what a model that cannot be loaded means for its callers.

use std::process::Command;

use crate::support::{self, Daemon, bundle, png, predict, run};
use dermald::wire::message::About;
use dermald::wire::{Reply, Request};

/// `serve` for `bundle` with `change`, which must fail; gives what it printed.
fn refused(bundle: &std::path::Path, change: impl FnOnce(&mut Command)) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = folder.path().join("s/d.sock");
    let socket = socket.to_str().expect("UTF-8");
    let bundle = bundle.to_str().expect("UTF-8");
    let (code, text) = run(&["serve", "--socket", socket, "--bundle", bundle], change);
    assert_eq!(code, 1, "{text}");
    text
}

#[test]
fn unsound_bundles_stop_the_start_by_name() {
    let cases = [
        ("wrong-hash", "model.onnx: SHA-256 is"),
        ("unknown-key", "unknown field"),
        ("../no-such-bundle", "manifest.toml: No such file"),
    ];
    for (name, words) in cases {
        let folder = support::root().join("target/test-bundles").join(name);
        let text = refused(&folder, |_| {});
        assert!(text.contains(words), "{name}: {text}");
    }
}

#[test]
fn bad_settings_name_variable_value_and_form() {
    let text = refused(&bundle("nchw"), |command| {
        command.env("OMP_NUM_THREADS", "many");
    });
    assert!(
        text.contains("environment variable OMP_NUM_THREADS: threads is \"many\", expected"),
        "{text}"
    );
    let text = refused(&bundle("nchw"), |command| {
        command.env("ENABLE_GRADCAM", "perhaps");
    });
    assert!(text.contains("ENABLE_GRADCAM"), "{text}");
}

#[test]
fn shared_memory_that_cannot_be_used_is_told_with_the_way_out() {
    if !nix::unistd::geteuid().is_root() {
        return println!(
            "NOT TESTED: /dev/shm that is read-only, full or missing, which needs root"
        );
    }
    let cases = [
        (
            "mount -t tmpfs -o ro none /dev/shm",
            "Read-only file system",
        ),
        (
            "mount -t tmpfs -o nr_inodes=1 none /dev/shm",
            "No space left",
        ),
        ("mount -t tmpfs none /dev", "No such file"),
    ];
    for (before, words) in cases {
        let binary = env!("CARGO_BIN_EXE_dermald");
        let line = format!(
            "{before} && exec {binary} serve --bundle {}",
            bundle("nchw").display()
        );
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &line])
            .env("DERMALD_CACHE", support::root().join("target/test-cache"))
            .output()
            .expect("unshare runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{before}: {text}");
        assert!(
            text.contains(words) && text.contains("/dev/shm"),
            "{before}: {text}"
        );
        assert!(text.contains("DERMALD_SOCKET"), "no way out: {text}");
    }
}

#[test]
fn image_size_that_the_bundle_cannot_serve_names_the_way_out() {
    let text = refused(&bundle("nchw"), |command| {
        command.env("IMG_SIZE", "300");
    });
    assert!(
        text.contains("environment variable IMG_SIZE is 300"),
        "{text}"
    );
    assert!(text.contains("takes 64 x 48 pixels"), "{text}");
    assert!(text.contains("--input-size 300"), "{text}");
}

#[test]
fn second_daemon_on_the_socket_is_refused() {
    let daemon = Daemon::start("nchw", &[]);
    let socket = daemon.socket.to_str().expect("UTF-8");
    let bundle = bundle("nchw");
    let (code, text) = run(
        &[
            "serve",
            "--socket",
            socket,
            "--bundle",
            bundle.to_str().expect("UTF-8"),
        ],
        |_| {},
    );
    assert_eq!(code, 1);
    assert!(
        text.contains(&format!("another daemon (pid {})", daemon.child.id())),
        "{text}"
    );
    assert!(matches!(
        daemon.connect().ask(&Request::Health(About::new(1))),
        Reply::Health(_)
    ));
}

#[test]
fn socket_of_a_killed_daemon_is_taken_over() {
    let mut first = Daemon::start("nchw", &[]);
    first.child.kill().expect("killed");
    first.child.wait().expect("ended");
    assert!(
        first.socket.exists(),
        "a killed daemon leaves its socket behind"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let socket = first.socket.clone();
    let second = Daemon::start_at(folder, socket, &bundle("nchw"), &[], |_| {});
    let prediction = second.connect().predict(predict(1, png([0, 0, 250])));
    assert_eq!(&*prediction.labels.0[0].name, "blue");
}

#[test]
fn models_that_do_not_fit_their_manifest_fail_the_request_and_the_health() {
    let cases = [
        ("wrong-width", "labels, but output"),
        ("wrong-dtype", "expected f32"),
        ("wrong-shape", "has shape"),
        ("missing-tensor", "but the graph has only"),
        ("not-onnx", "model.onnx"),
    ];
    for (name, words) in cases {
        let daemon = Daemon::start(name, &[]);
        let mut connection = daemon.connect();
        connection.send(&Request::Predict(predict(1, png([1, 2, 3]))));
        let error = connection.receive_error();
        assert_eq!(
            (error.id, &*error.code),
            (Some(1), "model_invalid"),
            "{name}"
        );
        assert!(error.message.contains(words), "{name}: {}", error.message);
        let socket = daemon.socket.to_str().expect("UTF-8");
        let (code, text) = run(&["health", "--socket", socket], |_| {});
        assert_eq!(code, 1, "{name}: {text}");
        assert!(text.starts_with("failed: "), "{name}: {text}");
    }
}

#[test]
fn missing_or_unusable_library_says_how_to_get_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text_file = folder.path().join("libonnxruntime.so");
    std::fs::write(&text_file, "I am no library").expect("written");
    let missing = folder.path().join("nowhere.so");
    for library in [&text_file, &missing] {
        let daemon = Daemon::start_with(&bundle("nchw"), &["--onnxruntime"], |command| {
            command.arg(library);
        });
        let mut connection = daemon.connect();
        connection.send(&Request::Predict(predict(1, png([1, 2, 3]))));
        let error = connection.receive_error();
        assert_eq!(&*error.code, "runtime_unavailable");
        assert!(
            error.message.contains(library.to_str().expect("UTF-8")),
            "{}",
            error.message
        );
        assert!(error.message.contains("pip install"), "{}", error.message);
    }
}

#[test]
fn library_that_is_too_old_is_refused_by_version() {
    let old = std::env::var_os("TEST_OLD_ONNXRUNTIME").map_or_else(
        || support::root().join("target/old-onnxruntime/libonnxruntime.so"),
        Into::into,
    );
    assert!(
        old.exists(),
        "{} is missing: run `make setup`",
        old.display()
    );
    let daemon = Daemon::start_with(&bundle("nchw"), &["--onnxruntime"], |command| {
        command.arg(&old);
    });
    let mut connection = daemon.connect();
    connection.send(&Request::Predict(predict(1, png([1, 2, 3]))));
    let error = connection.receive_error();
    assert_eq!(&*error.code, "runtime_unavailable");
    assert!(error.message.contains("1.24"), "{}", error.message);
}

#[test]
fn health_exit_codes_tell_ready_from_unreachable() {
    let daemon = Daemon::start("nchw", &["--preload", "true"]);
    let socket = daemon.socket.to_str().expect("UTF-8");
    let (code, text) = run(&["health", "--socket", socket, "--wait", "30s"], |_| {});
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(
        &["health", "--socket", "/dev/shm/no-such-dermald/d.sock"],
        |_| {},
    );
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("no daemon answers at /dev/shm/no-such-dermald"),
        "{text}"
    );
}

#[test]
fn idle_daemon_is_small() {
    let daemon = Daemon::start("nchw", &[]);
    let _ = daemon.status();
    let (rss, anonymous) = (daemon.memory("VmRSS"), daemon.memory("RssAnon"));
    assert!(
        anonymous <= 1024,
        "{anonymous} KiB of its own before the first request"
    );
    // The code of a debug build alone is larger than a release build with all that it holds.
    let limit = if cfg!(debug_assertions) { 16 } else { 8 };
    assert!(rss <= limit * 1024, "{rss} KiB before the first request");
}

#[test]
fn configuration_is_printed_with_its_origins_and_can_be_used_as_a_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dermald.toml");
    std::fs::write(&path, "threads = 3\npreload = true\n").expect("written");
    let flag = path.to_str().expect("UTF-8");
    let arguments = ["config", "--config", flag, "--grace", "3s"];
    let (code, text) = run(&arguments, |command| {
        command.env("OMP_NUM_THREADS", "2");
    });
    assert_eq!(code, 0, "{text}");
    let line = |key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .expect("a line")
    };
    assert!(
        line("threads").ends_with("environment variable OMP_NUM_THREADS"),
        "{text}"
    );
    assert!(line("preload").ends_with("dermald.toml"), "{text}");
    assert!(line("grace").ends_with("flag --grace"), "{text}");
    assert!(line("socket").ends_with("default"), "{text}");
    std::fs::write(&path, &text).expect("written");
    let (code, again) = run(&["config", "--config", flag], |_| {});
    assert_eq!(code, 0, "{again}");
    assert!(again.contains("threads = \"2\""), "{again}");
}

#[test]
fn default_cache_is_the_users_own() {
    let cache = |variables: &[(&str, &str)]| {
        let (code, text) = run(&["config"], |command| {
            command.env_remove("DERMALD_CACHE");
            command.envs(variables.iter().copied());
        });
        assert_eq!(code, 0, "{text}");
        let line = text.lines().find(|line| line.starts_with("cache"));
        let line = line.expect("a line").to_owned();
        line.split('"').nth(1).expect("a quoted path").to_owned()
    };
    assert_eq!(cache(&[("HOME", "/home/a")]), "/home/a/.cache/dermald");
    let both = [("HOME", "/home/a"), ("XDG_CACHE_HOME", "/mnt/b")];
    assert_eq!(cache(&both), "/mnt/b/dermald");
    // The specification tells to ignore a relative one.
    let relative = [("HOME", "/home/a"), ("XDG_CACHE_HOME", "b")];
    assert_eq!(cache(&relative), "/home/a/.cache/dermald");
    assert!(cache(&[]).starts_with("/var/tmp/dermald-"));
    // What systemd made for the unit, where it made several the first, and nothing that is no folder.
    let unit = |folders| [("HOME", "/home/a"), ("CACHE_DIRECTORY", folders)];
    assert_eq!(cache(&unit("/var/cache/c")), "/var/cache/c");
    assert_eq!(cache(&unit("/var/cache/c:/var/cache/d")), "/var/cache/c");
    assert_eq!(cache(&unit("c")), "/home/a/.cache/dermald");
    let named = [("CACHE_DIRECTORY", "/c"), ("DERMALD_CACHE", "/e")];
    assert_eq!(cache(&named), "/e");
}

#[test]
fn onnx_runtime_reports_to_nobody() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let daemon = Daemon::start_with(&bundle("nchw"), &[], |command| {
        command.env("HOME", home.path()).env_remove("DERMALD_CACHE");
    });
    daemon.connect().predict(predict(1, png([1, 2, 3])));
    // Its database would lie in a folder of its maker's beside ours.
    let cache = home.path().join(".cache");
    let kept = std::fs::read_dir(&cache).expect("a cache").flatten();
    let kept: Vec<_> = kept.map(|entry| entry.file_name()).collect();
    assert_eq!(kept, ["dermald"]);
    let pid = daemon.child.id();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    assert!(maps.contains("libonnxruntime") && !maps.contains("onnxruntime.db"));
}
