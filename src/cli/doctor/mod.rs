//! `dermald doctor`: what is there, what is wrong with it, and what to do.
//!
//! - [`host`]: CPUs, memory, the socket's place, the sandbox.
//! - [`model`]: bundle, ONNX Runtime, cache, model.
//! - [`start`]: the command of `dermald run`.
//! - [`findings`]: a verdict for each.

mod findings;
pub(super) mod host;
pub(super) mod model;
mod start;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use super::load;
use super::run::{command_words, rest, stop_timeout, stop_timeout_flag};
use crate::config::SandboxPolicy;
pub(super) use findings::Findings;

pub(super) fn command() -> Command {
    Command::new("doctor")
        .about("Look at configuration, machine, runtime and model, and say what is wrong")
        .long_about(
            "Looks at everything that `serve` needs, with the same settings, and gives a verdict for \
             each: ok, note (it works, and might work better), or WRONG with what to do. The model is \
             prepared for this CPU if that was not done before, and loaded once. What `run` is to start \
             is looked at as well when it is named:\n\n\
             dermald doctor --bundle model -- gunicorn site.wsgi --workers 1\n\n\
             Exit code: 0, or 1 when something is wrong.",
        )
        .arg(stop_timeout_flag())
        .arg(model::for_flag())
        .arg(rest())
}

pub(super) fn run(arguments: &ArgMatches) -> ExitCode {
    let mut findings = Findings::default();
    if let Some(parent) = arguments.get_one::<u32>("for") {
        model::trial(&mut findings, arguments, *parent);
    } else {
        look(&mut findings, arguments);
    }
    match findings.end() {
        Ok(wrong) => u8::from(wrong > 0).into(),
        Err(error) => super::fail(&error),
    }
}

fn look(findings: &mut Findings, arguments: &ArgMatches) {
    let words = command_words(arguments);
    start::command(findings, &words, stop_timeout(arguments));
    let mut loaded = match load(arguments) {
        Ok(loaded) => loaded,
        Err(error) => return findings.wrong("configuration", &error),
    };
    let changed = loaded.origins.iter().filter(|origin| *origin != "default");
    findings.ok(
        "configuration",
        &format!("{} settings of yours", changed.count()),
    );
    host::machine(findings, &loaded.config);
    host::socket(findings, &loaded.config.socket);
    host::sandbox(findings, &loaded.config);
    // Told once is enough: the bundle is not at fault.
    loaded.config.sandbox = SandboxPolicy::Auto;
    model::bundle(findings, loaded);
    model::try_in_a_process(findings, arguments);
}
