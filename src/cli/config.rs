//! `dermald config`: all settings in the form of a configuration file, with their origins.

use clap::ArgMatches;

use super::{load, print};
use crate::config::KEYS;

/// Prints one line a setting. What it prints can be used as a configuration file.
pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let loaded = load(arguments)?;
    for (row, origin) in KEYS.iter().zip(&loaded.origins) {
        let value = (row.show)(&loaded.config);
        let line = if value.is_empty() {
            format!("# {} is not set", row.name)
        } else {
            format!("{} = {}", row.name, toml::Value::String(value))
        };
        print(&format!("{line:<56} # {origin}\n"))?;
    }
    Ok(())
}
