//! `dermald prepare`: optimises bundles for this CPU.
//!
//! Exit codes: 0 all are prepared, 1 this host cannot, 2 wrong arguments, 3 a model is at fault. A
//! bundle that fails does not keep the others from being prepared; of two faults, 3 is told.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nix::sys::signal::Signal;

use super::{config_flag, fail, flags, load, print};
use crate::config::{Config, load_flags};
use crate::daemon::inference_settings;
use crate::inference::Settings;
use crate::inference::preparation::{self, MODEL_AT_FAULT, PrepareError, Report};
use crate::inference::runtime::Runtime;
use crate::lifecycle::parent;
use crate::model::prepared::Cache;

pub(super) fn command() -> Command {
    let flag =
        |name: &'static str, value: &'static str| Arg::new(name).long(name).value_name(value);
    Command::new("prepare")
        .about("Optimise model bundles for this CPU, once, before they are served")
        .long_about(
            "Checks each bundle, optimises it for this CPU and this ONNX Runtime, tries it on the \
             bundle's own self-test, and keeps the result in the cache, from where `dermald serve` maps \
             it. Without this command the daemon does the same by itself before the first answer, in a \
             child process; as a build step it saves the first visitor the wait. It takes about three \
             times the memory of the model for a second or two, and while it works twice the disk.\n\n\
             What root prepared serves every user; what another user prepared serves nobody else. A new \
             ONNX Runtime or another CPU needs its own preparation; copies that nothing has opened for \
             30 days are removed by the next one.\n\n\
             Exit codes: 0 all are prepared, 1 this host cannot (no room, no rights, no ONNX Runtime), \
             2 wrong arguments, 3 a model is at fault (a changed file, a broken graph, a self-test that \
             deviates here).",
        )
        .arg(
            Arg::new("bundles")
                .value_name("BUNDLE")
                .value_parser(value_parser!(PathBuf))
                .num_args(1..)
                .required(true)
                .help("Folders with a manifest.toml; of several, the times are told side by side"),
        )
        .arg(config_flag())
        .arg(flag("cache", "FOLDER").help("Where the result is kept [env: DERMALD_CACHE]"))
        .arg(flag("threads", "N").help("Threads of the runs that are timed [env: DERMALD_THREADS]"))
        .arg(flag("onnxruntime", "FILE").help("ONNX Runtime's library [env: DERMALD_ONNXRUNTIME]"))
        .arg(
            Arg::new("untimed")
                .long("untimed")
                .action(ArgAction::SetTrue)
                .help("Do not measure how long one run takes"),
        )
        .arg(
            flag("for", "PID")
                .hide(true)
                .value_parser(value_parser!(u32))
                .help("End with the process PID, which gives all settings as flags"),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> ExitCode {
    match prepare_all(arguments) {
        Ok(fault) => fault.unwrap_or(ExitCode::SUCCESS),
        Err(message) => fail(&message),
    }
}

/// The exit code of bundles that could not be prepared, if any.
fn prepare_all(arguments: &ArgMatches) -> Result<Option<ExitCode>, String> {
    let config = configuration(arguments)?;
    let runtime = Runtime::start(config.onnxruntime.as_deref()).map_err(|e| e.to_string())?;
    let mut done = Vec::new();
    let mut faults = Vec::new();
    for folder in arguments
        .get_many::<PathBuf>("bundles")
        .into_iter()
        .flatten()
    {
        match prepare(&runtime, &config, folder) {
            Ok((settings, report)) => {
                print(&describe(folder, &report))?;
                done.push((folder.as_path(), settings, report.graph));
            }
            Err(error) => {
                faults.push(error.is_the_models_fault());
                fail(&error.to_string());
            }
        }
    }
    if !arguments.get_flag("untimed") && !done.is_empty() {
        print(&time(&runtime, done)?)?;
    }
    let worst = faults.into_iter().max();
    Ok(worst.map(|model| {
        if model {
            MODEL_AT_FAULT.into()
        } else {
            ExitCode::FAILURE
        }
    }))
}

fn configuration(arguments: &ArgMatches) -> Result<Config, String> {
    let Some(parent) = arguments.get_one::<u32>("for") else {
        return Ok(load(arguments)?.config);
    };
    parent::die_with(*parent, Signal::SIGKILL).map_err(|error| error.to_string())?;
    let loaded = load_flags(flags(arguments)).map_err(|error| error.to_string())?;
    Ok(loaded.config)
}

fn prepare(
    runtime: &Runtime,
    config: &Config,
    folder: &Path,
) -> Result<(Settings, Report), PrepareError> {
    let bundle = Cache::new(&config.cache).open(folder)?;
    let settings = inference_settings(config, Arc::new(bundle));
    let report = preparation::prepare(runtime, &settings)?;
    Ok((settings, report))
}

fn describe(folder: &Path, report: &Report) -> String {
    let how = if report.was_fresh {
        "was prepared before".to_owned()
    } else {
        format!("prepared in {:.1} s", report.took.as_secs_f64())
    };
    format!(
        "{}: {how}\n  {}\n",
        folder.display(),
        report.graph.display()
    )
}

/// A table of what was prepared, with the time that one run takes here. Shares are of the first.
fn time(runtime: &Runtime, done: Vec<(&Path, Settings, PathBuf)>) -> Result<String, String> {
    let names: Vec<_> = done
        .iter()
        .map(|(folder, settings, _)| {
            (
                folder.display().to_string(),
                settings.bundle.manifest.precision,
            )
        })
        .collect();
    let prepared = done
        .into_iter()
        .map(|(_, settings, graph)| (settings, graph));
    let paces = preparation::paces(runtime, prepared.collect()).map_err(|e| e.to_string())?;
    let width = names
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0)
        .max(6);
    let mut table = format!("\n{:width$}  precision     one run\n", "bundle");
    let milliseconds = |pace: &Duration| pace.as_secs_f64() * 1000.0;
    for ((name, precision), pace) in names.iter().zip(&paces) {
        let share = 100.0 * milliseconds(pace) / milliseconds(&paces[0]);
        let share = if paces.len() > 1 {
            format!("  {share:4.0} %")
        } else {
            String::new()
        };
        table += &format!(
            "{name:width$}  {precision:9}  {:7.2} ms{share}\n",
            milliseconds(pace)
        );
    }
    Ok(table)
}
