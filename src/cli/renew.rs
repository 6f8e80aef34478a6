//! `dermald renew`: have the daemon replace its own image, and wait for the new one.

use std::time::Duration;

use clap::{ArgMatches, Command};

use super::{connect_to, print, socket};
use crate::wire::message::About;
use crate::wire::{Reply, Request};

/// The running request is finished first, and a model may have to be prepared for it.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn command() -> Command {
    Command::new("renew")
        .about("Have the daemon start afresh, without losing a connection or a request")
        .long_about(
            "Have the daemon start afresh, without losing a connection or a request: its memory is the \
             system's again, and a newer binary on disk is taken over. Configuration and model stay as \
             they are; to read them anew, send HUP.\n\n\
             Only root and the user that the daemon runs as may ask for it.",
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let mut client =
        connect_to(&socket(arguments)?, arguments, PATIENCE).map_err(|error| error.to_string())?;
    match client.ask(&Request::Renew(About::new(1))) {
        Ok(Reply::Renewed(renewed)) => {
            let pause = Duration::from_micros(renewed.pause_us.into());
            print(&format!(
                "renewed; clients waited {} ms\n",
                pause.as_millis()
            ))
        }
        Ok(other) => Err(format!("unexpected reply: {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}
