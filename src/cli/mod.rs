//! The command line: arguments, and one file for each command.
//!
//! Exit codes: 0 it worked, 1 it did not, 2 wrong arguments. `dermald health` tells more with them,
//! see [`health`], and so do `dermald prepare`, see [`prepare`], and `dermald run`, see [`run`].

mod check;
mod config;
mod doctor;
mod health;
mod init;
mod metrics;
mod predict;
mod prepare;
mod renew;
mod run;
mod status;
mod watch;

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::client::{Client, ClientError, PATIENCE};
use crate::config::{Given, KEYS, Loaded, environment};
use crate::daemon::{self, Predecessor, Setup, StartError};
use crate::lifecycle::{allocator, signals, supervised};
use crate::supervisor::process;

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    crate::config::environment::forbid_telemetry();
    allocator::share_one_heap();
    let matches = command().get_matches();
    let result = match matches.subcommand() {
        Some(("serve", arguments)) => serve(arguments),
        Some(("run", arguments)) => return run::run(arguments),
        Some((process::CHILD, arguments)) => return run::child(arguments),
        Some(("doctor", arguments)) => return doctor::run(arguments),
        Some(("init", arguments)) => init::run(arguments),
        Some(("check", arguments)) => check::run(arguments),
        Some(("renew", arguments)) => renew::run(arguments),
        Some(("prepare", arguments)) => return prepare::run(arguments),
        Some(("predict", arguments)) => predict::run(arguments),
        Some(("health", arguments)) => return health::run(arguments),
        Some(("status", arguments)) => status::run(arguments),
        Some(("metrics", arguments)) => metrics::run(arguments),
        Some(("config", arguments)) => config::run(arguments),
        _ => unreachable!("clap accepts no other command"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

/// Says why on standard error.
fn fail(message: &str) -> ExitCode {
    eprintln!("dermald: {message}");
    ExitCode::FAILURE
}

/// All commands. Public for the test that checks the help.
#[must_use]
pub fn command() -> Command {
    Command::new("dermald")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Image classification with Grad-CAM beside gunicorn")
        .long_about(
            "dermald classifies pictures for a Django site and shows with Grad-CAM where the model \
             looked. It runs beside gunicorn and is asked over a Unix socket.\n\n\
             Start it:       dermald serve --bundle models/demo\n\
             Ask it:         dermald predict photo.jpg --overlay overlay.png\n\
             Is it there?    dermald health --wait 30s\n\
             How is it?      dermald status --watch\n\
             What is wrong?  dermald doctor",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(with_settings(
            Command::new("serve")
                .about("Serve a model bundle until TERM or INT")
                .arg(
                    Arg::new("renewed")
                        .long("renewed")
                        .value_name("FD")
                        .hide(true)
                        .value_parser(value_parser!(RawFd))
                        .help("What the image before left"),
                ),
        ))
        .subcommand(with_settings(run::command()))
        .subcommand(run::child_command())
        .subcommand(with_settings(check::command()))
        .subcommand(with_settings(doctor::command()))
        .subcommand(with_settings(init::command()))
        .subcommand(with_socket(renew::command()))
        .subcommand(prepare::command())
        .subcommand(with_socket(predict::command()))
        .subcommand(with_socket(health::command()))
        .subcommand(with_socket(status::command()))
        .subcommand(with_socket(metrics::command()))
        .subcommand(with_settings(
            Command::new("config").about("Print all settings and where each value came from"),
        ))
}

fn config_flag() -> Arg {
    Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("The configuration file (TOML) [env: DERMALD_CONFIG]")
}

/// Adds a flag for every setting.
fn with_settings(command: Command) -> Command {
    let flags = KEYS.iter().map(|row| {
        let also = row.also.map(|also| format!(", {also}")).unwrap_or_default();
        let default = (row.show)(&crate::config::Config::default());
        let default = if default.is_empty() {
            default
        } else {
            format!(" [default: {default}]")
        };
        Arg::new(row.name)
            .long(row.name.replace('_', "-"))
            .value_name(row.value)
            .help(format!(
                "{} [env: {}{also}]{default}",
                row.help, row.variable
            ))
    });
    command.arg(config_flag()).args(flags)
}

/// Adds what every command needs that talks to a daemon.
fn with_socket(command: Command) -> Command {
    command
        .arg(config_flag())
        .arg(
            Arg::new("socket")
                .long("socket")
                .value_name("PATH")
                .help("The daemon's socket [env: DERMALD_SOCKET]"),
        )
        .arg(
            Arg::new("daemon_uid")
                .long("daemon-uid")
                .value_name("N")
                .value_parser(value_parser!(u32))
                .help("The user that the daemon runs as, when it is neither we nor root"),
        )
}

/// Loads the configuration that the arguments ask for.
fn load(arguments: &ArgMatches) -> Result<Loaded, String> {
    crate::config::load(file(arguments), flags(arguments)).map_err(|error| error.to_string())
}

/// The socket that the arguments ask for.
fn socket(arguments: &ArgMatches) -> Result<PathBuf, String> {
    crate::config::load_socket(file(arguments), flags(arguments)).map_err(|error| error.to_string())
}

fn file(arguments: &ArgMatches) -> Option<&Path> {
    arguments.get_one::<PathBuf>("config").map(PathBuf::as_path)
}

fn flags(arguments: &ArgMatches) -> Vec<Given> {
    let given = KEYS.iter().filter_map(|row| {
        let value = arguments.try_get_one::<String>(row.name).ok()??;
        let origin = format!("flag --{}", row.name.replace('_', "-"));
        Some(Given {
            origin,
            key: row.name,
            value: value.clone(),
        })
    });
    given.collect()
}

/// What we were told of settings, for another process of ours.
fn settings_told_on(arguments: &ArgMatches) -> Vec<OsString> {
    let mut told: Vec<OsString> = Vec::new();
    if let Some(file) = file(arguments) {
        told.extend(["--config".into(), file.into()]);
    }
    for given in flags(arguments) {
        told.push(format!("--{}={}", given.key.replace('_', "-"), given.value).into());
    }
    told
}

/// Prints to standard output. A reader that has gone (`| head`) is no error, a full disk is.
fn print(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(()),
    }
}

/// Connects to the daemon that the arguments name.
fn connect(arguments: &ArgMatches) -> Result<Client, String> {
    connect_to(&socket(arguments)?, arguments, PATIENCE).map_err(|error| error.to_string())
}

fn connect_to(
    socket: &Path,
    arguments: &ArgMatches,
    patience: Duration,
) -> Result<Client, ClientError> {
    let trusted = arguments.get_one::<u32>("daemon_uid").copied();
    Client::connect(socket, trusted, patience)
}

fn serve(arguments: &ArgMatches) -> Result<(), String> {
    // Before the first thread: each is born with signals held.
    signals::hold().map_err(|error| error.to_string())?;
    let served = match arguments.get_one::<RawFd>("renewed") {
        None => serve_first(arguments),
        Some(fd) => serve_on(arguments, *fd),
    };
    served.map_err(|error| error.to_string())
}

fn serve_first(arguments: &ArgMatches) -> Result<(), StartError> {
    let given = supervised::listener()?;
    let loaded = crate::config::load(file(arguments), flags(arguments))?;
    daemon::start_log(&loaded.config);
    if environment::rehearses("crash") {
        std::process::abort();
    }
    if environment::rehearses("stop") {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
    }
    daemon::serve(Setup::new(loaded)?, given)
}

fn serve_on(arguments: &ArgMatches, fd: RawFd) -> Result<(), StartError> {
    let configuration = || Ok(crate::config::load(file(arguments), flags(arguments))?);
    let successor = Predecessor::take(fd)?.succeed(configuration)?;
    daemon::start_log(&successor.setup.loaded.config);
    for remark in &successor.remarks {
        tracing::error!("{remark}");
    }
    daemon::go_on(successor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent_and_every_setting_has_its_flag() {
        let mut command = command();
        command.clone().debug_assert();
        let serve = command.find_subcommand_mut("serve").expect("it exists");
        let help = serve.render_long_help().to_string();
        for row in KEYS {
            assert!(
                help.contains(&format!("--{}", row.name.replace('_', "-"))),
                "{}",
                row.name
            );
            assert!(help.contains(row.variable), "{}", row.variable);
        }
    }
}
