//! `dermald status`: what the daemon tells of itself.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{connect, print, watch};
use crate::wire::message::About;
use crate::wire::{Reply, Request};

pub(super) fn command() -> Command {
    Command::new("status")
        .about("Print everything that the daemon tells of itself, as JSON, or watch it")
        .arg(
            Arg::new("watch")
                .long("watch")
                .action(ArgAction::SetTrue)
                .help("Show it as a picture that is drawn anew until Ctrl-C"),
        )
        .arg(
            Arg::new("every")
                .long("every")
                .value_name("TIME")
                .value_parser(humantime::parse_duration)
                .default_value("1s")
                .requires("watch")
                .help("How often the picture is drawn"),
        )
}

/// Prints the status, indented; or shows it until somebody ends that.
pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    if arguments.get_flag("watch") {
        let every = arguments.get_one::<Duration>("every").copied();
        return watch::run(arguments, every.unwrap_or(Duration::from_secs(1)));
    }
    match ask(arguments, &Request::Status(About::new(1)))? {
        Reply::Status(status) => {
            let value: serde_json::Value =
                serde_json::from_str(&status.json).map_err(|error| error.to_string())?;
            print(&format!("{value:#}\n"))
        }
        other => Err(format!("unexpected reply: {other:?}")),
    }
}

pub(super) fn ask(arguments: &ArgMatches, request: &Request) -> Result<Reply, String> {
    connect(arguments)?
        .ask(request)
        .map_err(|error| error.to_string())
}
