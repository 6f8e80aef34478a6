//! `dermald status` and `dermald metrics`: print what the daemon tells of itself.

use clap::ArgMatches;

use super::{connect, print};
use crate::wire::message::About;
use crate::wire::{Reply, Request};

/// Prints the status, indented.
pub(super) fn status(arguments: &ArgMatches) -> Result<(), String> {
    match ask(arguments, &Request::Status(About::new(1)))? {
        Reply::Status(status) => {
            let value: serde_json::Value =
                serde_json::from_str(&status.json).map_err(|error| error.to_string())?;
            print(&format!("{value:#}\n"))
        }
        other => Err(format!("unexpected reply: {other:?}")),
    }
}

/// Prints the metrics as they are.
pub(super) fn metrics(arguments: &ArgMatches) -> Result<(), String> {
    match ask(arguments, &Request::Metrics(About::new(1)))? {
        Reply::Metrics(metrics) => print(&metrics.text),
        other => Err(format!("unexpected reply: {other:?}")),
    }
}

fn ask(arguments: &ArgMatches, request: &Request) -> Result<Reply, String> {
    connect(arguments)?
        .ask(request)
        .map_err(|error| error.to_string())
}
