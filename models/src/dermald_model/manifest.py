"""The manifest of a bundle, written and read; it knows nothing of what a model computes.

`manifest.toml` is the contract between a model and the daemon: hashes, shapes, preprocessing,
labels, origin and licence. Reading is as strict as the daemon's: a missing or unknown key is an
error that names it.
"""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermald_model.refusal import Refusal

SCHEMA = 1
FILE_NAME = "manifest.toml"

CHOICES = {
    "layout": ("NHWC", "NCHW"),
    "resize": ("nearest", "bilinear", "bicubic", "lanczos"),
    "fit": ("stretch", "contain", "centre-crop"),
    "decode": ("scaled", "full"),
    "alpha": ("drop", "white", "black"),
    "colour": ("as-stored", "srgb"),
    "truncated": ("refuse", "accept"),
    "orientation": ("exif", "as-stored"),
    "activation": ("softmax", "sigmoid", "none"),
    "score": ("softmax", "logit"),
    "method": ("gradcam", "hirescam"),
    "precision": ("float32", "float16", "int8"),
}


# Keys of [input] that bundles from before them do not have.
_OPTIONAL = ("decode", "alpha", "colour", "truncated", "orientation")


class ManifestError(Refusal):
    """A manifest that breaks the contract; the message names the key."""


@dataclass(frozen=True)
class Input:
    """The picture's tensor: (pixel * scale - mean) / std, with pixel in 0..255."""

    tensor: str
    width: int
    height: int
    layout: str = "NHWC"
    resize: str = "lanczos"
    fit: str = "stretch"
    decode: str = "scaled"
    alpha: str = "drop"
    colour: str = "as-stored"
    truncated: str = "refuse"
    orientation: str = "exif"
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Output:
    """The answer's tensor, and the activation that the graph has already applied to it."""

    tensor: str
    activation: str = "softmax"


@dataclass(frozen=True)
class GradCam:
    """Where the heatmap comes from: tensor, class input, layer, score, method."""

    heatmap: str
    target: str
    layer: str
    score: str = "softmax"
    method: str = "gradcam"


@dataclass(frozen=True)
class Label:
    """One output: its name, and its titles by language."""

    name: str
    titles: dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """A whole manifest. `files` maps each file of the bundle to its SHA-256 in hex."""

    name: str
    version: str
    description: str
    origin: str
    licence: str
    notice: dict[str, str]
    files: dict[str, str]
    input: Input
    output: Output
    labels: tuple[Label, ...]
    gradcam: GradCam | None = None
    precision: str = "float32"

    def to_toml(self) -> str:
        """The manifest as TOML text, always the same for the same values."""
        blocks = [
            _lines(
                schema=SCHEMA,
                name=self.name,
                version=self.version,
                description=self.description,
                origin=self.origin,
                licence=self.licence,
                precision=self.precision,
            ),
            "[notice]\n" + _lines(**self.notice),
            "[files]\n" + "".join(f"{_text(k)} = {_text(v)}\n" for k, v in self.files.items()),
            "[input]\n" + _lines(**vars(self.input)),
            "[output]\n" + _lines(**vars(self.output)),
        ]
        if self.gradcam is not None:
            blocks.append("[gradcam]\n" + _lines(**vars(self.gradcam)))
        for label in self.labels:
            titles = "[labels.titles]\n" + _lines(**label.titles)
            blocks.append("[[labels]]\n" + _lines(name=label.name) + titles)
        return "\n".join(blocks)

    def write(self, bundle: Path) -> None:
        """Writes the manifest into the folder of a bundle."""
        (bundle / FILE_NAME).write_text(self.to_toml(), encoding="utf-8")


def read(bundle: Path) -> Manifest:
    """The manifest of a bundle. Fails with ManifestError, naming the key, or with OSError."""
    try:
        table = tomllib.loads((bundle / FILE_NAME).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{bundle / FILE_NAME}: {error}") from error
    return _from_table(table)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_table(table: dict[str, Any]) -> Manifest:
    table = {"precision": "float32", **table}
    optional = ("gradcam",) if "gradcam" in table else ()
    words = ("name", "version", "description", "origin", "licence", "precision")
    parts = ("notice", "files", "input", "output", "labels")
    _expect_keys("", table, ("schema", *words, *parts, *optional))
    if table["schema"] != SCHEMA:
        raise ManifestError(f"schema is {table['schema']!r}; this program reads {SCHEMA}")
    entry = {**{key: getattr(Input, key) for key in _OPTIONAL}, **table["input"]}
    _expect_keys("input.", entry, tuple(Input.__dataclass_fields__))
    for name in ("mean", "std"):
        entry[name] = tuple(float(value) for value in entry[name])
        if len(entry[name]) != 3:
            raise ManifestError(f"input.{name} needs three numbers")
    _expect_keys("output.", table["output"], ("tensor", "activation"))
    if optional:
        table["gradcam"] = {"method": "gradcam", **table["gradcam"]}
        _expect_keys("gradcam.", table["gradcam"], tuple(GradCam.__dataclass_fields__))
    for label in table["labels"]:
        _expect_keys("labels.", label, ("name", "titles"))
    return Manifest(
        **{word: table[word] for word in words},
        notice=table["notice"],
        files=table["files"],
        input=Input(**entry),
        output=Output(**table["output"]),
        labels=tuple(Label(**label) for label in table["labels"]),
        gradcam=GradCam(**table["gradcam"]) if optional else None,
    )


def _expect_keys(place: str, table: dict[str, Any], keys: tuple[str, ...]) -> None:
    """Exactly these keys, and for the keys with a fixed choice one of its values."""
    for key in table:
        if key not in keys:
            raise ManifestError(f"unknown key {place}{key}")
    for key in keys:
        if key not in table:
            raise ManifestError(f"missing key {place}{key}")
        if key in CHOICES and table[key] not in CHOICES[key]:
            accepted = ", ".join(CHOICES[key])
            raise ManifestError(f"{place}{key} is {table[key]!r}; accepted: {accepted}")


def _lines(**values: object) -> str:
    return "".join(f"{key} = {_value(value)}\n" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(text: str) -> str:
    """A TOML basic string; everything that may not stand in one is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _escape(c) for c in escaped) + '"'


def _escape(character: str) -> str:
    return f"\\U{ord(character):08x}"
