//! `dermald init`: a configuration file to begin with, with what this machine suggests.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::{Arg, ArgMatches, Command, value_parser};
use nix::unistd::{AccessFlags, eaccess};

use super::doctor::{Findings, host, model};
use super::{flags, load, print};
use crate::config::{Config, KEYS, Loaded, load_flags};
use crate::lifecycle::cgroup;

/// With less memory than this, a limit keeps the host from killing something, in bytes.
pub(super) const LITTLE_MEMORY: u64 = 2 << 30;

/// The share that leaves room for a site; see docs/memory.md.
pub(super) const SHARE: &str = "45%";

/// As wide as a line of the file may be.
const WIDTH: usize = 100;

pub(super) fn command() -> Command {
    Command::new("init")
        .about("Write a configuration file to begin with, every setting explained")
        .long_about(
            "Looks at this machine as `doctor` does, says what it found, and writes a TOML file with that \
             and with every setting, its default and what it does. Settings given as flags are set in \
             it; what this machine suggests is set as well and says why. Serve with it:  dermald serve \
             --config dermald.toml",
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("FILE")
                .default_value("dermald.toml")
                .value_parser(value_parser!(PathBuf))
                .help("Where to write it; a file that is there is left alone"),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let out = arguments
        .get_one::<PathBuf>("out")
        .expect("it has a default");
    let loaded = load_flags(flags(arguments)).map_err(|error| error.to_string())?;
    let findings = look(arguments);
    let text = file(&loaded, &findings.lines);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(out)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("{}: {error}", out.display()))?;
    findings.end()?;
    let shown = out.display();
    print(&format!(
        "{shown} is written. What it comes to, the model tried:  dermald doctor --config {shown}\n"
    ))
}

/// What doctor would find, but for the model's trial: that waits for the configuration.
fn look(arguments: &ArgMatches) -> Findings {
    let mut findings = Findings::default();
    match load(arguments) {
        Ok(loaded) => {
            host::machine(&mut findings, &loaded.config);
            host::socket(&mut findings, &loaded.config.socket);
            model::library(&mut findings, &loaded.config);
            if loaded.config.bundle.is_some() {
                model::bundle(&mut findings, loaded);
            }
        }
        Err(error) => findings.wrong("configuration", &error),
    }
    findings
}

/// What this machine suggests for a setting that nobody gave, and why.
fn suggestion(name: &str, config: &Config) -> Option<(String, String)> {
    let memory = cgroup::memory();
    // The daemon makes the last folder itself.
    let shared = config.socket.parent().and_then(Path::parent);
    let (value, why) = match name {
        "memory_limit" if config.memory_limit.is_none() && memory < LITTLE_MEMORY => (
            SHARE.into(),
            format!(
                "of {} here: the daemon renews itself before the host kills",
                ByteSize(memory)
            ),
        ),
        "socket" if !shared.is_some_and(Path::is_dir) => (
            "/tmp/dermald/dermald.sock".into(),
            "there is no /dev/shm here; the site needs the same".into(),
        ),
        "cache" if !may_be_made(&config.cache) => (
            format!("/var/tmp/dermald-{}", nix::unistd::geteuid()),
            format!("{} cannot be made here", config.cache.display()),
        ),
        _ => return None,
    };
    Some((value, why))
}

/// Whether we may write where `folder` is, or is to be.
fn may_be_made(folder: &Path) -> bool {
    let there = folder.ancestors().find(|folder| folder.exists());
    there.is_some_and(|there| {
        there.is_dir() && eaccess(there, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    })
}

fn file(loaded: &Loaded, findings: &[String]) -> String {
    let mut text = format!(
        "# dermald {}. Environment variables (DERMALD_...) and flags win over this file.\n\
         #\n\
         # Found here, as `dermald doctor` tells it:\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut line = |line: &str| writeln!(text, "{}", line.trim_end()).expect("a String takes all");
    for finding in findings {
        line(&format!("# {finding}"));
    }
    for (row, origin) in KEYS.iter().zip(&loaded.origins) {
        line("");
        for words in wrapped(&format!("{}: {}", row.help, row.form)) {
            line(&format!("# {words}"));
        }
        let set = |value: String| format!("{} = {}", row.name, toml::Value::String(value));
        let value = (row.show)(&loaded.config);
        match suggestion(row.name, &loaded.config) {
            Some((value, why)) if origin == "default" => line(&format!("{}  # {why}", set(value))),
            _ if origin == "default" => line(&format!("# {}", set(value))),
            _ => line(&set(value)),
        }
    }
    text
}

/// `text` in lines of comment.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        if !last.is_empty() && last.len() + word.len() >= WIDTH {
            lines.push(word.into());
        } else {
            let space = if last.is_empty() { "" } else { " " };
            last.push_str(space);
            last.push_str(word);
        }
    }
    lines
}
