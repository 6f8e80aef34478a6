//! `dermald check`: would `dermald serve` start, and with what?

use clap::{Arg, ArgMatches, Command, value_parser};
use nix::sys::signal::Signal;

use super::{file, flags, print};
use crate::daemon::{Enclosure, Setup, inference_settings};
use crate::inference::preparation;
use crate::inference::runtime::Runtime;
use crate::lifecycle::parent;

pub(super) fn command() -> Command {
    Command::new("check")
        .about("Tell whether `serve` would start with these settings; prepare the model on the way")
        .long_about(
            "Reads the configuration and the model as `serve` would, prepares the model for this CPU \
             when that was not done before, loads it once, and tells what is wrong. A running daemon \
             does the same when it is sent HUP, before it gives anything up.",
        )
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("PID")
                .hide(true)
                .value_parser(value_parser!(u32))
                .help("End with the process PID"),
        )
        .arg(
            Arg::new("within")
                .long("within")
                .value_name("JSON")
                .hide(true)
                .help("The sandbox that this runs in"),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    if let Some(parent) = arguments.get_one::<u32>("for") {
        parent::die_with(*parent, Signal::SIGKILL).map_err(|error| error.to_string())?;
    }
    let loaded =
        crate::config::load(file(arguments), flags(arguments)).map_err(|e| e.to_string())?;
    let within = arguments.get_one::<String>("within");
    if let Some(enclosure) = within.and_then(|text| Enclosure::read(text)) {
        enclosure
            .reaches(&loaded)
            .map_err(|error| error.to_string())?;
    }
    let setup = Setup::new(loaded).map_err(|error| error.to_string())?;
    let settings = inference_settings(&setup.loaded.config, setup.bundle);
    let runtime = Runtime::start(settings.library.as_deref()).map_err(|error| error.to_string())?;
    let report = preparation::prepare(&runtime, &settings).map_err(|error| error.to_string())?;
    preparation::try_load(&runtime, &settings, report.graph).map_err(|error| error.to_string())?;
    if arguments.contains_id("for") {
        return print(&settings.bundle.digest);
    }
    let manifest = &settings.bundle.manifest;
    print(&format!(
        "{} {}: ready to be served\n",
        manifest.name, manifest.version
    ))
}
