//! `dermald renew`: have the daemon replace its own image, and wait for the new one.

use std::fs;
use std::time::{Duration, Instant};

use clap::{Arg, ArgAction, ArgMatches, Command};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{connect_to, print, socket};
use crate::client::{Client, ClientError};
use crate::wire::message::About;
use crate::wire::{Reply, Request};

/// The running request is finished first, and a model may have to be prepared for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often is looked whether a reload is over.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) fn command() -> Command {
    Command::new("renew")
        .about("Have the daemon start afresh, without losing a connection or a request")
        .long_about(
            "Have the daemon start afresh, without losing a connection or a request: its memory is the \
             system's again, and a newer binary on disk is taken over. Configuration and model stay as \
             they are, unless --reload is given.\n\n\
             Only root and the user that the daemon runs as may ask for it.",
        )
        .arg(
            Arg::new("reload")
                .long("reload")
                .action(ArgAction::SetTrue)
                .help("Read configuration and model anew, as HUP does, and say what came of it"),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let socket = socket(arguments)?;
    let connect = || connect_to(&socket, arguments, PATIENCE);
    if arguments.get_flag("reload") {
        let reloaded = connect().map_err(Failed::from).and_then(|mut client| {
            let reloaded = reload(&mut client);
            if let Err(Failed::Asking(ClientError::GoingAway(_))) = reloaded {
                // Another version took over, which cannot carry this connection and counts anew.
                return connect().map(drop).map_err(Failed::from);
            }
            reloaded
        });
        return match reloaded {
            Ok(()) => print("reloaded\n"),
            Err(error) => Err(error.to_string()),
        };
    }
    let mut client = connect().map_err(|error| error.to_string())?;
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

/// Why a reload failed, or is not known to have been made.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Asking(#[from] ClientError),
    #[error("{0}")]
    Otherwise(String),
}

/// Sends HUP, and waits until the status tells of one more reload, or of one more that was refused.
fn reload(client: &mut Client) -> Result<(), Failed> {
    let before = Reloads::of(client)?;
    tell_to_reload(before.pid).map_err(Failed::Otherwise)?;
    let give_up = Instant::now() + PATIENCE;
    while Instant::now() < give_up {
        std::thread::sleep(PAUSE);
        let now = Reloads::of(client)?;
        if now.refused > before.refused {
            return Err(Failed::Otherwise(now.message));
        }
        if now.made > before.made {
            return Ok(());
        }
    }
    Err(Failed::Otherwise(format!(
        "the daemon was told to reload and has not within {} s; `dermald status` tells what it does",
        PATIENCE.as_secs()
    )))
}

/// The number is the daemon's own word, which means another process when it lives in a container that
/// we do not: one that is no daemon of ours is left alone.
fn tell_to_reload(pid: i32) -> Result<(), String> {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    if words.split(|byte| *byte == 0).nth(1) != Some(b"serve") {
        return Err(format!(
            "process {pid} is no dermald here: where it runs in a container, reload it in there"
        ));
    }
    kill(Pid::from_raw(pid), Signal::SIGHUP).map_err(|errno| match errno {
        Errno::EPERM => "only root and the user that dermald runs as may renew it".into(),
        other => format!("process {pid}: {other}"),
    })
}

/// What the daemon tells of its reloads.
struct Reloads {
    pid: i32,
    made: u64,
    refused: u64,
    message: String,
}

impl Reloads {
    fn of(client: &mut Client) -> Result<Self, Failed> {
        let Reply::Status(status) = client.ask(&Request::Status(About::new(1)))? else {
            return Err(Failed::Otherwise("the daemon tells no status".into()));
        };
        let odd = |error| Failed::Otherwise(format!("its status is not understood: {error}"));
        let status: Value = serde_json::from_str(&status.json).map_err(odd)?;
        let count = |of: &Value| of.as_u64().unwrap_or(0);
        let pid = status["daemon"]["pid"].as_i64();
        Ok(Reloads {
            pid: pid.and_then(|pid| pid.try_into().ok()).unwrap_or_default(),
            made: count(&status["renewals"]["counts"]["reload"]),
            refused: count(&status["outcomes"]["reload_refused"]),
            message: status["message"].as_str().unwrap_or_default().to_owned(),
        })
    }
}
