//! `dermald health`: can predictions be made?
//!
//! Exit codes: 0 ready, or renewing: requests wait a moment; 1 not ready (it starts, stops or failed);
//! 2 unreachable.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Arg, ArgMatches, Command};

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
        let (state, message, code) = match found {
            Ok(Reply::Health(health)) => {
                let code = u8::from(!["ready", "renewing"].contains(&&*health.state));
                (health.state.0, health.message.0, code)
            }
            Ok(other) => (
                "not ready".into(),
                format!("unexpected reply: {other:?}"),
                1,
            ),
            Err(error @ ClientError::Unreachable { .. }) => {
                ("unreachable".into(), error.to_string(), UNREACHABLE)
            }
            Err(error) => ("not ready".into(), error.to_string(), 1),
        };
        if code == 0 || Instant::now() + PAUSE > give_up {
            return match print(&format!("{state}: {message}\n")) {
                Ok(()) => ExitCode::from(code),
                Err(message) => fail(&message),
            };
        }
        std::thread::sleep(PAUSE);
    }
}
