//! `dermald doctor` on set-ups that are broken in one way each: the verdict names the fault.

mod support;

use std::process::Command;

use support::{bundle, root, run};

/// What it prints, and its exit code, for a daemon that would work but for `flags`.
fn doctor(flags: &[&str], change: impl FnOnce(&mut Command)) -> (i32, String) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let socket = folder.path().join("own/d.sock").display().to_string();
    let demo = root().join("models/demo").display().to_string();
    let mut arguments = vec!["doctor"];
    arguments.extend_from_slice(flags);
    for (name, value) in [("--socket", &socket), ("--bundle", &demo)] {
        if !flags.contains(&name) {
            arguments.extend([name, value]);
        }
    }
    run(&arguments, change)
}

/// The line about `topic`, of which nothing is wrong but that.
fn wrong(flags: &[&str], topic: &str) -> String {
    let (code, text) = doctor(flags, |_| {});
    assert_eq!(code, 1, "{text}");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("WRONG"))
        .collect();
    let [line] = lines[..] else {
        panic!("{text}");
    };
    let rest = line["WRONG".len()..].trim_start();
    assert!(rest.starts_with(topic), "{text}");
    rest.to_owned()
}

#[test]
fn sound_set_up_is_ok_and_says_what_was_found() {
    let (code, text) = doctor(&[], |_| {});
    assert_eq!(code, 0, "{text}");
    for topic in [
        "configuration",
        "CPUs",
        "memory",
        "socket",
        "ONNX Runtime",
        "bundle",
        "cache",
        "model",
    ] {
        assert!(text.contains(topic), "{topic}: {text}");
    }
    assert!(
        text.contains("dermald-demo 1.0.0") && text.contains("it loads"),
        "{text}"
    );
}

#[test]
fn each_fault_is_named_with_what_to_do() {
    assert!(wrong(&["--threads", "many"], "configuration").contains("from 1 to 256"));
    assert!(wrong(&["--allow-users", "nobody-knows"], "bundle").contains("nobody-knows"));
    assert!(wrong(&["--bundle", "/nowhere"], "bundle").contains("/nowhere/manifest.toml"));
    let broken = bundle("wrong-hash").display().to_string();
    assert!(wrong(&["--bundle", &broken], "bundle").contains("SHA-256"));
    let narrow = wrong(&["--memory-limit", "8MiB"], "model");
    assert!(narrow.contains("memory_limit"), "{narrow}");
    let old = root()
        .join("target/old-onnxruntime/libonnxruntime.so")
        .display()
        .to_string();
    assert!(wrong(&["--onnxruntime", &old], "ONNX Runtime").contains("1.24 or newer"));
    let missing = wrong(&["--onnxruntime", "/nowhere.so"], "ONNX Runtime");
    assert!(missing.contains("pip install"), "{missing}");
    let cache = wrong(&["--cache", "/dev/null/cache"], "cache");
    assert!(cache.contains("/dev/null"), "{cache}");
    let socket = wrong(&["--socket", "/nowhere/dermald/d.sock"], "socket");
    assert!(socket.contains("/nowhere is not there"), "{socket}");
    let socket = wrong(&["--socket", "/tmp/d.sock"], "socket");
    assert!(socket.contains("others may write in it"), "{socket}");
}

#[test]
fn more_threads_than_processors_are_worth_a_note() {
    let (code, text) = doctor(&["--threads", "256"], |_| {});
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("note   CPUs"), "{text}");
}

#[test]
fn first_configuration_holds_every_setting_and_is_never_written_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dermald.toml").display().to_string();
    let demo = root().join("models/demo").display().to_string();
    let init = ["init", "--out", &file, "--bundle", &demo, "--threads", "2"];
    let (code, text) = run(&init, |_| {});
    assert_eq!(code, 0, "{text}");
    let written = std::fs::read_to_string(&file).expect("written");
    assert!(written.contains("\nthreads = \"2\"\n"), "{written}");
    // With all that is a comment taken for a setting, it is a configuration still.
    let mut all = String::new();
    for row in dermald::config::KEYS {
        let start = format!("{} = ", row.name);
        let line = written
            .lines()
            .find(|line| line.trim_start_matches("# ").starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{}: {written}", row.name));
        if !line.ends_with("\"\"") {
            all += &format!("{}\n", line.trim_start_matches("# "));
        }
    }
    std::fs::write(folder.path().join("all.toml"), &all).expect("written");
    let all = folder.path().join("all.toml").display().to_string();
    for config in [&file, &all] {
        let (code, text) = run(&["config", "--config", config], |_| {});
        assert_eq!(code, 0, "{text}");
        assert!(text.contains("threads = \"2\""), "{text}");
    }
    let (code, text) = run(&init, |_| {});
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("File exists"), "{text}");
}
