//! Tries a loaded model on what its bundle brings for that: the self-test, and the pace of a run.
//!
//! What is promised there was computed on the machine that the bundle was made on. A deviation is
//! refused: a daemon that answers nothing does less harm than one that answers something else.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Settings;
use super::engine::{Engine, LoadError, RunError, Scores};
use super::interrupt::Interrupt;
use crate::image::{Pixels, Reading, decode, tensor};
use crate::model::BundleError;
use crate::model::manifest::Precision;
use crate::model::prepared::Host;
use crate::model::selftest::{Case, SELF_TEST, SelfTest};

/// How long each model is run to tell its pace.
const PACE_TIME: Duration = Duration::from_secs(2);

impl Engine {
    /// Runs the self-test, whose files are read from `folder`. A bundle without one passes.
    pub(super) fn try_out(
        &mut self,
        settings: &Settings,
        folder: &Path,
        host: &Host,
    ) -> Result<(), LoadError> {
        let bundle = settings.bundle.as_ref();
        let file = bundle.folder.join(SELF_TEST);
        let fault = |message: String| LoadError::Model {
            file: file.clone(),
            message,
        };
        let test = bundle.self_test(folder).map_err(|error| match error {
            BundleError::SelfTest { message, .. } => fault(message),
            other => fault(other.to_string()),
        })?;
        let Some(test) = test else {
            return Ok(());
        };
        for (number, case) in (1..).zip(&test.cases) {
            let name = &case.picture;
            let scores = self
                .run_case(settings, folder, case)
                .map_err(|message| fault(format!("case {number} ({name}): {message}")))?;
            if let Some(deviation) = deviation(&test, case, &scores) {
                let advice = advice(bundle.manifest.precision, host);
                return Err(fault(format!(
                    "case {number} ({name}): {deviation}; this host does not compute what the model \
                     did where it was made: {advice}"
                )));
            }
        }
        Ok(())
    }

    fn run_case(
        &mut self,
        settings: &Settings,
        folder: &Path,
        case: &Case,
    ) -> Result<Scores, String> {
        let input = &settings.bundle.manifest.input;
        let file = std::fs::read(folder.join(&case.picture)).map_err(|error| error.to_string())?;
        let photo = decode::decode(&file, settings.pictures, Reading::of(input, None))
            .map_err(|error| error.to_string())?;
        let (width, height) = photo.pixels.dimensions();
        if (width, height) != (input.width, input.height) {
            return Err(format!(
                "the picture is {width} x {height}, the model takes {} x {}",
                input.width, input.height
            ));
        }
        let tensor = tensor::from_photo(&photo, input);
        let explain = case.heatmap.is_some();
        self.run(&tensor, case.target(), explain, &Interrupt::default())
            .map_err(|error| error.to_string())
    }

    fn run_grey(&mut self) -> Result<Duration, RunError> {
        let input = &self.bundle().manifest.input;
        let grey = Pixels::from_pixel(input.width, input.height, [128; 3].into());
        let grey = tensor::from_photo(&grey.into(), input);
        let started = Instant::now();
        self.run(&grey, None, true, &Interrupt::default())?;
        Ok(started.elapsed())
    }
}

/// Median time of one run of each engine on a grey picture. They take turns, so that what else happens
/// on the host happens to all of them.
pub(super) fn paces(engines: &mut [Engine]) -> Result<Vec<Duration>, LoadError> {
    let mut times = vec![Vec::new(); engines.len()];
    let enough = Instant::now() + PACE_TIME * u32::try_from(engines.len()).unwrap_or(u32::MAX);
    // The first runs read the weights from the disk.
    let mut warm = false;
    while times.iter().any(Vec::is_empty) || Instant::now() < enough {
        for (engine, times) in engines.iter_mut().zip(&mut times) {
            let time = engine.run_grey().map_err(|error| LoadError::Model {
                file: engine.bundle().graph(),
                message: error.to_string(),
            })?;
            if warm {
                times.push(time);
            }
        }
        warm = true;
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    Ok(times.into_iter().map(median).collect())
}

/// The first thing of `scores` that is too far from what the case promises.
fn deviation(test: &SelfTest, case: &Case, scores: &Scores) -> Option<String> {
    let pairs = case.probabilities.iter().zip(&scores.probabilities);
    let (class, furthest) = pairs
        .map(|(expected, found)| (expected - found).abs())
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let tolerance = test.probability_tolerance;
    if furthest > tolerance {
        return Some(format!(
            "the probability of class {class} is {:.4}, expected {:.4}: a difference of \
             {furthest:.4}, the tolerance is {tolerance}",
            scores.probabilities[class], case.probabilities[class]
        ));
    }
    let expected = case.heatmap.as_ref()?;
    let found = scores.heatmap.as_ref().map_or(&[][..], |map| &map.values);
    if expected.len() != found.len() {
        let (expected, found) = (expected.len(), found.len());
        return Some(format!(
            "the heatmap has {found} values, expected {expected}"
        ));
    }
    let pairs = expected.iter().zip(found);
    let sum: f64 = pairs.map(|(a, b)| f64::from((a - b).abs())).sum();
    let mean = sum / u32::try_from(found.len()).map_or(f64::INFINITY, f64::from);
    let tolerance = test.heatmap_tolerance;
    (mean > f64::from(tolerance)).then(|| {
        format!("the heatmap differs by {mean:.4} on average, the tolerance is {tolerance}")
    })
}

/// What to do about a deviation.
fn advice(precision: Precision, host: &Host) -> &'static str {
    match precision {
        Precision::Int8 if host.sums_int8_exactly() => {
            "serve the float32 bundle here, or quantise again with a self-test of this CPU's kind"
        }
        Precision::Int8 => {
            "this CPU has no VNNI, without which 8-bit products saturate; serve the float32 bundle here"
        }
        Precision::Float32 | Precision::Float16 => {
            "try another version of ONNX Runtime, or convert the model again if the self-test is older \
             than the graph"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Heatmap;
    use crate::model::Manifest;

    fn compare(probabilities: [f32; 2], heatmap: [f32; 2]) -> Option<String> {
        let text = "schema = 1\nprobability_tolerance = 0.01\nheatmap_tolerance = 0.1\n\
                    [[cases]]\npicture = \"model.onnx\"\ntarget = -1\nprobabilities = [0.2, 0.8]\n\
                    heatmap = [0.0, 1.0]\n";
        let manifest = Manifest::parse(include_str!("../../tests/data/manifest.toml"));
        let test = SelfTest::parse(text, &manifest.expect("sound")).expect("sound");
        let scores = Scores {
            probabilities: probabilities.into(),
            heatmap: Some(Heatmap {
                height: 1,
                width: 2,
                values: heatmap.into(),
            }),
        };
        deviation(&test, &test.cases[0], &scores)
    }

    #[test]
    fn deviations_name_value_and_tolerance() {
        assert_eq!(compare([0.205, 0.795], [0.1, 0.95]), None);
        let words = compare([0.2, 0.7], [0.0, 1.0]).expect("too far");
        assert!(
            words.contains("class 1 is 0.7000, expected 0.8000"),
            "{words}"
        );
        assert!(words.contains("the tolerance is 0.01"), "{words}");
        let words = compare([0.2, 0.8], [0.5, 1.0]).expect("too far");
        assert!(words.contains("differs by 0.2500 on average"), "{words}");
    }
}
