//! `dermald status --watch`: the status as a picture in the terminal, drawn anew again and again.

use std::time::Duration;

use clap::ArgMatches;
use console::{Term, measure_text_width, style, truncate_str};
use serde_json::Value;

use super::{connect, print};
use crate::client::Client;
use crate::wire::message::About;
use crate::wire::{Reply, Request};

/// Where the figures begin.
const INDENT: usize = 13;

/// A terminal whose width nobody knows.
const COLUMNS: usize = 80;

/// The longest bar and the longest line over time, in characters.
const LONGEST: usize = 60;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws until somebody ends it. A daemon that is away is told, and looked for again.
pub(super) fn run(arguments: &ArgMatches, every: Duration) -> Result<(), String> {
    let term = Term::stdout();
    let mut client: Option<Client> = None;
    loop {
        let columns = if term.is_term() {
            usize::from(term.size().1)
        } else {
            COLUMNS
        };
        let picture = match ask(arguments, &mut client) {
            Ok(status) => picture(&status, columns),
            Err(error) => {
                client = None;
                format!("{}\n", style(error).red())
            }
        };
        if term.is_term() {
            term.clear_screen().map_err(|error| error.to_string())?;
        }
        print(&picture)?;
        std::thread::sleep(every);
    }
}

fn ask(arguments: &ArgMatches, client: &mut Option<Client>) -> Result<Value, String> {
    let client = match client {
        Some(client) => client,
        None => client.insert(connect(arguments)?),
    };
    let reply = client.ask(&Request::Status(About::new(1)));
    match reply.map_err(|error| error.to_string())? {
        Reply::Status(status) => {
            serde_json::from_str(&status.json).map_err(|error| error.to_string())
        }
        other => Err(format!("unexpected reply: {other:?}")),
    }
}

/// All of it, each line at most `columns` wide.
fn picture(status: &Value, columns: usize) -> String {
    let width = columns.saturating_sub(INDENT + 1).clamp(10, LONGEST);
    let lines = [
        ("dermald", headline(status)),
        ("model", model(status)),
        ("memory", memory(status, width)),
        ("", memory_by_kind(status)),
        ("last hour", over_time(status, width)),
        ("renewals", renewals(status)),
        ("queue", queue(status)),
        ("answers", counts(&status["outcomes"])),
        ("connections", status["connections"].to_string()),
    ];
    lines.iter().fold(String::new(), |text, (name, line)| {
        let line = format!("{} {line}", style(format!("{name:<0$}", INDENT - 1)).dim());
        text + &truncate_str(&line, columns, "…") + "\n"
    })
}

fn headline(status: &Value) -> String {
    let state = status["state"].as_str().unwrap_or("?");
    let state = match state {
        "ready" => style(state).green(),
        "renewing" | "starting" => style(state).yellow(),
        _ => style(state).red(),
    };
    let uptime = duration(number(&status["uptime_seconds"]));
    let (version, message) = (text(&status["daemon"]["version"]), text(&status["message"]));
    format!("{version}, up {uptime}: {} ({message})", state.bold())
}

fn model(status: &Value) -> String {
    let model = &status["model"];
    let input = &model["input"];
    format!(
        "{} {}, {} x {}, {}, {}",
        text(&model["name"]),
        text(&model["version"]),
        input["width"],
        input["height"],
        model["method"].as_str().unwrap_or("no Grad-CAM"),
        if model["loaded"] == true {
            "loaded"
        } else {
            "not loaded"
        },
    )
}

/// How much of the threshold is used.
fn memory(status: &Value, width: usize) -> String {
    let measure = status["memory_measure"].as_str().unwrap_or("rss");
    let held = number(&status["memory"][measure]);
    let Some(limit) = status["memory_limit"].as_f64() else {
        return format!("{} {measure}, without a threshold", mib(held));
    };
    let share = (held / limit).clamp(0.0, 1.0);
    let words = format!(" {} of {} {measure}", mib(held), mib(limit));
    let cells = width.saturating_sub(measure_text_width(&words)).max(5);
    let full = whole(share * cells as f64).min(cells);
    let bar = "█".repeat(full);
    let bar = if share > 0.9 {
        style(bar).red()
    } else {
        style(bar).green()
    };
    format!("{bar}{}{words}", style("░".repeat(cells - full)).dim())
}

fn memory_by_kind(status: &Value) -> String {
    let memory = &status["memory"];
    let of = |kind: &str| mib(number(&memory[kind]));
    format!(
        "{} in no file, {} at its highest",
        of("anonymous"),
        of("peak")
    )
}

/// The highest figures of each part of the last hour, and where a renewal lay.
fn over_time(status: &Value, width: usize) -> String {
    let history = &status["memory_history"]["hour"];
    let measure = status["memory_measure"].as_str().unwrap_or("rss");
    let column = position(&history["columns"], measure);
    let ago = position(&history["columns"], "seconds_ago");
    let samples: Vec<(f64, f64)> = rows(&history["samples"])
        .map(|row| (number(&row[ago]), number(&row[column])))
        .collect();
    let oldest = samples.iter().map(|(ago, _)| *ago).fold(1.0, f64::max);
    let cell = |ago: f64| whole((1.0 - ago / oldest) * (width - 1) as f64).min(width - 1);
    let mut highest = vec![0.0_f64; width];
    for (ago, held) in &samples {
        highest[cell(*ago)] = highest[cell(*ago)].max(*held);
    }
    let top = highest
        .iter()
        .copied()
        .fold(number(&status["memory_limit"]).max(1.0), f64::max);
    let renewed: Vec<usize> = rows(&status["renewals"]["recent"])
        .map(|renewal| number(&renewal["seconds_ago"]))
        .filter(|ago| *ago <= oldest)
        .map(cell)
        .collect();
    let cells = highest.iter().enumerate().map(|(place, held)| {
        let level = whole(held / top * (LEVELS.len() - 1) as f64).min(LEVELS.len() - 1);
        match held {
            _ if renewed.contains(&place) => style("│".to_owned()).yellow().to_string(),
            0.0 => " ".to_owned(),
            _ => LEVELS[level].to_string(),
        }
    });
    cells.collect()
}

fn renewals(status: &Value) -> String {
    let renewals = &status["renewals"];
    let by_reason = counts(&renewals["counts"]);
    match rows(&renewals["recent"]).last() {
        None => "none".into(),
        Some(last) => format!(
            "{by_reason}; the last {} ago, {} ms ({})",
            duration(number(&last["seconds_ago"])),
            last["pause_ms"],
            text(&last["reason"]),
        ),
    }
}

fn queue(status: &Value) -> String {
    let queue = &status["queue"];
    format!(
        "{} of {} requests, {} of {}, {}",
        queue["requests"],
        queue["limit_requests"],
        mib(number(&queue["bytes"])),
        mib(number(&queue["limit_bytes"])),
        if queue["running"] == true {
            "one is running"
        } else {
            "nothing runs"
        },
    )
}

/// What was counted, without what never happened.
fn counts(by_name: &Value) -> String {
    let counted = by_name.as_object().into_iter().flatten();
    let words: Vec<String> = counted
        .filter(|(_, count)| number(count) > 0.0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if words.is_empty() {
        "none".into()
    } else {
        words.join(", ")
    }
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn position(columns: &Value, name: &str) -> usize {
    rows(columns).position(|column| column == name).unwrap_or(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / 1_048_576.0)
}

fn duration(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.max(0.0).round());
    humantime::format_duration(whole).to_string()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places on a line of some dozen characters"
)]
fn whole(value: f64) -> usize {
    value.max(0.0).round() as usize
}
