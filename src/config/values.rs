//! Values as text: how each kind of setting is read, and how it is shown so that it is read back.
//! `None` means that a text has not the accepted form.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;

use super::{LogFormat, MemoryLimit, MemoryMeasure, OnHang, SandboxPolicy, WaitPolicy};

/// `sun_path` holds 108 bytes with its terminator; the rest is for the name that the socket has
/// while it is made.
pub(super) fn socket(value: &str) -> Option<PathBuf> {
    (value.starts_with('/') && value.len() <= 100).then(|| value.into())
}

pub(super) fn absolute(value: &str) -> Option<PathBuf> {
    value.starts_with('/').then(|| value.into())
}

pub(super) fn existing(value: &str) -> Option<PathBuf> {
    (!value.is_empty()).then(|| value.into())
}

pub(super) fn whole<T: std::str::FromStr + PartialOrd>(
    value: &str,
    least: T,
    most: T,
) -> Option<T> {
    let number = value.parse().ok()?;
    (least..=most).contains(&number).then_some(number)
}

pub(super) fn yes_no(value: &str) -> Option<bool> {
    match value.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

pub(super) fn size(value: &str, most: ByteSize) -> Option<ByteSize> {
    let size = value.parse().ok()?;
    (ByteSize::kib(64)..=most).contains(&size).then_some(size)
}

/// Without rounding, unlike the type's own text.
pub(super) fn show_size(size: ByteSize) -> String {
    let bytes = size.as_u64();
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    units
        .into_iter()
        .find(|(unit, _)| bytes.is_multiple_of(*unit))
        .map_or_else(
            || format!("{bytes}B"),
            |(unit, name)| format!("{}{name}", bytes / unit),
        )
}

pub(super) fn time(value: &str) -> Option<Duration> {
    let time = humantime::parse_duration(value).ok()?;
    (Duration::from_millis(1)..=Duration::from_secs(3600))
        .contains(&time)
        .then_some(time)
}

pub(super) fn show_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// So many a second.
pub(super) fn rate(value: &str) -> Option<f64> {
    let rate: f64 = value.trim().parse().ok()?;
    (rate > 0.0 && rate <= 10_000.0).then_some(rate)
}

/// What turns a limit off.
const OFF: &str = "off";

/// A value that may be [`OFF`].
pub(super) fn unless_off<T>(
    value: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<Option<T>> {
    if value.eq_ignore_ascii_case(OFF) {
        return Some(None);
    }
    read(value).map(Some)
}

pub(super) fn show_unless_off<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| OFF.into(), show)
}

pub(super) fn memory_limit(value: &str) -> Option<MemoryLimit> {
    match value.strip_suffix('%') {
        Some(percent) => whole(percent.trim(), 1, 100).map(MemoryLimit::Percent),
        None => size(value, ByteSize::gib(64)).map(MemoryLimit::Size),
    }
}

pub(super) fn show_memory_limit(limit: MemoryLimit) -> String {
    match limit {
        MemoryLimit::Size(size) => show_size(size),
        MemoryLimit::Percent(percent) => format!("{percent}%"),
    }
}

pub(super) fn memory_measure(value: &str) -> Option<MemoryMeasure> {
    match value.to_lowercase().as_str() {
        "rss" => Some(MemoryMeasure::Rss),
        "anonymous" => Some(MemoryMeasure::Anonymous),
        _ => None,
    }
}

/// A time for which nothing happens: days of it make sense.
pub(super) fn long_time(value: &str) -> Option<Duration> {
    let time = humantime::parse_duration(value).ok()?;
    (Duration::from_millis(1)..=Duration::from_secs(7 * 86400))
        .contains(&time)
        .then_some(time)
}

pub(super) fn list(value: &str) -> Vec<String> {
    let items = value
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty());
    items.map(ToOwned::to_owned).collect()
}

pub(super) fn path(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string())
        .unwrap_or_default()
}

pub(super) fn on_hang(value: &str) -> Option<OnHang> {
    match value.to_lowercase().as_str() {
        "auto" => Some(OnHang::Auto),
        "renew" => Some(OnHang::Renew),
        "exit" => Some(OnHang::Exit),
        "wait" => Some(OnHang::Wait),
        _ => None,
    }
}

pub(super) fn wait_policy(value: &str) -> Option<WaitPolicy> {
    match value.to_lowercase().as_str() {
        "passive" => Some(WaitPolicy::Passive),
        "active" => Some(WaitPolicy::Active),
        _ => None,
    }
}

pub(super) fn log_format(value: &str) -> Option<LogFormat> {
    match value.to_lowercase().as_str() {
        "auto" => Some(LogFormat::Auto),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

pub(super) fn sandbox(value: &str) -> Option<SandboxPolicy> {
    match value.to_lowercase().as_str() {
        "auto" => Some(SandboxPolicy::Auto),
        OFF => Some(SandboxPolicy::Off),
        "required" => Some(SandboxPolicy::Required),
        _ => None,
    }
}
