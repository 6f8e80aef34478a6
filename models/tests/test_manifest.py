"""The manifest: written text reads back, and what breaks the contract is named."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from dermald_model import manifest
from dermald_model.manifest import GradCam, Input, Label, Manifest, ManifestError, Output

_EXAMPLE = Manifest(
    name="example",
    version="1.2.3",
    description='Says "yes" or \\ no,\nin two lines.',
    origin="Đo bằng tay\t\x7f",
    licence="MIT",
    notice={"en": "No diagnosis.", "vi": "Không phải chẩn đoán."},
    files={"model.onnx": "ab" * 32},
    input=Input("image", 64, 48, layout="NCHW", scale=0.5, mean=(1.5, 2.0, 3.0)),
    output=Output("probabilities", "none"),
    gradcam=GradCam("heatmap", "target_class", "last", "logit"),
    labels=(Label("yes", {"en": "Yes", "vi": "Có"}), Label("no", {"en": "No"})),
)


@pytest.mark.parametrize("example", [_EXAMPLE, replace(_EXAMPLE, gradcam=None)])
def test_written_manifest_reads_back(tmp_path: Path, example: Manifest) -> None:
    example.write(tmp_path)
    assert manifest.read(tmp_path) == example


def test_text_has_the_keys_of_the_contract() -> None:
    table = tomllib.loads(_EXAMPLE.to_toml())
    assert list(table) == [
        "schema",
        "name",
        "version",
        "description",
        "origin",
        "licence",
        "precision",
        "notice",
        "files",
        "input",
        "output",
        "gradcam",
        "labels",
    ]
    assert table["schema"] == 1
    assert table["labels"][0] == {"name": "yes", "titles": {"en": "Yes", "vi": "Có"}}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema is 2"),
        ('licence = "MIT"\n', "", "missing key licence"),
        ("width = 64", "width = 64\nwidht = 64", "unknown key input.widht"),
        ('decode = "scaled"', 'decode = "half"', "accepted: scaled, full"),
        ('alpha = "drop"', 'alpha = "grey"', "accepted: drop, white, black"),
        ('colour = "as-stored"', 'colour = "p3"', "accepted: as-stored, srgb"),
        ('truncated = "refuse"', 'truncated = "no"', "accepted: refuse, accept"),
        ('orientation = "exif"', 'orientation = "up"', "accepted: exif, as-stored"),
        ('layout = "NCHW"', 'layout = "CHWN"', "accepted: NHWC, NCHW"),
        ('score = "logit"', 'score = "loss"', "accepted: softmax, logit"),
        ("mean = [1.5, 2.0, 3.0]", "mean = [1.5]", "input.mean needs three numbers"),
        ("schema = 1", "schema = ", "Invalid value"),
    ],
)
def test_broken_manifest_is_refused_by_key(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = _EXAMPLE.to_toml()
    assert old in text
    (tmp_path / manifest.FILE_NAME).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        manifest.read(tmp_path)


def test_bundles_from_before_optional_keys_are_read(tmp_path: Path) -> None:
    text = _EXAMPLE.to_toml()
    keys = (
        'decode = "scaled"',
        'alpha = "drop"',
        'colour = "as-stored"',
        'truncated = "refuse"',
        'orientation = "exif"',
    )
    for key in (f"{key}\n" for key in keys):
        assert key in text
        text = text.replace(key, "")
    (tmp_path / manifest.FILE_NAME).write_text(text, encoding="utf-8")
    assert manifest.read(tmp_path) == _EXAMPLE


def test_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    # The first test vector of FIPS 180-2.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert manifest.sha256(path) == expected
