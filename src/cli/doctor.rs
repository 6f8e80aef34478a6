//! `dermald doctor`: what is there, what is wrong with it, and what to do.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bytesize::ByteSize;
use clap::{ArgMatches, Command};
use nix::sys::statvfs::statvfs;

use super::init::{LITTLE_MEMORY, SHARE};
use super::{load, print};
use crate::config::Config;
use crate::daemon::{Setup, inference_settings};
use crate::inference::preparation;
use crate::inference::runtime::Runtime;
use crate::lifecycle::{cgroup, trust};
use crate::model::Bundle;

/// Less room than this for what lies in memory is worth a word, in bytes.
const LITTLE_SHARED_MEMORY: u64 = 16 << 20;

pub(super) fn command() -> Command {
    Command::new("doctor")
        .about("Look at configuration, machine, runtime and model, and say what is wrong")
        .long_about(
            "Looks at everything that `serve` needs, with the same settings, and gives a verdict for \
             each: ok, note (it works, and might work better), or WRONG with what to do. The model is \
             prepared for this CPU if that was not done before, and loaded once. Exit code: 0, or 1 \
             when something is wrong.",
        )
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    text: String,
    wrong: usize,
}

impl Findings {
    fn ok(&mut self, topic: &str, what: &str) {
        self.line("ok", topic, what);
    }

    fn note(&mut self, topic: &str, what: &str) {
        self.line("note", topic, what);
    }

    fn wrong(&mut self, topic: &str, what: &str) {
        self.wrong += 1;
        self.line("WRONG", topic, what);
    }

    fn line(&mut self, verdict: &str, topic: &str, what: &str) {
        let written = writeln!(self.text, "{verdict:<6} {topic:<14} {what}");
        written.expect("a String takes everything");
    }

    /// A finding that is `ok` or wrong, by what it is.
    fn judge<T>(
        &mut self,
        topic: &str,
        found: Result<T, String>,
        say: impl Fn(&T) -> String,
    ) -> Option<T> {
        match found {
            Ok(found) => {
                self.ok(topic, &say(&found));
                Some(found)
            }
            Err(why) => {
                self.wrong(topic, &why);
                None
            }
        }
    }
}

pub(super) fn run(arguments: &ArgMatches) -> ExitCode {
    let mut findings = Findings::default();
    match load(arguments) {
        Err(error) => findings.wrong("configuration", &error),
        Ok(loaded) => {
            let changed = loaded.origins.iter().filter(|origin| *origin != "default");
            findings.ok(
                "configuration",
                &format!("{} settings of yours", changed.count()),
            );
            machine(&mut findings, &loaded.config);
            socket(&mut findings, &loaded.config.socket);
            let config = loaded.config.clone();
            let runtime = runtime(&mut findings, &config);
            let bundle = findings.judge(
                "bundle",
                Setup::new(loaded).map_err(|error| error.to_string()),
                |setup| {
                    let manifest = &setup.bundle.manifest;
                    format!("{} {}", manifest.name, manifest.version)
                },
            );
            match (runtime, bundle) {
                (Some(runtime), Some(setup)) => {
                    model(&mut findings, &config, &runtime, setup.bundle);
                }
                _ => findings.note("model", "not tried: see above"),
            }
        }
    }
    if let Err(error) = print(&findings.text) {
        return super::fail(&error);
    }
    u8::from(findings.wrong > 0).into()
}

/// CPUs and memory, and what of the settings does not suit them.
fn machine(findings: &mut Findings, config: &Config) {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = config.threads;
    if threads > cpus {
        findings.note(
            "CPUs",
            &format!("{cpus} may be used, and threads is {threads}: they will hold each other up"),
        );
    } else {
        findings.ok("CPUs", &format!("{cpus} may be used, threads is {threads}"));
    }
    let all = cgroup::memory();
    let size = ByteSize(all);
    match config.memory_limit {
        None if all < LITTLE_MEMORY => findings.note(
            "memory",
            &format!(
                "{size} for everything here, and memory_limit is not set: with {SHARE} the daemon renews \
                 itself before the host kills something"
            ),
        ),
        None => findings.ok("memory", &format!("{size}, no memory_limit")),
        Some(_) => findings.ok("memory", &format!("{size}, memory_limit is set")),
    }
}

/// The folder of the socket: that of others, and how much room there is.
fn socket(findings: &mut Findings, socket: &Path) {
    let folder = socket.parent().unwrap_or(Path::new("/"));
    let there = folder
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"));
    let topic = "socket";
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return findings.ok(topic, &format!("{}: a daemon answers", socket.display()));
    }
    // The daemon makes the last folder, and no other.
    let is_ready = there == folder;
    if !is_ready && folder.parent() != Some(there) {
        let missing = folder.parent().unwrap_or(folder);
        return findings.wrong(
            topic,
            &format!(
                "{} is not there; set socket (--socket, DERMALD_SOCKET) to a folder of your own, in \
                 /tmp for one",
                missing.display()
            ),
        );
    }
    if is_ready && let Ok(Err(reason)) = trust::folder(folder) {
        return findings.wrong(
            topic,
            &format!(
                "{}: {reason}; set socket to a folder of your own",
                folder.display()
            ),
        );
    }
    match statvfs(there) {
        Err(errno) => findings.wrong(topic, &format!("{}: {errno}", there.display())),
        Ok(found)
            if found
                .flags()
                .contains(nix::sys::statvfs::FsFlags::ST_RDONLY) =>
        {
            findings.wrong(
                topic,
                &format!(
                    "{} cannot be written to; set socket to another folder",
                    there.display()
                ),
            )
        }
        Ok(found) => {
            let free = found.blocks_available() * found.fragment_size();
            let place = format!("{}, {} free there", socket.display(), ByteSize(free));
            if free < LITTLE_SHARED_MEMORY {
                findings.note(
                    topic,
                    &format!("{place}: enough for us, little for gunicorn"),
                );
            } else {
                findings.ok(topic, &place);
            }
        }
    }
}

fn runtime(findings: &mut Findings, config: &Config) -> Option<Runtime> {
    let found = Runtime::start(config.onnxruntime.as_deref());
    findings.judge(
        "ONNX Runtime",
        found.map_err(|error| error.to_string()),
        |runtime| runtime.library().display().to_string(),
    )
}

/// Prepares the model and loads it once, as the daemon would.
fn model(findings: &mut Findings, config: &Config, runtime: &Runtime, bundle: Arc<Bundle>) {
    let settings = inference_settings(config, bundle);
    let report = preparation::prepare(runtime, &settings).map_err(|error| error.to_string());
    let prepared = findings.judge("cache", report, |report| {
        let folder: PathBuf = config.cache.clone();
        if report.was_fresh {
            format!("{}: prepared for this CPU", folder.display())
        } else {
            format!(
                "{}: prepared for this CPU just now, in {:.1?}",
                folder.display(),
                report.took
            )
        }
    });
    let Some(prepared) = prepared else { return };
    let loaded = preparation::try_load(runtime, &settings, prepared.graph);
    findings.judge(
        "model",
        loaded.map_err(|error| error.to_string()),
        |()| match settings.memory {
            Some(_) => "it loads, and fits into memory_limit".into(),
            None => "it loads".into(),
        },
    );
}
