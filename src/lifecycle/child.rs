//! A process of our own that does something for us, dies with us, and says what was wrong.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child as Process, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the end of the process is looked for.
const PAUSE: Duration = Duration::from_millis(10);

/// The flag by which it learns for whom it works; see [`die_with`](super::parent::die_with).
pub const FOR: &str = "--for";

/// A running `dermald`. It has none of our descriptors: all that we open are closed by `exec`.
pub struct Child {
    process: Process,
    /// Reads what it says, so that it never waits for us to read.
    said: JoinHandle<String>,
}

/// How it ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code, or the signal that ended it.
    pub status: ExitStatus,
    /// Its standard output.
    pub printed: String,
    /// What it said was wrong.
    pub complaint: String,
}

impl Child {
    /// Starts `binary` with a command of ours and its arguments. The thread that calls this must live
    /// until [`finish`](Self::finish) returns: the kernel ends the child with it.
    ///
    /// # Errors
    ///
    /// When no process or thread can be started.
    pub fn start<A: AsRef<OsStr>>(
        binary: &Path,
        command: &str,
        arguments: impl IntoIterator<Item = A>,
    ) -> io::Result<Self> {
        let mut process = Command::new(binary)
            .arg0("dermald")
            .arg(command)
            .arg(FOR)
            .arg(std::process::id().to_string())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stderr = process.stderr.take().expect("it was asked for just above");
        let said = std::thread::Builder::new()
            .name(command.into())
            .stack_size(64 * 1024)
            .spawn(move || complaint(stderr));
        match said {
            Ok(said) => Ok(Child { process, said }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error)
            }
        }
    }

    /// Waits for its end; `None` when it was ended because `go_on` said no. What it prints must fit into
    /// a pipe.
    ///
    /// # Errors
    ///
    /// When the kernel does not know it.
    pub fn finish(mut self, go_on: impl Fn() -> bool) -> io::Result<Option<Finished>> {
        loop {
            match self.process.try_wait()? {
                Some(status) => {
                    let mut printed = String::new();
                    if let Some(mut stdout) = self.process.stdout.take() {
                        stdout.read_to_string(&mut printed)?;
                    }
                    return Ok(Some(Finished {
                        status,
                        printed,
                        complaint: self.said.join().unwrap_or_default(),
                    }));
                }
                None if go_on() => std::thread::sleep(PAUSE),
                None => {
                    let _ = self.process.kill();
                    let _ = self.process.wait();
                    return Ok(None);
                }
            }
        }
    }
}

/// What a process complains of at its end: everything from the last line that begins with our name.
fn complaint(mut stderr: ChildStderr) -> String {
    const KEPT: usize = 16 * 1024;
    const NAME: &str = "dermald: ";
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut piece) {
        text.extend_from_slice(&piece[..read]);
        let surplus = text.len().saturating_sub(KEPT);
        text.drain(..surplus);
    }
    let text = String::from_utf8_lossy(&text);
    let start = text.rfind(NAME).map_or(0, |at| at + NAME.len());
    let complaint = text[start..].trim();
    if complaint.is_empty() {
        return "it said nothing".into();
    }
    complaint.to_owned()
}
