//! `dermald run`: daemon and command together; and `dermald child`, which both are started by.

use std::ffi::OsString;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use nix::sys::signal::Signal;

use super::{load, settings_told_on};
use crate::daemon;
use crate::lifecycle::parent;
use crate::server::peer::Access;
use crate::supervisor::{self, OWN_FAILURE, Plan, process};

/// How long gunicorn gives its workers by default.
const STOP_TIMEOUT: &str = "30s";

pub(super) fn command() -> Command {
    Command::new("run")
        .about("Serve beside a command, such as gunicorn, and end with it")
        .long_about(
            "Starts the daemon and COMMAND and keeps the daemon running until COMMAND ends, for hosts \
             that start one command. A daemon that crashes is started again; callers wait meanwhile. \
             Signals are passed on. COMMAND finds the socket in DERMALD_SOCKET.\n\n\
             dermald run --bundle model -- gunicorn site.wsgi --workers 1\n\n\
             Exit codes: those of COMMAND (128 and the signal's number when a signal ended it); \
             125 when dermald cannot start or COMMAND goes into the background, 126 when COMMAND \
             cannot be run, 127 when there is none.",
        )
        .arg(stop_timeout_flag())
        .arg(
            Arg::new("wait_ready")
                .long("wait-ready")
                .action(ArgAction::SetTrue)
                .help("Start COMMAND only once the daemon serves, or was given up"),
        )
        .arg(rest().required(true))
}

pub(super) fn stop_timeout_flag() -> Arg {
    Arg::new("stop_timeout")
        .long("stop-timeout")
        .value_name("TIME")
        .default_value(STOP_TIMEOUT)
        .value_parser(humantime::parse_duration)
        .help("How long COMMAND may take to end before it is killed")
}

pub(super) fn stop_timeout(arguments: &ArgMatches) -> Duration {
    let given = arguments.get_one::<Duration>("stop_timeout");
    *given.expect("it has a default")
}

/// Everything behind `--`.
pub(super) fn rest() -> Arg {
    Arg::new("command")
        .value_name("COMMAND")
        .value_parser(value_parser!(OsString))
        .num_args(1..)
        .last(true)
        .help("What to run, with its arguments")
}

pub(super) fn run(arguments: &ArgMatches) -> ExitCode {
    match plan(arguments).and_then(|plan| supervisor::run(plan).map_err(|error| error.to_string()))
    {
        Ok(code) => code.into(),
        Err(message) => {
            eprintln!("dermald: {message}");
            OWN_FAILURE.into()
        }
    }
}

fn plan(arguments: &ArgMatches) -> Result<Plan, String> {
    let config = load(arguments)?.config;
    daemon::start_log(&config);
    let access = Access::new(&config.allow_users, &config.allow_groups);
    Ok(Plan {
        guests: access.map_err(|error| error.to_string())?.has_guests(),
        serve: settings_told_on(arguments),
        command: command_words(arguments),
        wait_ready: arguments.get_flag("wait_ready"),
        stop_timeout: stop_timeout(arguments),
        grace: config.grace,
        hang_limit: config.hang_limit,
        socket: config.socket,
    })
}

/// What is behind `--`.
pub(super) fn command_words(arguments: &ArgMatches) -> Vec<OsString> {
    let words = arguments.get_many("command").into_iter().flatten();
    words.cloned().collect()
}

pub(super) fn child_command() -> Command {
    Command::new(process::CHILD)
        .hide(true)
        .about("Become a command whose life is tied to that of the process that started it")
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("PID")
                .required(true)
                .value_parser(value_parser!(u32)),
        )
        .arg(
            Arg::new("signal")
                .long("signal")
                .value_name("NAME")
                .required(true)
                .value_parser(Signal::from_str),
        )
        .arg(rest().required(true))
}

pub(super) fn child(arguments: &ArgMatches) -> ExitCode {
    let parent = arguments.get_one::<u32>("for").expect("clap requires it");
    let signal = arguments
        .get_one::<Signal>("signal")
        .expect("clap requires it");
    let (code, message) = match parent::die_with(*parent, *signal) {
        Ok(()) => process::become_command(&command_words(arguments)),
        Err(error) => (OWN_FAILURE, error.to_string()),
    };
    eprintln!("dermald: {message}");
    code.into()
}
