//! `selftest.toml`: pictures that a bundle brings to be tried on, and what it must answer.
//!
//! A bundle is written on one machine and served on another, whose CPU may compute something else
//! (8-bit sums saturate where VNNI is missing). This module knows what was promised; running it is the
//! business of [`crate::inference`].

use serde::Deserialize;

use super::Manifest;

/// Name of the self-test inside a bundle; a bundle without it is tried on nothing.
pub const SELF_TEST: &str = "selftest.toml";

/// The only form of a self-test that there is so far.
const SCHEMA: u32 = 1;

/// A whole self-test.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfTest {
    schema: u32,
    /// By how much any probability may differ.
    pub probability_tolerance: f32,
    /// By how much the values of a heatmap may differ on average.
    pub heatmap_tolerance: f32,
    /// What is tried; never empty.
    pub cases: Vec<Case>,
}

/// One picture and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// A file of the bundle: a picture of exactly the model's input size.
    pub picture: String,
    /// The class to explain, or -1 for the most probable one.
    target: i64,
    /// One probability a class, in output order, as the daemon answers them.
    pub probabilities: Vec<f32>,
    /// Row by row.
    pub heatmap: Option<Vec<f32>>,
}

impl Case {
    /// The class to explain; `None` is the most probable one.
    #[must_use]
    pub fn target(&self) -> Option<u32> {
        u32::try_from(self.target).ok()
    }
}

impl SelfTest {
    /// Parses `text` and holds it against the manifest of the bundle.
    ///
    /// # Errors
    ///
    /// A sentence that names the key and what is wrong with it.
    pub fn parse(text: &str, manifest: &Manifest) -> Result<Self, String> {
        let test: SelfTest = toml::from_str(text).map_err(|error| error.to_string())?;
        test.check(manifest)?;
        Ok(test)
    }

    fn check(&self, manifest: &Manifest) -> Result<(), String> {
        if self.schema != SCHEMA {
            let found = self.schema;
            return Err(format!("schema is {found}, this dermald reads {SCHEMA}"));
        }
        let tolerances = [
            ("probability_tolerance", self.probability_tolerance),
            ("heatmap_tolerance", self.heatmap_tolerance),
        ];
        for (key, value) in tolerances {
            if !(0.0..=1.0).contains(&value) {
                return Err(format!("{key} is {value}, expected 0 to 1"));
            }
        }
        if self.cases.is_empty() {
            return Err("there must be at least one [[cases]]".into());
        }
        (1..)
            .zip(&self.cases)
            .try_for_each(|(number, case)| case.check(number, manifest))
    }
}

impl Case {
    fn check(&self, number: usize, manifest: &Manifest) -> Result<(), String> {
        let classes = manifest.labels.0.len();
        let picture = &self.picture;
        let gradcam = manifest.gradcam.as_ref();
        let chooses = gradcam.is_some_and(|gradcam| gradcam.target.is_some());
        let wrong = if !manifest.files.contains_key(picture) {
            format!("picture {picture:?} is not listed in the manifest's [files]")
        } else if self.target != -1 && self.target().is_none_or(|class| class as usize >= classes) {
            format!("target is {}, expected -1 to {}", self.target, classes - 1)
        } else if self.target != -1 && !chooses {
            "target must be -1: the model has no input for it".into()
        } else if self.probabilities.len() != classes {
            let count = self.probabilities.len();
            format!("{count} probabilities for {classes} labels")
        } else if !self.probabilities.iter().all(|value| value.is_finite()) {
            "a probability is no number".into()
        } else if self.heatmap.is_some() && gradcam.is_none() {
            "there is a heatmap, but the model has no Grad-CAM".into()
        } else if !self.heatmap.iter().flatten().all(|value| value.is_finite()) {
            "a value of the heatmap is no number".into()
        } else {
            return Ok(());
        };
        Err(format!("case {number}: {wrong}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = r#"
schema = 1
probability_tolerance = 0.001
heatmap_tolerance = 2e-02

[[cases]]
picture = "model.onnx"
target = -1
probabilities = [0.1, 1]
heatmap = [0, 1.0]

[[cases]]
picture = "model.onnx"
target = 1
probabilities = [0.1, 0.9]
"#;

    fn parse(text: &str) -> Result<SelfTest, String> {
        let manifest = include_str!("../../tests/data/manifest.toml");
        SelfTest::parse(text, &Manifest::parse(manifest).expect("a good manifest"))
    }

    #[test]
    fn each_mistake_is_named() {
        let good = parse(TEST).expect("a good self-test");
        assert_eq!(
            (good.cases[0].target(), good.cases[1].target()),
            (None, Some(1))
        );
        let mistakes = [
            ("schema = 1", "schema = 2", "schema is 2"),
            (
                "tolerance = 0.001",
                "tolerance = nan",
                "probability_tolerance is NaN",
            ),
            ("2e-02", "-1.0", "heatmap_tolerance is -1"),
            (
                "\"model.onnx\"",
                "\"other.png\"",
                "case 1: picture \"other.png\" is not listed",
            ),
            (
                "target = 1",
                "target = 2",
                "case 2: target is 2, expected -1 to 1",
            ),
            ("target = 1", "target = -2", "target is -2"),
            (
                "[0.1, 0.9]",
                "[0.1]",
                "case 2: 1 probabilities for 2 labels",
            ),
            ("[0.1, 0.9]", "[0.1, nan]", "a probability is no number"),
            (
                "[0, 1.0]",
                "[0, inf]",
                "a value of the heatmap is no number",
            ),
            ("target = 1", "class = 1", "unknown field `class`"),
            ("schema = 1", "schema = 1\nname = 2", "unknown field `name`"),
        ];
        for (good, bad, expected) in mistakes {
            let text = TEST.replacen(good, bad, 1);
            assert_ne!(text, TEST, "{good:?} is not in the self-test");
            let message = parse(&text).expect_err("the mistake must be found");
            assert!(message.contains(expected), "{message}");
        }
        let empty = TEST.split("[[cases]]").next().expect("a head");
        assert!(parse(&format!("{empty}cases = []")).is_err());
    }
}
