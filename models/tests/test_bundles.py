"""The bundles of tests/bundles are what their table says."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="writes ONNX files: install the extra [tools]")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX: install the extra [tools]")

from dermald_model import manifest

_SCRIPT = Path(__file__).resolve().parents[2] / "tests" / "bundles" / "make.py"
_SOUND = ("slow", "no-gradcam", "nchw")


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_bundles", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All bundles, the slow one with so little work that it is quick."""
    out = tmp_path_factory.mktemp("bundles")
    _script().make(out, slow_rounds=20)
    return out


def _session(bundle: Path) -> Any:
    return onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])


def _run(bundle: Path, image: Any, target: int = -1) -> tuple[Any, Any]:
    feeds = {"image": image.astype(np.float32), "target_class": np.array([target], np.int64)}
    probabilities, heatmap = _session(bundle).run(["probabilities", "heatmap"], feeds)
    return probabilities[0], heatmap


def _shapes(bundle: Path) -> dict[str, Any]:
    session = _session(bundle)
    return {t.name: (t.type, t.shape) for t in (*session.get_inputs(), *session.get_outputs())}


def test_same_bytes_every_time(bundles: Path, tmp_path: Path) -> None:
    _script().make(tmp_path, slow_rounds=20)
    files = sorted(path.relative_to(bundles) for path in bundles.rglob("*") if path.is_file())
    assert len(files) >= 2 * 15
    for file in files:
        assert (bundles / file).read_bytes() == (tmp_path / file).read_bytes()


@pytest.mark.parametrize("name", [*_SOUND, "wrong-width", "wrong-dtype", "wrong-shape", "not-onnx"])
def test_hash_is_right_where_it_is_not_the_fault(bundles: Path, name: str) -> None:
    description = manifest.read(bundles / name)
    assert description.name == name
    assert description.files["model.onnx"] == manifest.sha256(bundles / name / "model.onnx")


def test_slow_keeps_the_contract_of_the_demonstration(bundles: Path) -> None:
    description = manifest.read(bundles / "slow")
    demo = manifest.read(_SCRIPT.parents[2] / "models" / "demo")
    assert description.input == demo.input
    assert [label.name for label in description.labels] == [label.name for label in demo.labels]
    assert _shapes(bundles / "slow") == _shapes(_SCRIPT.parents[2] / "models" / "demo")


def test_slow_works_on_the_picture(bundles: Path) -> None:
    rng = np.random.default_rng(1)
    one = _run(bundles / "slow", rng.uniform(0, 255, (1, 128, 128, 3)))
    other = _run(bundles / "slow", np.full((1, 128, 128, 3), 90.0))
    assert not np.allclose(one[0], other[0], atol=1e-4)
    assert one[1].max() == 1
    assert np.isfinite(other[1]).all()


def test_slow_takes_the_result_of_its_loop(tmp_path: Path) -> None:
    """Without rounds the answer differs, so the loop is no dead code."""
    script, image = _script(), np.full((1, 128, 128, 3), 200.0)
    answers = []
    for rounds in (0, 20):
        script.make(tmp_path, slow_rounds=rounds)
        answers.append(_run(tmp_path / "slow", image)[0])
    assert np.abs(answers[0] - answers[1]).max() > 1e-4


def test_no_gradcam_has_neither_table_nor_tensors(bundles: Path) -> None:
    assert manifest.read(bundles / "no-gradcam").gradcam is None
    assert set(_shapes(bundles / "no-gradcam")) == {"image", "probabilities"}


@pytest.mark.parametrize("name", ["nchw", "no-gradcam"])
@pytest.mark.parametrize("channel", range(3))
def test_colours_are_called_by_their_name(bundles: Path, name: str, channel: int) -> None:
    source = manifest.read(bundles / name).input
    pixels = np.zeros((source.height, source.width, 3))
    pixels[..., channel] = 255
    tensor = (pixels * source.scale - source.mean) / source.std
    means = tensor.mean((0, 1)) / (1 if name == "nchw" else 64)
    expected = np.exp(means) / np.exp(means).sum()
    image = (tensor.transpose(2, 0, 1) if source.layout == "NCHW" else tensor)[None]
    feeds = {"image": image.astype(np.float32)}
    if name == "nchw":
        feeds["target_class"] = np.array([-1], np.int64)
    answer = _session(bundles / name).run(["probabilities"], feeds)[0][0]
    assert answer.argmax() == channel
    # float32 means of a few thousand equal values.
    assert np.allclose(answer, expected, atol=1e-5)


def test_nchw_heatmap_is_hottest_where_the_picture_is_brightest(bundles: Path) -> None:
    source = manifest.read(bundles / "nchw").input
    pixels = np.full((source.height, source.width, 3), 20.0)
    pixels[8:16, 40:48] = 200
    pixels[32:40, 0:8, 2] = 255
    image = ((pixels - source.mean) / source.std).transpose(2, 0, 1)[None]
    brightness = pixels.reshape(6, 8, 8, 8, 3).mean((1, 3))
    for target in (-1, 0, 1, 2):
        expected = brightness.mean(2) if target < 0 else brightness[..., target]
        heatmap = _run(bundles / "nchw", image, target)[1]
        assert np.allclose(heatmap, expected / expected.max(), atol=1e-5)
    assert np.unravel_index(_run(bundles / "nchw", image)[1].argmax(), (6, 8)) == (1, 5)
    assert np.unravel_index(_run(bundles / "nchw", image, 2)[1].argmax(), (6, 8)) == (4, 0)


def test_nchw_black_picture_gives_zeros(bundles: Path) -> None:
    source = manifest.read(bundles / "nchw").input
    black = (np.zeros((1, 48, 64, 3)) - source.mean) / source.std
    assert not _run(bundles / "nchw", black.transpose(0, 3, 1, 2))[1].any()


def test_each_broken_bundle_has_its_fault(bundles: Path) -> None:
    wrong_hash = manifest.read(bundles / "wrong-hash").files["model.onnx"]
    assert wrong_hash != manifest.sha256(bundles / "wrong-hash" / "model.onnx")
    assert _shapes(bundles / "wrong-width")["probabilities"][1] == [1, 2]
    assert len(manifest.read(bundles / "wrong-width").labels) == 3
    assert _shapes(bundles / "wrong-dtype")["image"][0] == "tensor(double)"
    assert _shapes(bundles / "wrong-shape")["image"][1] == [1, 48, 48, 3]
    assert manifest.read(bundles / "wrong-shape").input.width == 32
    missing = manifest.read(bundles / "missing-tensor").output.tensor
    assert missing not in _shapes(bundles / "missing-tensor")
    with pytest.raises(manifest.ManifestError, match=r"unknown key input\.widht"):
        manifest.read(bundles / "unknown-key")
    with pytest.raises(Exception, match=r"(?i)protobuf|invalid"):
        _session(bundles / "not-onnx")
