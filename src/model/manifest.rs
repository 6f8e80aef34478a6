//! `manifest.toml`: what a model expects and what its numbers mean.
//!
//! Unknown keys are errors: a misspelt `mean` would otherwise cost accuracy and say nothing.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::input::Input;

/// The only form of a manifest that there is so far.
pub const SCHEMA: u32 = 1;

/// The largest input side that is believed, in pixels. Classifiers use 224 to 1024.
const MAX_SIDE: u32 = 4096;

/// Texts by language, such as `{"en": "Eczema", "vi": "Chàm"}`.
pub type Translations = BTreeMap<String, String>;

/// A whole manifest.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of this file: [`SCHEMA`].
    pub schema: u32,
    /// The model's name.
    pub name: String,
    /// The model's version.
    pub version: String,
    /// One sentence for people.
    #[serde(default)]
    pub description: String,
    /// Where the model comes from and how it was made.
    pub origin: String,
    /// Under which licence the weights may be used.
    pub licence: String,
    /// What the weights are stored as.
    #[serde(default)]
    pub precision: Precision,
    /// What is shown with every answer, by language.
    #[serde(default)]
    pub notice: Translations,
    /// SHA-256 of every file of the bundle, hexadecimal.
    pub files: BTreeMap<String, String>,
    /// What the model takes.
    pub input: Input,
    /// What the model gives.
    pub output: Output,
    /// Where Grad-CAM is found; a model without this table cannot explain.
    pub gradcam: Option<GradCam>,
    /// The classes, in output order.
    pub labels: Labels,
}

/// What the weights are stored as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    Float32,
    /// 16-bit floats: half as large to carry about, widened to 32 bits by the preparation.
    Float16,
    /// 8-bit integers: faster, but sums of products may saturate on a CPU without VNNI.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::Float32 => "float32",
            Precision::Float16 => "float16",
            Precision::Int8 => "int8",
        })
    }
}

/// What the model gives: `float32` of shape `[1, classes]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The tensor's name.
    pub tensor: String,
    /// What the graph has already applied.
    pub activation: Activation,
}

/// The activation behind the last layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// One of the classes is right.
    Softmax,
    /// Each class is right or wrong by itself.
    Sigmoid,
    /// None: the output holds logits, and the daemon applies softmax.
    None,
}

/// A heatmap of where the model looked, computed by the graph itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GradCam {
    /// Output tensor: `float32`, `[h, w]` or `[1, h, w]`, each value in 0..1.
    pub heatmap: String,
    /// Input tensor: `int64`, `[1]`, the class to explain, or -1 for the most probable one. A graph
    /// without it explains the most probable class only.
    pub target: Option<String>,
    /// The layer whose activations are weighted.
    pub layer: String,
    /// Which score was differentiated: `softmax` or `logit`.
    pub score: Score,
    /// How the gradient weights the activations.
    #[serde(default)]
    pub method: Method,
}

/// How a gradient becomes a heatmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Each channel is weighted by the mean of its gradient (Selvaraju et al. 2017).
    #[default]
    GradCam,
    /// Each value is weighted by its own gradient (HiResCAM, Draelos and Carin 2020).
    HiResCam,
}

/// The score whose gradient weights the channels. The two give different maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// The class's probability.
    Softmax,
    /// The class's logit.
    Logit,
}

/// The classes in output order; never empty.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Labels(pub Vec<Label>);

/// One class.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// The name that programs compare and store.
    pub name: String,
    /// The name that people read, by language.
    #[serde(default)]
    pub titles: Translations,
}

/// The text in `language` (`vi`, or `vi-VN`, which falls back to `vi`), when there is one.
#[must_use]
pub fn translated<'a>(texts: &'a Translations, language: &str) -> Option<&'a str> {
    let base = language.split(['-', '_']).next().unwrap_or(language);
    texts
        .get(language)
        .or_else(|| texts.get(base))
        .map(String::as_str)
}

impl Label {
    /// The name in `language`; the model's own name without a translation.
    #[must_use]
    pub fn title(&self, language: Option<&str>) -> &str {
        language
            .and_then(|language| translated(&self.titles, language))
            .unwrap_or(&self.name)
    }
}

impl Manifest {
    /// Parses and checks `text`.
    ///
    /// # Errors
    ///
    /// A sentence that names the key and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Manifest = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The notice in `language`, else in English, else in any language.
    #[must_use]
    pub fn notice(&self, language: Option<&str>) -> Option<&str> {
        language
            .and_then(|language| translated(&self.notice, language))
            .or_else(|| translated(&self.notice, "en"))
            .or_else(|| self.notice.values().next().map(String::as_str))
    }

    fn check(&self) -> Result<(), String> {
        let input = &self.input;
        let fail = |message: String| Err(message);
        if self.schema != SCHEMA {
            return fail(format!(
                "schema is {}, this dermald reads {SCHEMA}",
                self.schema
            ));
        }
        for (key, side) in [("width", input.width), ("height", input.height)] {
            if side == 0 || side > MAX_SIDE {
                return fail(format!("input.{key} is {side}, expected 1 to {MAX_SIDE}"));
            }
        }
        if input
            .std
            .iter()
            .any(|value| *value == 0.0 || !value.is_finite())
        {
            return fail(format!("input.std is {:?}, none may be zero", input.std));
        }
        if !input.scale.is_finite() || input.mean.iter().any(|value| !value.is_finite()) {
            return fail("input.scale and input.mean must be finite numbers".into());
        }
        if self.labels.0.is_empty() {
            return fail("labels: there must be at least one [[labels]]".into());
        }
        let mut names: Vec<_> = self.labels.0.iter().map(|label| &label.name).collect();
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return fail(format!("labels: {:?} stands there twice", pair[0]));
        }
        if self.files.is_empty() {
            return fail("files: the ONNX file must be listed with its SHA-256".into());
        }
        for (file, hash) in &self.files {
            if file.contains(['/', '\\']) || file.starts_with('.') {
                return fail(format!(
                    "files: {file:?} must be a plain name inside the bundle"
                ));
            }
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return fail(format!(
                    "files: the hash of {file:?} must be 64 hexadecimal digits"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Alpha, Decode};

    const DEMO: &str = include_str!("../../tests/data/manifest.toml");

    #[test]
    fn each_mistake_is_named() {
        assert!(Manifest::parse(DEMO).is_ok());
        let mistakes = [
            ("schema = 1", "schema = 2", "schema is 2"),
            ("width = 48", "width = 0", "input.width is 0"),
            ("height = 64", "height = 70000", "input.height is 70000"),
            (
                "std = [1.0, 1.0, 1.0]",
                "std = [1.0, 0.0, 1.0]",
                "input.std",
            ),
            ("layout = \"NHWC\"", "layout = \"CHWN\"", "CHWN"),
            (
                "name = \"one\"",
                "name = \"two\"",
                "\"two\" stands there twice",
            ),
            ("resize =", "resise =", "resise"),
            (
                "layout =",
                "decode = \"half\"\nlayout =",
                "unknown variant `half`",
            ),
            (
                "layout =",
                "alpha = \"grey\"\nlayout =",
                "unknown variant `grey`",
            ),
            (
                "schema = 1",
                "schema = 1\nprecision = \"int4\"",
                "unknown variant `int4`",
            ),
            (
                "[gradcam]",
                "[gradcam]\nmethod = \"cam\"",
                "unknown variant `cam`",
            ),
            ("\"model.onnx\"", "\"../model.onnx\"", "plain name"),
            ("0011", "zz11", "64 hexadecimal digits"),
        ];
        for (good, bad, expected) in mistakes {
            let text = DEMO.replacen(good, bad, 1);
            assert_ne!(text, DEMO, "{good:?} is not in the manifest");
            let message = Manifest::parse(&text).expect_err("the mistake must be found");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn optional_keys_have_defaults() {
        let parse = |text: &str| Manifest::parse(text).expect("a good manifest");
        let method = |manifest: &Manifest| manifest.gradcam.as_ref().map(|cam| cam.method);
        let plain = parse(DEMO);
        assert_eq!(plain.precision, Precision::Float32);
        assert_eq!(plain.input.decode, Decode::Scaled);
        assert_eq!(plain.input.alpha, Alpha::Drop);
        assert_eq!(method(&plain), Some(Method::GradCam));
        let named = DEMO
            .replacen("schema = 1", "schema = 1\nprecision = \"int8\"", 1)
            .replacen(
                "layout =",
                "decode = \"full\"\nalpha = \"white\"\nlayout =",
                1,
            )
            .replacen("[gradcam]", "[gradcam]\nmethod = \"hirescam\"", 1);
        let named = parse(&named);
        assert_eq!(named.precision.to_string(), "int8");
        assert_eq!(method(&named), Some(Method::HiResCam));
        assert_eq!(named.input.decode, Decode::Full);
        assert_eq!(named.input.alpha, Alpha::White);
    }

    #[test]
    fn titles_fall_back_to_the_base_language_and_to_the_name() {
        let manifest = Manifest::parse(DEMO).expect("a good manifest");
        let label = &manifest.labels.0[0];
        assert_eq!(label.title(Some("vi-VN")), "Một");
        assert_eq!(label.title(Some("fr")), "one");
        assert_eq!(label.title(None), "one");
        assert_eq!(manifest.notice(Some("fr")), Some("A test."));
    }
}
