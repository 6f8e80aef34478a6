//! What `dermald run` is told goes to the right ones.

use super::{child, listens, run_beside, run_beside_shell, says, send};

#[test]
fn hup_reloads_both() {
    let run = run_beside_shell(&[], "trap 'echo heard HUP >&2' HUP");
    run.signal("HUP");
    says(&run, "heard HUP");
    run.until("a renewal", |status| {
        status["renewals"]["counts"]["reload"] == 1
    });
}

#[test]
fn what_gunicorn_knows_goes_to_the_command_alone() {
    let names = ["USR1", "USR2", "TTIN", "TTOU", "WINCH"];
    let traps = names.map(|name| format!("trap 'echo heard {name} >&2' {name}"));
    let run = run_beside_shell(&[], &traps.join("; "));
    let daemon = child(&run, "dermald");
    for name in names {
        run.signal(name);
        says(&run, &format!("heard {name}"));
    }
    assert_eq!(child(&run, "dermald"), daemon);
}

#[test]
fn command_gets_the_signal_to_stop_that_was_sent() {
    for (name, code) in [("INT", 130), ("QUIT", 131)] {
        let mut run = run_beside(&[], &["sleep", "600"]);
        child(&run, "sleep");
        run.signal(name);
        assert_eq!(run.wait().code(), Some(code), "{}", run.log());
    }
}

/// In the sandbox the reload is refused; without one it is taken, but for the socket.
#[test]
fn socket_of_another_place_needs_a_new_start() {
    for (sandbox, words, reloads) in [("auto", "restart needed", 0), ("off", "start that anew", 1)]
    {
        name_another_socket(sandbox, words, reloads);
    }
}

fn name_another_socket(sandbox: &str, words: &str, reloads: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("dermald.toml");
    std::fs::write(&file, "").expect("written");
    let flag = file.display().to_string();
    // The socket comes from the file this time.
    let place = |name: &str| folder.path().join(name).join("d.sock");
    let write =
        |name: &str| std::fs::write(&file, format!("socket = \"{}\"\n", place(name).display()));
    write("old").expect("written");
    let flags = ["--config", &flag, "--sandbox", sandbox];
    let mut run = super::start(&flags, &["sleep", "600"], |command| {
        command.env_remove("DERMALD_SOCKET");
    });
    run.socket = place("old");
    listens(&run);
    run.status();
    write("new").expect("written");
    send(child(&run, "dermald"), "HUP");
    says(&run, words);
    run.until("a renewal", |status| {
        status["renewals"]["counts"]["reload"] == reloads
    });
    assert!(!place("new").exists());
}
