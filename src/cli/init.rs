//! `dermald init`: a configuration file to begin with, with what this machine suggests.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Arg, ArgMatches, Command, value_parser};

use super::{flags, print};
use crate::config::{Config, KEYS, load_flags};
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
            "Writes a TOML file with every setting, its default and what it does. Settings given as \
             flags are set in it; what this machine suggests is set as well and says why. Serve with \
             it:  dermald serve --config dermald.toml",
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
    let config = load_flags(flags(arguments)).map_err(|error| error.to_string())?;
    let text = file(&config.config, &config.origins);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(out)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("{}: {error}", out.display()))?;
    let shown = out.display();
    print(&format!(
        "{shown} is written. What it would come to:  dermald doctor --config {shown}\n"
    ))
}

/// What this machine suggests for a setting that nobody gave, and why.
fn suggestion(name: &str, config: &Config) -> Option<(String, String)> {
    let memory = cgroup::memory();
    if name == "memory_limit" && config.memory_limit.is_none() && memory < LITTLE_MEMORY {
        let why = format!(
            "of {} here: the daemon renews itself before the host kills",
            ByteSize(memory)
        );
        return Some((SHARE.into(), why));
    }
    None
}

fn file(config: &Config, origins: &[String]) -> String {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = ByteSize(cgroup::memory());
    let mut text = format!(
        "# dermald {}. Found here: {cpus} CPUs that may be used, {memory} of memory.\n\
         # Environment variables (DERMALD_...) and flags win over this file.\n",
        env!("CARGO_PKG_VERSION")
    );
    let mut line = |line: &str| writeln!(text, "{line}").expect("a String takes everything");
    for (row, origin) in KEYS.iter().zip(origins) {
        line("");
        for words in wrapped(&format!("{}: {}", row.help, row.form)) {
            line(&format!("# {words}"));
        }
        let set = |value: String| format!("{} = {}", row.name, toml::Value::String(value));
        let value = (row.show)(config);
        match suggestion(row.name, config) {
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
