//! `dermald predict`: classify photos from the command line.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;

use super::connect;
use crate::client::Client;
use crate::wire::message::{
    ColourMap, Explain, Format, OverlayForm, Predict, Prediction, Priority,
};
use crate::wire::{Blob, Extensions, Reply, Request, Text};

/// Width of the bar of a certain class, in characters.
const BAR: f32 = 30.0;

pub(super) fn command() -> Command {
    Command::new("predict")
        .about("Classify photos")
        .arg(
            Arg::new("photos")
                .value_name("PHOTO")
                .value_parser(value_parser!(PathBuf))
                .num_args(1..)
                .required(true)
                .help("JPEG, PNG, WebP, GIF, BMP or TIFF"),
        )
        .arg(
            Arg::new("overlay")
                .long("overlay")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help(
                    "Write the heatmap over the photo; the name ends in .png, .jpg or .webp. With \
                       several photos, each one's name is put in front",
                ),
        )
        .arg(
            Arg::new("target")
                .long("target")
                .value_name("N")
                .value_parser(value_parser!(u32))
                .requires("overlay")
                .help("Explain class N (as numbered by --json) instead of the most probable one"),
        )
        .arg(
            Arg::new("top_k")
                .long("top-k")
                .value_name("N")
                .value_parser(value_parser!(u32))
                .default_value("5")
                .help("How many classes to print; 0 for all"),
        )
        .arg(
            Arg::new("language")
                .long("language")
                .value_name("CODE")
                .help("Language of titles and notice, such as vi"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON object a photo"),
        )
}

pub(super) fn run(arguments: &ArgMatches) -> Result<(), String> {
    let photos: Vec<&PathBuf> = arguments.get_many("photos").into_iter().flatten().collect();
    let overlay = arguments
        .get_one::<PathBuf>("overlay")
        .map(PathBuf::as_path);
    let explain = overlay.map(explain).transpose()?.unwrap_or(Explain::None);
    let overlays = overlay_files(&photos, overlay)?;
    let mut client = connect(arguments)?;
    for (number, photo) in photos.iter().enumerate() {
        let picture = std::fs::read(photo).map_err(|error| named(photo, error))?;
        let request = Predict {
            id: number as u64,
            picture: Blob(Bytes::from(picture)),
            top_k: arguments.get_one("top_k").copied().unwrap_or(0),
            target: arguments.get_one("target").copied(),
            explain: explain.clone(),
            deadline_ms: 0,
            priority: Priority::Interactive,
            language: arguments
                .get_one::<String>("language")
                .map(|code| Text(code.clone())),
            traceparent: None,
            extensions: Extensions::default(),
        };
        let prediction = ask(&mut client, request).map_err(|error| named(photo, error))?;
        super::print(&if arguments.get_flag("json") {
            format!("{}\n", as_json(photo, &prediction))
        } else {
            as_text(photo, &prediction)
        })?;
        if let (Some(path), Some(overlay)) = (overlays.get(number), &prediction.overlay) {
            std::fs::write(path, &overlay.picture.0).map_err(|error| named(path, error))?;
        }
    }
    Ok(())
}

fn named(path: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", path.display())
}

fn ask(client: &mut Client, request: Predict) -> Result<Prediction, String> {
    match client
        .ask(&Request::Predict(request))
        .map_err(|error| error.to_string())?
    {
        Reply::Prediction(prediction) => Ok(prediction),
        other => Err(format!("unexpected reply: {other:?}")),
    }
}

/// The overlay that the name of its file asks for.
fn explain(file: &Path) -> Result<Explain, String> {
    let ending = file
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let format = match ending.as_str() {
        "png" => Format::Png,
        "jpg" | "jpeg" => Format::Jpeg,
        "webp" => Format::Webp,
        _ => return Err(named(file, "the name must end in .png, .jpg or .webp")),
    };
    Ok(Explain::Overlay(OverlayForm {
        format,
        longest_side: 1024,
        colour_map: ColourMap::Jet,
        alpha: 0.4,
    }))
}

/// Where the overlay of each photo goes; nowhere when none was asked for.
fn overlay_files(photos: &[&PathBuf], overlay: Option<&Path>) -> Result<Vec<PathBuf>, String> {
    let Some(overlay) = overlay else {
        return Ok(Vec::new());
    };
    if photos.len() == 1 {
        return Ok(vec![overlay.to_owned()]);
    }
    let mut files: Vec<PathBuf> = Vec::new();
    for photo in photos {
        let file = beside(photo, overlay);
        if let Some(other) = files.iter().position(|taken| *taken == file) {
            let both = format!("{} and {}", photos[other].display(), photo.display());
            return Err(format!(
                "the overlays of {both} would both be {}; ask for them one after the other",
                file.display()
            ));
        }
        files.push(file);
    }
    Ok(files)
}

/// `out.png` for `lesion.jpg` is `lesion-out.png`.
fn beside(photo: &Path, overlay: &Path) -> PathBuf {
    let mut name = photo.file_stem().unwrap_or_default().to_owned();
    name.push("-");
    name.push(overlay.file_name().unwrap_or_default());
    overlay.with_file_name(name)
}

fn as_text(photo: &Path, prediction: &Prediction) -> String {
    let mut lines = vec![photo.display().to_string()];
    for label in &prediction.labels.0 {
        let (percent, title) = (label.probability * 100.0, &label.title);
        let filled = "█".repeat(bar(label.probability));
        lines.push(format!("  {percent:5.1} %  {filled:30}  {title}"));
    }
    for key in ["explanation", "notice"] {
        if let Some(text) = prediction.extensions.get(key) {
            lines.push(format!("  {}", String::from_utf8_lossy(text)));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

/// How much of the bar is filled, in characters.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=1 and multiplied by a small number"
)]
fn bar(probability: f32) -> usize {
    (probability.clamp(0.0, 1.0) * BAR).round() as usize
}

fn as_json(photo: &Path, prediction: &Prediction) -> serde_json::Value {
    let said = |key| {
        prediction
            .extensions
            .get(key)
            .map(|text| String::from_utf8_lossy(text))
    };
    json!({
        "photo": photo.display().to_string(),
        "model": prediction.model,
        "labels": prediction.labels,
        "explained": prediction.explained,
        "timings": prediction.timings,
        "notice": said("notice"),
        "explanation": said("explanation"),
    })
}
