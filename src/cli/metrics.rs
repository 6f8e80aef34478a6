//! `dermald metrics`: the daemon's metrics, as OpenMetrics or in the format that was before it.

use std::collections::HashMap;

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::print;
use super::status::ask;
use crate::wire::message::About;
use crate::wire::{Reply, Request};

pub(super) fn command() -> Command {
    Command::new("metrics")
        .about("Print the daemon's metrics as OpenMetrics text")
        .arg(
            Arg::new("classic")
                .long("classic")
                .action(ArgAction::SetTrue)
                .help(
                    "In Prometheus' text format 0.0.4, for node_exporter's textfile collector and for \
                     promtool",
                ),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    match ask(arguments, &Request::Metrics(About::new(1)))? {
        Reply::Metrics(metrics) if arguments.get_flag("classic") => print(&classic(&metrics.text)),
        Reply::Metrics(metrics) => print(&metrics.text),
        other => Err(format!("unexpected reply: {other:?}")),
    }
}

/// There a metric is called as its samples are, an info is a gauge, and there are neither units nor an
/// end.
fn classic(openmetrics: &str) -> String {
    let kinds: HashMap<&str, &str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut text = String::new();
    for line in openmetrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "EOF"] | ["#", "UNIT", ..] => continue,
            ["#", word, name, rest] => {
                let kind = kinds.get(name).copied().unwrap_or("untyped");
                let ending = match kind {
                    "counter" => "_total",
                    "info" => "_info",
                    _ => "",
                };
                let rest = if word == "TYPE" && kind == "info" {
                    "gauge"
                } else {
                    rest
                };
                text += &format!("# {word} {name}{ending} {rest}");
            }
            _ => text += line,
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_is_called_as_its_samples_are() {
        let openmetrics = "# HELP a_requests How many\n# TYPE a_requests counter\n\
                           a_requests_total{outcome=\"ok\"} 2\n# HELP a_build The daemon\n\
                           # TYPE a_build info\na_build_info{version=\"1\"} 1\n# HELP a_bytes Held\n\
                           # TYPE a_bytes gauge\n# UNIT a_bytes bytes\na_bytes 3\n# EOF\n";
        assert_eq!(
            classic(openmetrics),
            "# HELP a_requests_total How many\n# TYPE a_requests_total counter\n\
             a_requests_total{outcome=\"ok\"} 2\n# HELP a_build_info The daemon\n\
             # TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n# HELP a_bytes Held\n\
             # TYPE a_bytes gauge\na_bytes 3\n"
        );
    }
}
