"""Bundles quantised on drawn pictures: what is kept, and what the gate refuses.

The demonstration network stands for a site's. `TEST_QUANTISE_BUNDLE`, `TEST_QUANTISE_CALIBRATE` and
`TEST_QUANTISE_CHECK` name a bundle and two folders of photos for the long form, which holds int8 to
the figures of a real one.
"""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

onnx = pytest.importorskip("onnx", reason="rewrites ONNX files: install the extra [tools]")
pytest.importorskip("onnxruntime", reason="runs ONNX: install the extra [tools]")
pytest.importorskip("rich", reason="prints tables: install the extra [tools]")

from onnx import TensorProto, helper, numpy_helper

from dermald_model import bundle, calibration, cli, convolutions, float16, int8, manifest
from dermald_model.graph import Graph
from dermald_model.lesions import dataset
from dermald_model.manifest import sha256
from dermald_model.parts import constant, float_tensor, node, to_model
from dermald_model.photos import load
from dermald_model.probe import Probe

DEMO = Path(__file__).parents[1] / "demo"
# Any time is good enough: these networks are too small to be faster in int8.
ANY_TIME = ("--time", "1")


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seventy drawn pictures."""
    folder = tmp_path_factory.mktemp("photos")
    for number, picture in enumerate(dataset(21, 70)):
        Image.fromarray(picture.pixels).save(folder / f"{number:02d}.png", compress_level=1)
    return folder


@pytest.fixture(scope="session")
def other_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty that are not among the seventy."""
    folder = tmp_path_factory.mktemp("other_photos")
    for number, picture in enumerate(dataset(22, 40)):
        Image.fromarray(picture.pixels).save(folder / f"{number:02d}.png", compress_level=1)
    return folder


@pytest.fixture(scope="session")
def int8_demo(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demonstration bundle in int8, the same on every machine.

    Its speed does not count, nor whether it adds up products of eight bits exactly (VNNI).
    """
    out = tmp_path_factory.mktemp("int8") / "bundle"
    assert quantise(DEMO, "int8", out, "--calibrate", photos, "--portable", "--leave", "4") == 0
    return out


def quantise(source: Path, to: str, out: Path, *more: str | Path) -> int:
    """Runs the command; returns its exit code."""
    words = ["quantise", source, "--to", to, "--out", out, *more]
    return cli.main([str(word) for word in words])


def test_int8_bundle_answers_like_its_origin(int8_demo: Path, other_photos: Path) -> None:
    before, after = bundle.Runner(DEMO), bundle.Runner(int8_demo)
    assert after.manifest.precision == "int8"
    assert "calibrated on" in after.manifest.origin
    for file in sorted(other_photos.iterdir()):
        first, second = before.answer(load(file), 2), after.answer(load(file), 2)
        assert np.abs(first.probabilities - second.probabilities).max() < 0.05
        assert first.heatmap is not None
        assert second.heatmap is not None
        assert np.corrcoef(first.heatmap.ravel(), second.heatmap.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("leave", ["7", "8"])
def test_leaving_everything_in_float_is_refused(leave: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert quantise(DEMO, "int8", out, "--calibrate", photos, "--leave", leave) == 1
    assert not out.exists()


def test_integers_are_computed_with_integers(int8_demo: Path, tmp_path: Path) -> None:
    """ONNX Runtime makes integer convolutions of what was written: else int8 gains nothing."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        int8_demo / "model.onnx", options, providers=["CPUExecutionProvider"]
    )
    optimised = onnx.load(tmp_path / "optimised.onnx")
    found = sum(node.op_type == "QLinearConv" for node in optimised.graph.node)
    told = manifest.read(int8_demo).origin
    assert found > 0
    assert f"{found} of " in told


def test_what_explains_stays_float(int8_demo: Path) -> None:
    model = bundle.load_model(int8_demo)
    rounded = {
        name
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        for name in (*node.input, *node.output)
    }
    read = {n for node in model.graph.node if node.name.startswith("gradcam/") for n in node.input}
    assert rounded.isdisjoint(read)


def test_a_constant_that_grad_cam_shares_leaves_the_network_alone() -> None:
    """The bounds of ReLU6 are read by the whole of MobileNetV2, and by its derivative."""
    kernel = np.ones((4, 4, 1, 1), np.float32)
    bounds = [("low", np.float32(0)), ("high", np.float32(6))]
    nodes = [
        node("Clip", ["image", "low", "high"], "clipped"),
        node("Conv", ["clipped", "kernel"], "first"),
        node("Conv", ["first", "kernel"], "map"),
        node("Clip", ["map", "low", "high"], "gradcam/Clip"),
    ]
    constants = [constant(name, np.asarray(value)) for name, value in [*bounds, ("kernel", kernel)]]
    shape = [1, 4, 8, 8]
    ends = [float_tensor(name, shape) for name in ("image", "gradcam/Clip")]
    model = to_model("shared", nodes, constants, ends[:1], ends[1:])
    assert [one.output for one in convolutions.find(Graph(model))] == ["first"]


@pytest.mark.parametrize("method", calibration.METHODS)
def test_every_calibration_keeps_a_convolution(method: str, photos: Path) -> None:
    """Each convolution's own output, int8 against float, on the photos of the calibration."""
    model, description = bundle.load_model(DEMO), manifest.read(DEMO)
    graph = Graph(model)
    found = convolutions.find(graph)
    files = sorted(photos.iterdir())[:16]
    pictures = [bundle.to_tensor(load(file), description.input) for file in files]
    names = list(dict.fromkeys(n for one in found for n in (one.input, one.output)))
    ranges = calibration.measure(
        model, description, names, pictures, method, lambda things, what: things
    )
    for one in found:
        wanted = _output(model, description, one.output, pictures[0])
        kept = _output(
            int8.Recipe(graph, ranges).quantised([one]), description, one.output, pictures[0]
        )
        error = np.sqrt(((kept - wanted) ** 2).mean() / (wanted**2).mean())
        # Rounding to 8 bits alone costs 0.019 to 0.029 here (minmax, which cuts nothing off).
        # Entropy cuts rare large values off on purpose, and pays for it with as much as it gains:
        # 0.018 to 0.029. With a histogram too coarse to choose the end well it was 0.053.
        assert error < 0.03, (method, one.output)


def _output(model: Any, description: manifest.Manifest, name: str, picture: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return Probe(copy, description).tensors([name], picture)[0]


def test_channels_of_different_width_are_evened_out() -> None:
    """With one channel a thousand times wider than the others, these are not rounded to nothing."""
    rng = np.random.default_rng(3)
    width = np.array([1000.0, 1.0, 1.0, 1.0])
    weights = rng.normal(size=(8, 4, 1, 1)) / width[None, :, None, None]
    range = calibration.Range(-width, width, width**2 / 3)
    uneven = int8.expected_error([weights], range, np.ones(4), int8.FULL)
    evened = int8.expected_error([weights], range, width / 1000, int8.FULL)
    assert evened < uneven / 1000


def test_photos_unlike_those_checked_are_refused(
    other_photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Calibrated in the dark: ranges that skin does not fit into."""
    dark = tmp_path / "dark"
    dark.mkdir()
    for number in range(16):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(dark / f"{number}.png")
    out = tmp_path / "bundle"
    words = ("--calibrate", dark, "--check", other_photos, *ANY_TIME)
    assert quantise(DEMO, "int8", out, *words) == 1
    told = capsys.readouterr().err
    assert "nothing is written" in told
    assert "--write-anyway" in told
    assert [path.name for path in tmp_path.iterdir()] == ["dark"]
    assert quantise(DEMO, "int8", out, *words, "--write-anyway") == 0
    assert "written although" in capsys.readouterr().err
    assert manifest.read(out).precision == "int8"


def test_float16_travels_in_half_the_bytes(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    assert quantise(DEMO, "float16", out) == 0
    before, after = DEMO / "model.onnx", out / "model.onnx"
    # The weights are half as long; the graph itself is not.
    assert after.stat().st_size < 0.6 * before.stat().st_size
    assert manifest.read(out).precision == "float16"
    picture = next(iter(dataset(5, 1))).pixels
    first, second = (bundle.Runner(folder).answer(picture) for folder in (DEMO, out))
    assert np.abs(first.probabilities - second.probabilities).max() < 5e-3


def test_what_float16_cannot_hold_stays_float32() -> None:
    values = np.linspace(1, 70_000, 100, dtype=np.float32)
    tiny = np.full(100, 1e-7, np.float32)
    fine = np.linspace(-1, 1, 100, dtype=np.float32)
    tensors = {"huge": values, "tiny": tiny, "fine": fine}
    nodes = [helper.make_node("Sum", list(tensors), ["sum"])]
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, [100])
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    model = helper.make_model(helper.make_graph(nodes, "sum", [], [output], constants))
    narrowed, stayed = float16.narrowed(model)
    assert stayed == ["huge", "tiny"]
    kinds = {tensor.name: tensor.data_type for tensor in narrowed.graph.initializer}
    assert kinds["float16/fine"] == TensorProto.FLOAT16


def test_int8_comes_from_a_travelled_bundle_too(photos: Path, tmp_path: Path) -> None:
    assert quantise(DEMO, "float16", tmp_path / "float16") == 0
    words = ("--calibrate", photos, *ANY_TIME)
    assert quantise(tmp_path / "float16", "int8", tmp_path / "int8", *words) == 0
    origin = manifest.read(tmp_path / "int8").origin
    assert "float16" in origin
    assert "int8" in origin


def test_files_are_those_of_the_manifest(int8_demo: Path) -> None:
    listed = manifest.read(int8_demo).files
    assert {path.name for path in int8_demo.iterdir()} == {*listed, manifest.FILE_NAME}
    assert all(sha256(int8_demo / name) == digest for name, digest in listed.items())


def _refused(capsys: pytest.CaptureFixture[str], out: Path, code: int) -> str:
    assert code == 1
    assert not out.exists()
    assert not list(out.parent.glob(".bundle*"))
    return capsys.readouterr().err.replace("\n", " ")


def test_bad_input_is_a_sentence(
    int8_demo: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, empty = tmp_path / "bundle", tmp_path / "empty"
    empty.mkdir()
    cases: list[tuple[Path, str, tuple[str | Path, ...], str]] = [
        (DEMO, "int8", (), "--calibrate"),
        (DEMO, "int8", ("--calibrate", empty), "no photos"),
        (DEMO, "int8", ("--calibrate", photos, "--check", photos), "in both"),
        (int8_demo, "float16", (), "is int8 already"),
        (empty, "int8", ("--calibrate", photos), "cannot be read as a bundle"),
    ]
    for source, to, words, expected in cases:
        assert expected in _refused(capsys, out, quantise(source, to, out, *words))


def test_too_few_photos_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for file in sorted(photos.iterdir())[:12]:
        (few / file.name).symlink_to(file)
    out = tmp_path / "bundle"
    told = _refused(capsys, out, quantise(DEMO, "int8", out, "--calibrate", few))
    assert "too few" in told


def test_unreadable_photo_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for file in sorted(photos.iterdir()):
        (folder / file.name).symlink_to(file)
    (folder / "00.png").unlink()
    (folder / "00.png").write_bytes(b"no picture")
    out = tmp_path / "bundle"
    told = _refused(capsys, out, quantise(DEMO, "int8", out, "--calibrate", folder, *ANY_TIME))
    assert "00.png cannot be read" in told


def test_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("dermald_model.selftest.write", full)
    out = tmp_path / "bundle"
    told = _refused(capsys, out, quantise(DEMO, "float16", out))
    assert "No space left" in told


@pytest.mark.skipif("TEST_QUANTISE_BUNDLE" not in os.environ, reason="names no real bundle")
def test_real_bundle_keeps_its_figures(tmp_path: Path) -> None:
    """The long form: 99 % agreement, change at most 0.1, and the gate refuses the dark."""
    source = Path(os.environ["TEST_QUANTISE_BUNDLE"])
    check = ("--check", Path(os.environ["TEST_QUANTISE_CHECK"]))
    calibrate = ("--calibrate", Path(os.environ["TEST_QUANTISE_CALIBRATE"]))
    gate = ("--agreement", "0.99", "--change", "0.1")
    assert quantise(source, "int8", tmp_path / "good", *calibrate, *check, *gate) == 0
    dark = tmp_path / "dark"
    dark.mkdir()
    for number in range(16):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(dark / f"{number}.png")
    assert quantise(source, "int8", tmp_path / "bad", "--calibrate", dark, *check) == 1
    assert not (tmp_path / "bad").exists()
