//! The rehearsal of a process that was taken over: it tries what the sandbox is there to prevent, and
//! tells what came of it. Only tests ask for it, and only of debug builds.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::kill;
use nix::unistd::{chroot, getppid};

/// Tries to read `file`, to write beside it, to use the network at `port` of this host, to start
/// a shell, to signal our parent and to change the root. One line for each, `NAME: done` or `NAME: REASON`.
#[must_use]
pub fn attempt(file: &Path, port: u16) -> Vec<String> {
    let host = (Ipv4Addr::LOCALHOST, port);
    let beside = file.with_file_name("escaped");
    let attempts: [(&str, io::Result<()>); 7] = [
        ("read", File::open(file).map(drop)),
        ("write", File::create(beside).map(drop)),
        ("tcp", TcpStream::connect(host).map(drop)),
        ("udp", UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map(drop)),
        (
            "shell",
            Command::new("/bin/sh").args(["-c", ":"]).status().map(drop),
        ),
        ("signal", kill(getppid(), None).map_err(Into::into)),
        ("chroot", chroot("/").map_err(Into::into)),
    ];
    attempts
        .into_iter()
        .map(|(name, outcome)| match outcome {
            Ok(()) => format!("{name}: done"),
            Err(error) => format!("{name}: {error}"),
        })
        .collect()
}
