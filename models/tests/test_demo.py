"""The demonstration bundle as it is shipped, through ONNX Runtime."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

onnxruntime = pytest.importorskip("onnxruntime", reason="runs the model: install the extra [tools]")

from dermald_model import demo, manifest
from dermald_model.bundle import Runner
from dermald_model.evaluate import hottest_in_mask, score
from dermald_model.lesions import LABELS, dataset
from dermald_model.photo import photograph

_BUNDLE = Path(__file__).resolve().parents[1] / "demo"
# Neither the training's seed nor the one that the model card reports.
_SEED = 31337
_PICTURES = 200 if os.environ.get("TEST_LONG") else 80


@pytest.fixture(scope="module")
def classifier() -> Runner:
    return Runner(_BUNDLE)


def test_seeds_of_training_and_measuring_differ() -> None:
    seeds = {demo.TRAINING_SEED, demo.HELD_OUT_SEED, demo.SAMPLE_SEED, _SEED}
    assert len(seeds) == 4


def test_manifest_describes_the_file() -> None:
    description = manifest.read(_BUNDLE)
    assert replace(description, files={}) == demo.describe()
    for name, digest in description.files.items():
        assert digest == manifest.sha256(_BUNDLE / name)
    assert [label.name for label in description.labels] == [label.name for label in LABELS]
    assert all({"en", "vi"} == set(label.titles) for label in description.labels)


def test_graph_has_the_tensors_of_the_contract() -> None:
    session = onnxruntime.InferenceSession(_BUNDLE / "model.onnx")
    found = {t.name: (t.type, t.shape) for t in (*session.get_inputs(), *session.get_outputs())}
    assert found == {
        "image": ("tensor(float)", [1, 128, 128, 3]),
        "target_class": ("tensor(int64)", [1]),
        "probabilities": ("tensor(float)", [1, 5]),
        "heatmap": ("tensor(float)", [16, 16]),
    }


def test_file_is_small() -> None:
    assert (_BUNDLE / "model.onnx").stat().st_size < 1_000_000


def test_held_out_pictures_are_told_apart_and_explained(classifier: Runner) -> None:
    result = score(classifier, dataset(_SEED, _PICTURES), _SEED)
    assert result.accuracy >= 0.9
    assert result.hits >= 0.9
    # Otherwise hitting the mask would be no achievement.
    assert result.chance < 0.2


def test_target_class_is_respected(classifier: Runner) -> None:
    rng = np.random.default_rng(_SEED)
    for picture in dataset(_SEED, 5):
        file = photograph(rng, picture.pixels)
        free = classifier.answer(file)
        answers = [classifier.answer(file, target) for target in range(len(LABELS))]
        assert np.array_equal(free.heatmap, answers[free.top].heatmap)
        for target, answer in enumerate(answers):
            assert np.array_equal(answer.probabilities, free.probabilities)
            assert answer.heatmap.max() == 1
            assert answer.heatmap.min() >= 0
            if target != free.top:
                assert not np.allclose(answer.heatmap, free.heatmap, atol=0.01)


@pytest.mark.parametrize("value", [0, 255])
def test_blank_pictures_give_numbers(classifier: Runner, value: int, tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    Image.fromarray(np.full((90, 120, 3), value, np.uint8)).save(path)
    answer = classifier.answer(path.read_bytes())
    assert np.isfinite(answer.heatmap).all()
    # Five float32 shares that are rounded one by one.
    assert abs(float(answer.probabilities.sum()) - 1) < 1e-5


def test_sample_is_right_and_convincing(classifier: Runner) -> None:
    file = (_BUNDLE / "sample.jpg").read_bytes()
    assert len(file) < demo.SAMPLE_LIMIT_BYTES
    with Image.open(_BUNDLE / "sample_mask.png") as picture:
        mask = np.asarray(picture, np.bool_)
    assert mask.shape == demo.SAMPLE_SIZE[::-1]
    answer = classifier.answer(file)
    assert answer.top == demo.SAMPLE_LABEL
    assert hottest_in_mask(answer.heatmap, mask)
