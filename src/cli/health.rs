//! `dermald health`: can predictions be made?
//!
//! With `--json` one object, for programs. Exit codes: 0 ready, or renewing: requests wait a moment; 1 not ready (it starts, stops or failed);
//! 2 unreachable.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;

use super::{connect_to, fail, print, socket};
use crate::client::ClientError;
use crate::wire::message::About;
use crate::wire::{Reply, Request};

/// How often a daemon that is not ready is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// Even without `--wait`, a daemon gets this long for its answer.
const LEAST_PATIENCE: Duration = Duration::from_secs(2);

const UNREACHABLE: u8 = 2;

pub(super) fn command() -> Command {
    Command::new("health")
        .about(
            "Tell whether predictions can be made: exit code 0 ready, 1 not ready, 2 unreachable",
        )
        .arg(
            Arg::new("wait")
                .long("wait")
                .value_name("TIME")
                .value_parser(humantime::parse_duration)
                .help("Wait up to this long for the daemon to be ready, such as 30s"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print state, message, model and version as one JSON object"),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> ExitCode {
    let socket = match socket(arguments) {
        Ok(socket) => socket,
        Err(message) => return fail(&message),
    };
    let wait = arguments
        .get_one::<Duration>("wait")
        .copied()
        .unwrap_or_default();
    let give_up = Instant::now() + wait;
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        let found = connect_to(&socket, arguments, left.max(LEAST_PATIENCE))
            .and_then(|mut client| client.ask(&Request::Health(About::new(1))));
        let found = Found::of(found);
        if found.code == 0 || Instant::now() + PAUSE > give_up {
            let text = if arguments.get_flag("json") {
                found.as_json()
            } else {
                format!("{}: {}\n", found.state, found.message)
            };
            return match print(&text) {
                Ok(()) => ExitCode::from(found.code),
                Err(message) => fail(&message),
            };
        }
        std::thread::sleep(PAUSE);
    }
}

/// What one question came to.
struct Found {
    state: String,
    message: String,
    model: Option<String>,
    version: Option<String>,
    code: u8,
}

impl Found {
    fn of(answer: Result<Reply, ClientError>) -> Self {
        let (state, message, code) = match answer {
            Ok(Reply::Health(health)) => {
                let text = |key| {
                    let value = health.extensions.get(key)?;
                    Some(String::from_utf8_lossy(value).into_owned())
                };
                return Found {
                    model: text("model"),
                    version: text("version"),
                    code: u8::from(!["ready", "renewing"].contains(&&*health.state)),
                    state: health.state.0,
                    message: health.message.0,
                };
            }
            Ok(other) => ("not ready", format!("unexpected reply: {other:?}"), 1),
            Err(error @ ClientError::Unreachable { .. }) => {
                ("unreachable", error.to_string(), UNREACHABLE)
            }
            Err(error) => ("not ready", error.to_string(), 1),
        };
        Found {
            state: state.into(),
            message,
            model: None,
            version: None,
            code,
        }
    }

    fn as_json(&self) -> String {
        let object = json!({
            "state": self.state,
            "ready": self.code == 0,
            "message": self.message,
            "model": self.model,
            "version": self.version,
        });
        format!("{object}\n")
    }
}
