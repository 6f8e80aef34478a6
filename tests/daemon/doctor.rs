//! `dermald doctor` on set-ups that are broken in one way each: the verdict names the fault.

use std::process::Command;

use crate::support::{self, MemoryGroup, bundle, root, run};

/// What it prints, and its exit code, for a daemon that would work but for `flags`.
fn doctor(flags: &[&str], change: impl FnOnce(&mut Command)) -> (i32, String) {
    doctor_of(flags, &[], change)
}

/// The same with what `run` would start.
fn doctor_of(flags: &[&str], words: &[&str], change: impl FnOnce(&mut Command)) -> (i32, String) {
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
    arguments.extend_from_slice(words);
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
        "sandbox",
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
    assert!(wrong(&["--allow-users", "nobody-knows"], "access").contains("nobody-knows"));
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
fn library_for_other_processors_is_told_from_one_that_is_too_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = folder.path().join("libonnxruntime.so");
    let mut library =
        std::fs::read(root().join("target/old-onnxruntime/libonnxruntime.so")).expect("read");
    // e_machine: aarch64, or x86_64 where we are that.
    let machine: u16 = if cfg!(target_arch = "aarch64") {
        62
    } else {
        183
    };
    library[18..20].copy_from_slice(&machine.to_le_bytes());
    std::fs::write(&foreign, library).expect("written");
    let words = wrong(
        &["--onnxruntime", &foreign.display().to_string()],
        "ONNX Runtime",
    );
    assert!(words.contains("is built for"), "{words}");
    assert!(words.contains(std::env::consts::ARCH), "{words}");
}

#[test]
fn what_lies_in_the_sockets_place_is_told() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let socket = folder.path().join("d.sock");
    let flag = socket.display().to_string();
    std::fs::write(&socket, "precious").expect("written");
    assert!(wrong(&["--socket", &flag], "socket").contains("no socket lies here"));
    std::fs::remove_file(&socket).expect("removed");
    let lock = std::fs::File::create(folder.path().join("d.sock.lock")).expect("made");
    lock.lock().expect("locked");
    assert!(wrong(&["--socket", &flag], "socket").contains("another daemon"));
    drop(lock);
    // Whoever listens and does not accept keeps nobody waiting.
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
    let mut clients = Vec::new();
    for _ in 0..5000 {
        match dermald::server::place::knock(&socket) {
            Ok(()) => clients.push(()),
            Err(_) => break,
        }
    }
    let (code, text) = doctor(&["--socket", &flag], |_| {});
    assert!(code == 0 && text.contains("a daemon answers"), "{text}");
    drop(listener);
}

#[test]
fn folders_that_are_not_ours_are_told_with_the_reason() {
    if !nix::unistd::geteuid().is_root() {
        return println!("NOT TESTED: as another user, which needs root");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let set = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(folder.path(), mode).expect("set");
    };
    set(0o755);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let as_another = |flags: &[&str]| {
        doctor(flags, |command| {
            std::os::unix::process::CommandExt::uid(command, 64_123);
        })
    };
    let (code, text) = as_another(&["--socket", &path("own/d.sock"), "--cache", &path("cache")]);
    assert_eq!(code, 1, "{text}");
    let wrong: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("WRONG"))
        .collect();
    assert_eq!(wrong.len(), 2, "{text}");
    assert!(
        wrong[0].contains("socket") && wrong[0].contains("Permission denied"),
        "{text}"
    );
    assert!(
        wrong[1].contains("cache") && wrong[1].contains("Permission denied"),
        "{text}"
    );
}

#[test]
fn host_without_shared_memory_is_told_what_to_do_instead() {
    if !nix::unistd::geteuid().is_root() {
        return println!("NOT TESTED: without /dev/shm, which needs root");
    }
    let demo = root().join("models/demo").display().to_string();
    let doctor = |mount: &str, words: &[&str]| {
        let command = support::command();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-c", &format!("{mount} && exec \"$@\"")]);
        unshare.arg("sh").arg(command.get_program());
        unshare.args(["doctor", "--bundle", &demo]).args(words);
        let set = command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?)));
        let output = unshare.envs(set).output().expect("unshare runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // No device is needed but those that we are given; the fault stands before the model is tried.
    let gunicorn = ["--", "sh", "-c", "gunicorn site --worker-tmp-dir /dev/shm"];
    let text = doctor("mount -t tmpfs none /dev && : >/dev/null", &gunicorn);
    assert!(
        text.contains("WRONG  socket         /dev/shm is not there"),
        "{text}"
    );
    assert!(
        text.contains("cannot use --worker-tmp-dir /dev/shm"),
        "{text}"
    );
    let text = doctor("mount -t tmpfs -o size=4m none /dev/shm", &[]);
    assert!(text.contains("note   socket"), "{text}");
    assert!(text.contains("4.0 MiB free there"), "{text}");
    assert!(!text.contains("WRONG"), "{text}");
}

#[test]
fn command_that_run_would_start_is_looked_at() {
    let command = |words: &[&str]| {
        let words = [&["--"], words].concat();
        let (code, text) = doctor_of(&[], &words, |_| {});
        (
            code,
            text.lines()
                .filter(|line| line.contains(" command "))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    };
    let (code, text) = command(&["/nowhere/gunicorn"]);
    assert!(code == 1 && text.contains("would end with 127"), "{text}");
    let (code, text) = command(&["/etc/passwd"]);
    assert!(code == 1 && text.contains("would end with 126"), "{text}");
    let (code, text) = command(&["/bin/sh", "-c", "gunicorn site -D"]);
    assert!(code == 1 && text.contains("--daemon"), "{text}");
    let (code, text) = command(&["/bin/sh", "-c", "true && gunicorn site --preload"]);
    assert_eq!(code, 0, "{text}");
    for words in ["begin that with `exec`", "--preload", "--graceful-timeout"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (code, text) = command(&[
        "/bin/sh",
        "-c",
        "true && exec gunicorn site --graceful-timeout 20",
    ]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("note"), "{text}");
}

/// As on a processor that lacks an instruction: the trial is in a process of its own.
#[test]
fn library_that_ends_its_process_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("library.c");
    let library = folder.path().join("libonnxruntime.so");
    let text = "#include <signal.h>\n\
                __attribute__((constructor)) static void begin(void) { raise(SIGILL); }\n";
    std::fs::write(&source, text).expect("written");
    // The daemon's own decoder is made with it, so there is one.
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(&source);
    assert!(compiler.status().expect("cc runs").success());
    let words = wrong(
        &["--onnxruntime", &library.display().to_string()],
        "ONNX Runtime",
    );
    assert!(
        words.contains("loading the library ended with SIGILL"),
        "{words}"
    );
}

#[test]
fn limit_of_the_control_group_below_what_is_needed_is_named_before_and_after_a_kill() {
    let told = |mebibytes| {
        let group = MemoryGroup::with(mebibytes)?;
        let (code, text) = doctor(&[], |command| group.enclose(command));
        assert_eq!(code, 1, "{text}");
        let of_the_group = format!("{mebibytes}.0 MiB by the control group's limit");
        assert!(text.contains(&of_the_group), "{text}");
        Some(text)
    };
    // Enough to load the model, and not for a full queue beside it.
    let Some(text) = told(64) else {
        return;
    };
    assert!(
        text.contains("64.0 MiB for everything here is too little"),
        "{text}"
    );
    let text = told(6).expect("it was there before");
    assert!(text.contains("ended with SIGKILL"), "{text}");
    assert!(
        text.contains("too little memory (of 6.0 MiB for everything here)"),
        "{text}"
    );
}

#[test]
fn more_threads_than_processors_are_worth_a_note() {
    let (code, text) = doctor(&["--threads", "256"], |_| {});
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("note   CPUs"), "{text}");
}

#[test]
#[cfg(debug_assertions)]
fn kernel_without_a_sandbox_is_a_note_and_wrong_only_when_it_is_required() {
    let old = |command: &mut Command| {
        command.env("DERMALD_REHEARSE", "old-kernel");
    };
    let (code, text) = doctor(&[], old);
    assert!(text.contains("note   sandbox"), "{text}");
    assert_eq!(code, 0, "{text}");
    let (code, text) = doctor(&["--sandbox", "required"], old);
    assert!(text.contains("WRONG  sandbox"), "{text}");
    assert_eq!(code, 1, "{text}");
    let (code, text) = doctor(&["--sandbox", "off"], old);
    assert!(text.contains("note   sandbox        off"), "{text}");
    assert_eq!(code, 0, "{text}");
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
    // What was found is said and written down.
    for topic in ["CPUs", "memory", "socket", "ONNX Runtime", "bundle"] {
        let line = text
            .lines()
            .find(|line| line.get(7..).is_some_and(|rest| rest.starts_with(topic)));
        let line = line.unwrap_or_else(|| panic!("{topic}: {text}"));
        assert!(
            written.contains(&format!("# {line}\n")),
            "{line}: {written}"
        );
    }
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

#[test]
fn first_configuration_has_another_cache_where_the_home_cannot_be_written_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dermald.toml").display().to_string();
    let (code, text) = run(&["init", "--out", &file], |command| {
        command
            .env_remove("DERMALD_CACHE")
            .env("HOME", "/dev/null/home");
    });
    assert_eq!(code, 0, "{text}");
    let written = std::fs::read_to_string(&file).expect("written");
    assert!(
        written.contains("\ncache = \"/var/tmp/dermald-"),
        "{written}"
    );
}
