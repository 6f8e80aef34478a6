//! As the first process of a container.

use std::process::Command;

use super::support::{self, root};

#[test]
fn works_as_the_first_process_of_a_container() {
    if !nix::unistd::geteuid().is_root() {
        return println!("NOT TESTED: as process 1, which needs root");
    }
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let socket = folder.path().join("d.sock");
    let socket = socket.to_string_lossy();
    std::fs::set_permissions(
        folder.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .expect("set");
    // An orphan comes to process 1, which must not take it for its own.
    let words = format!(
        "(setsid sleep 0.1 &); sleep 0.3; exec {} health --wait 30s --socket {socket}",
        env!("CARGO_BIN_EXE_dermald")
    );
    let bundle = root().join("models/demo");
    let command = support::command();
    let run = command.get_program().to_owned();
    let first = |words: &str| {
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
            .arg(&run);
        unshare
            .args(["run", "--socket", &socket, "--bundle"])
            .arg(&bundle);
        unshare.args(["--", "sh", "-c", words]);
        unshare.envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        unshare.output().expect("unshare runs")
    };
    let output = first(&words);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("ready"),
        "{log}"
    );
    // The kernel keeps from process 1 what it has no handler for.
    let output = first("trap 'exit 4' TERM; kill -TERM 1; while :; do sleep 0.05; done");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{log}");
}
