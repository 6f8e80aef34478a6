//! What the daemon tells us: datagrams of lines, as it would send them to systemd.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixDatagram;

use crate::lifecycle::supervised::IN_WORK;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Clients are served.
    Ready,
    /// Both of its threads move.
    Alive,
    /// The picture with this SHA-256 is in work; none is any more.
    InWork(Option<String>),
}

/// Where they come in: a socket beside the daemon's, which nobody else may write to.
pub(super) struct Notices {
    socket: UnixDatagram,
    path: PathBuf,
    heard: Vec<Notice>,
}

impl Notices {
    /// Opens it beside the daemon's socket. An error names it.
    pub(super) fn beside(socket: &Path) -> io::Result<Self> {
        let mut name = socket.file_name().unwrap_or_default().to_owned();
        name.push(".notify");
        let path = socket.with_file_name(name);
        let socket = open(&path).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let heard = Vec::new();
        Ok(Notices {
            socket,
            path,
            heard,
        })
    }

    /// For the daemon's environment.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until there may be something to take.
    pub(super) async fn readable(&self) {
        if self.socket.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The next, if there is one.
    pub(super) fn take(&mut self) -> Option<Notice> {
        let mut datagram = [0; 4096];
        while self.heard.is_empty() {
            let length = self.socket.try_recv(&mut datagram).ok()?;
            let text = String::from_utf8_lossy(&datagram[..length]);
            self.heard = text.lines().rev().filter_map(read).collect();
        }
        self.heard.pop()
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn open(path: &Path) -> io::Result<UnixDatagram> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(socket)
}

fn read(line: &str) -> Option<Notice> {
    match line {
        "READY=1" => Some(Notice::Ready),
        "WATCHDOG=1" => Some(Notice::Alive),
        line => {
            let digest = line.strip_prefix(IN_WORK)?;
            Some(Notice::InWork(
                (!digest.is_empty()).then(|| digest.to_owned()),
            ))
        }
    }
}
