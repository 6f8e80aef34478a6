//! A control group whose memory is limited, to start a process in.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Gone when it is dropped, if nobody is in it any more.
pub struct MemoryGroup(PathBuf);

impl MemoryGroup {
    /// None where there may be none, which it says.
    pub fn with(mebibytes: u64) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("dermald-test-{}-{number}", std::process::id());
        let places = [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ];
        let made = places.into_iter().find_map(|(place, limit)| {
            let folder = PathBuf::from(place).join(&name);
            std::fs::create_dir(&folder).ok()?;
            let group = MemoryGroup(folder);
            group.write(limit, mebibytes << 20).ok()?;
            // Nor into swap, where the kernel counts it.
            let _ = group.write("memory.memsw.limit_in_bytes", mebibytes << 20);
            let _ = group.write("memory.swap.max", 0);
            Some(group)
        });
        if made.is_none() {
            println!("NOT TESTED: in a limited memory, which needs root and the controller");
        }
        made
    }

    /// Nothing is made: where no controller is, a folder of that name is a folder.
    fn write(&self, file: &str, value: u64) -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(self.0.join(file))?;
        file.write_all(value.to_string().as_bytes())
    }

    /// Has the program of `command` start within. What else was said of it, but its variables, is lost.
    pub fn enclose(&self, command: &mut Command) {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(self.0.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        for (name, value) in command.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        *command = shell;
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whoever was in it may be a moment in leaving.
        for _ in 0..50 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
