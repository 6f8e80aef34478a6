//! ONNX Runtime and the model: loaded once, as the daemon would, in a process of their own. A library that
//! this processor cannot run, or a model that takes more memory than there is, ends that process alone.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use bytesize::ByteSize;
use clap::ArgMatches;
use nix::sys::signal::Signal;

use super::Findings;
use crate::cli::{load, settings_told_on};
use crate::config::{Config, Loaded, MemoryLimit};
use crate::daemon::{Setup, StartError, inference_settings};
use crate::inference::preparation;
use crate::inference::runtime::{self, Runtime};
use crate::lifecycle::child::{Child, FOR, Finished};
use crate::lifecycle::{cgroup, parent};

const LIBRARY: &str = "ONNX Runtime";
const CACHE: &str = "cache";
const MODEL: &str = "model";

/// The bundle, and whom the settings admit.
pub(in crate::cli) fn bundle(findings: &mut Findings, loaded: Loaded) -> Option<Setup> {
    match Setup::new(loaded) {
        Ok(setup) => {
            let manifest = &setup.bundle.manifest;
            findings.ok("bundle", &format!("{} {}", manifest.name, manifest.version));
            Some(setup)
        }
        Err(error) => {
            let topic = match error {
                StartError::Access(_) => "access",
                StartError::Descriptors { .. } => "connections",
                _ => "bundle",
            };
            findings.wrong(topic, &error.to_string());
            None
        }
    }
}

/// The library, without loading it.
pub(in crate::cli) fn library(findings: &mut Findings, config: &Config) {
    let found = runtime::find(config.onnxruntime.as_deref())
        .and_then(|library| runtime::fits_this_machine(&library).map(|()| library));
    findings.judge(
        LIBRARY,
        found.map_err(|error| error.to_string()),
        |library| library.display().to_string(),
    );
}

/// Has another process [try](trial) library and model, and takes over what it found.
pub(super) fn try_in_a_process(findings: &mut Findings, arguments: &ArgMatches) {
    let tried = Child::start(
        Path::new("/proc/self/exe"),
        "doctor",
        settings_told_on(arguments),
    )
    .and_then(|child| child.finish(|| true));
    let Finished {
        status,
        printed,
        complaint,
    } = match tried {
        Ok(Some(finished)) => finished,
        Ok(None) => return,
        Err(error) => return findings.wrong(MODEL, &format!("no process can be started: {error}")),
    };
    for line in printed.lines() {
        findings.take(line);
    }
    let Some(signal) = status.signal() else {
        if !matches!(status.code(), Some(0 | 1)) {
            findings.wrong(MODEL, &complaint);
        }
        return;
    };
    let topics = [LIBRARY, CACHE, MODEL];
    let topic = topics.into_iter().find(|topic| !findings.tell_of(topic));
    findings.wrong(topic.unwrap_or(MODEL), &ended_by(signal, topic));
}

/// What a signal means that ended it at `topic`.
fn ended_by(number: i32, topic: Option<&str>) -> String {
    let step = match topic {
        Some(LIBRARY) => "loading the library",
        Some(CACHE) => "preparing the model",
        _ => "loading the model",
    };
    let signal = Signal::try_from(number);
    let name = signal.map_or_else(|_| number.to_string(), |signal| signal.to_string());
    let memory = ByteSize(cgroup::memory());
    let what = match signal {
        Ok(Signal::SIGILL) => {
            "this processor lacks an instruction that it needs: install another ONNX Runtime".into()
        }
        Ok(Signal::SIGKILL | Signal::SIGABRT) => format!(
            "most likely there is too little memory (of {memory} for everything here): prepare the model \
             elsewhere, or take a smaller one"
        ),
        _ => "install ONNX Runtime anew, and try another version of it".into(),
    };
    format!("{step} ended with {name}; {what}")
}

/// That process's own part. Its exit code says as little as that of a doctor.
pub(super) fn trial(findings: &mut Findings, arguments: &ArgMatches, parent: u32) -> Option<()> {
    if let Err(error) = parent::die_with(parent, Signal::SIGKILL) {
        findings.wrong(MODEL, &error.to_string());
        return None;
    }
    let loaded = load(arguments).ok()?;
    let mut config = loaded.config.clone();
    let found = Runtime::start(config.onnxruntime.as_deref()).map_err(|error| error.to_string());
    let runtime = findings.judge(LIBRARY, found, |runtime| {
        runtime.library().display().to_string()
    });
    let Ok(setup) = Setup::new(loaded) else {
        findings.note(MODEL, "not tried: see above");
        return None;
    };
    let Some(runtime) = runtime else {
        findings.note(MODEL, "not tried: see above");
        return None;
    };
    // What it takes is wanted in any case.
    let is_limited = config.memory_limit.is_some();
    config
        .memory_limit
        .get_or_insert(MemoryLimit::Size(ByteSize(u64::MAX)));
    let settings = inference_settings(&config, setup.bundle);
    let report = preparation::prepare(&runtime, &settings).map_err(|error| error.to_string());
    let prepared = findings.judge(CACHE, report, |report| {
        let folder = config.cache.display();
        if report.was_fresh {
            format!("{folder}: prepared for this CPU")
        } else {
            let took = report.took;
            format!("{folder}: prepared for this CPU just now, in {took:.1?}")
        }
    })?;
    let tried = preparation::try_load(&runtime, &settings, prepared.graph);
    let tried = tried
        .map_err(|error| error.to_string())
        .and_then(|floor| match floor {
            Some(floor) if floor.total() > cgroup::memory() => Err(format!(
                "{} for everything here is too little: {floor}; lower queue_bytes and frame_bytes, or \
                 take a smaller model",
                ByteSize(cgroup::memory())
            )),
            _ => Ok(()),
        });
    findings.judge(MODEL, tried, |()| {
        if is_limited {
            "it loads, and fits into memory_limit".into()
        } else {
            "it loads".into()
        }
    })
}

/// The flag of that process.
pub(super) fn for_flag() -> clap::Arg {
    clap::Arg::new("for")
        .long(&FOR[2..])
        .value_name("PID")
        .hide(true)
        .value_parser(clap::value_parser!(u32))
        .help("Try the model for the process PID")
}
