//! Exit codes, and whose fault it was.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::{child, left_nothing, run_beside, run_beside_shell, start};

#[test]
fn exit_codes_are_the_commands_or_say_whose_fault_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("gunicorn");
    std::fs::write(&script, "#!/nowhere/bin/python3\n").expect("written");
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("set");
    let script = script.to_string_lossy();
    let cases: [(&[&str], i32, &str); 8] = [
        (&["sh", "-c", "exit 7"], 7, "exit code 7"),
        (&["sh", "-c", "kill -KILL $$"], 137, "SIGKILL"),
        (
            &["/nowhere/gunicorn"],
            127,
            "/nowhere/gunicorn: No such file",
        ),
        (&[&script], 126, "its first line names /nowhere/bin/python3"),
        // Real-time signals have no names.
        (&["sh", "-c", "kill -35 $$"], 163, "signal 35"),
        (
            &[
                "sh",
                "-c",
                "(setsid sh -c 'kill -36 $$' &); sleep 0.5; exit 3",
            ],
            3,
            "exit code 3",
        ),
        (&["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
        (&["sh", "-c", "setsid sleep 60 & exit 0"], 125, "--daemon"),
    ];
    for (command, code, words) in cases {
        let mut run = start(&[], command, |_| {});
        assert_eq!(run.wait().code(), Some(code), "{}", run.log());
        assert!(run.log().contains(words), "{}", run.log());
        assert!(!run.log().contains("waited for"), "{}", run.log());
        left_nothing(&run);
    }
    let mut run = start(&["--threads", "none"], &["sleep", "60"], |_| {});
    assert_eq!(run.wait().code(), Some(125));
    let mut run = start(&["--allow-users", "nobody-knows"], &["sleep", "60"], |_| {});
    assert_eq!(run.wait().code(), Some(125), "{}", run.log());
    assert!(run.log().contains("nobody-knows"), "{}", run.log());
    // The daemon's own words, and the command does not go on without it.
    let mut run = start(&["--bundle", "/nowhere"], &["sleep", "60"], |_| {});
    assert_eq!(run.wait().code(), Some(125), "{}", run.log());
    assert!(
        run.log().contains("/nowhere/manifest.toml"),
        "{}",
        run.log()
    );
    left_nothing(&run);
}

#[test]
fn host_without_the_sockets_folder_is_told_what_to_set() {
    let mut run = start(&["--socket", "/nowhere/dermald/d.sock"], &["true"], |_| {});
    assert_eq!(run.wait().code(), Some(125));
    let log = run.log();
    assert!(
        log.contains("/nowhere/dermald: the folder cannot be made"),
        "{log}"
    );
    assert!(log.contains("DERMALD_SOCKET"), "{log}");
}

#[test]
fn command_that_follows_a_newer_one_is_told_apart_from_one_in_the_background() {
    let mut run = run_beside_shell(&[], "trap 'setsid sleep 60 & exit 0' USR2");
    run.signal("USR2");
    assert_eq!(run.wait().code(), Some(125), "{}", run.log());
    assert!(run.log().contains("took over on USR2"), "{}", run.log());
}

#[test]
fn command_that_was_told_to_stop_may_leave_processes_behind() {
    let mut run = run_beside_shell(&[], "setsid sleep 60 & trap 'exit 0' TERM");
    run.signal("TERM");
    assert_eq!(run.wait().code(), Some(0), "{}", run.log());
    assert!(!run.log().contains("--daemon"), "{}", run.log());
    left_nothing(&run);
}

#[test]
fn it_is_small_itself() {
    let run = run_beside(&[], &["sleep", "600"]);
    child(&run, "sleep");
    let (rss, anonymous) = (run.memory("VmRSS"), run.memory("RssAnon"));
    println!("{rss} KiB, {anonymous} KiB of them its own");
    assert!(anonymous <= 1024, "{anonymous} KiB of its own");
    // The code of a debug build is larger.
    let limit = if cfg!(debug_assertions) { 16 } else { 8 };
    assert!(rss <= limit * 1024, "{rss} KiB");
}
