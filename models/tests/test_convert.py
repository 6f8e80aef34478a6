"""`dermald-model convert` on small real files: what it finds, what it asks for, what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

keras = pytest.importorskip("keras", reason="runs Keras: install the extra [tools]")

from dermald_model import bundle, manifest
from dermald_model.cli import main
from dermald_model.parts import constant, float_tensor, node, to_bytes, to_model

NAMES = ("one", "two", "three")
Layers = keras.layers


def network_with(*before: Any, side: int = 32, classes: int = 3, **head: Any) -> Any:
    """A small classifier: what is put in front, a nested backbone, pooling, a dense layer."""
    keras.utils.set_random_seed(3)
    backbone = keras.Sequential(
        [
            Layers.Input((side, side, 3)),
            Layers.Conv2D(8, 3, 2, "same", name="first"),
            Layers.BatchNormalization(),
            Layers.ReLU(),
            Layers.Conv2D(12, 3, 2, "same", activation="swish", name="last"),
        ],
        name="backbone",
    )
    pool = head.pop("pool", None) or Layers.GlobalAveragePooling2D()
    end = Layers.Dense(classes, activation=head.pop("activation", "softmax"), name="classes")
    return keras.Sequential([Layers.Input((side, side, 3)), *before, backbone, pool, end])


def _saved(network: Any, path: Path) -> Path:
    network.save(path)
    return path


def _convert(model: Path, out: Path, *flags: str) -> int:
    labels = [] if "--labels" in flags else ["--labels", ",".join(NAMES)]
    return main(["convert", str(model), "--out", str(out), *labels, *flags])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Standard error as one line: rich breaks lines at the width of the terminal."""
    return " ".join(capsys.readouterr().err.split())


def _difference(out: Path, network: Any, side: int = 32) -> float:
    """The largest difference of probabilities between a bundle and Keras, on noise."""
    runner = bundle.Runner(out)
    pixels = np.random.default_rng(1).integers(0, 256, (side, side, 3), np.uint8)
    tensor = bundle.to_tensor(pixels, runner.manifest.input)
    expected = np.asarray(network(tensor, training=False))[0]
    return float(np.abs(runner.answer(pixels).probabilities - expected).max())


def test_augmentation_is_left_out_and_scaling_inside_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front = [Layers.RandomFlip(name="flip"), Layers.Rescaling(1 / 255, name="scale")]
    network = network_with(*front)
    path = _saved(network, tmp_path / "model.keras")
    assert _convert(path, tmp_path / "out", "--name", "small", "--notice", "A test.") == 0
    told = said(capsys)
    assert "training only: flip" in told
    assert "layer 'scale' scales them" in told
    found = manifest.read(tmp_path / "out")
    assert (found.name, found.notice) == ("small", {"en": "A test."})
    assert [label.name for label in found.labels] == list(NAMES)
    assert found.gradcam == manifest.GradCam("heatmap", "target_class", "last")
    assert found.input == manifest.Input("image", 32, 32)
    for name, digest in found.files.items():
        assert manifest.sha256(tmp_path / "out" / name) == digest
    assert _difference(tmp_path / "out", network) <= 1e-5
    graph = onnx.load(tmp_path / "out/model.onnx")
    assert (graph.ir_version, [(o.domain, o.version) for o in graph.opset_import]) == (
        10,
        [("", 17)],
    )


def test_scaling_outside_is_asked_for_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = network_with()
    path = _saved(network, tmp_path / "model.keras")
    assert _convert(path, tmp_path / "out") == 1
    assert "--pixels (0..255, 0..1, tf, torch, caffe)" in said(capsys)
    for pixels in ("0..1", "tf", "torch"):
        assert _convert(path, tmp_path / "out", "--pixels", pixels, "--force") == 0
        assert _difference(tmp_path / "out", network) <= 1e-5


def test_blue_first_is_turned_round_inside_the_graph(tmp_path: Path) -> None:
    network = network_with()
    path = _saved(network, tmp_path / "model.keras")
    assert _convert(path, tmp_path / "out", "--pixels", "caffe") == 0
    runner = bundle.Runner(tmp_path / "out")
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    blue_first = pixels[..., ::-1] - np.array([103.939, 116.779, 123.68])
    expected = np.asarray(network(blue_first[None].astype(np.float32), training=False))[0]
    assert np.abs(runner.answer(pixels).probabilities - expected).max() <= 1e-5


def test_h5_of_older_keras(tmp_path: Path) -> None:
    network = network_with(Layers.Rescaling(1 / 255))
    path = _saved(network, tmp_path / "model.h5")
    assert _convert(path, tmp_path / "out") == 0
    assert _difference(tmp_path / "out", network) <= 1e-5


def test_mixed_precision_becomes_float32(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        network = network_with(Layers.Rescaling(1 / 255))
        path = _saved(network, tmp_path / "model.keras")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert _convert(path, tmp_path / "out") == 0
    assert "float16 layers were brought to float32" in said(capsys)
    # float16 knows three digits.
    assert _difference(tmp_path / "out", network) <= 5e-3
    graph = onnx.load(tmp_path / "out/model.onnx")
    assert not any(n.op_type == "Cast" and "gradcam" not in n.name for n in graph.graph.node)


def test_input_size_changes_where_the_head_allows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = network_with(Layers.Rescaling(1 / 255))
    path = _saved(network, tmp_path / "model.keras")
    assert _convert(path, tmp_path / "out", "--input-size", "48x40") == 0
    assert "input 32 x 32 became 48 x 40" in said(capsys)
    found = manifest.read(tmp_path / "out").input
    assert (found.height, found.width) == (48, 40)
    flat = network_with(Layers.Rescaling(1 / 255), pool=Layers.Flatten())
    path = _saved(flat, tmp_path / "flat.keras")
    assert _convert(path, tmp_path / "flat") == 0
    assert _convert(path, tmp_path / "other", "--input-size", "48") == 1
    assert not (tmp_path / "other").exists()


def _tflite(network: Any, path: Path, with_weights: bool) -> Path:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    signature = [tf.TensorSpec((1, 32, 32, 3), tf.float32)]
    traced = tf.function(lambda image: network(image, training=False), input_signature=signature)
    function = traced.get_concrete_function()
    if with_weights:
        function = convert_variables_to_constants_v2(function)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], network)
    path.write_bytes(converter.convert())
    return path


def test_tflite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = network_with(Layers.Rescaling(1 / 255))
    path = _tflite(network, tmp_path / "model.tflite", with_weights=True)
    assert _convert(path, tmp_path / "out", "--pixels", "0..255") == 0
    assert _difference(tmp_path / "out", network) <= 1e-5
    assert manifest.read(tmp_path / "out").gradcam is not None
    path = _tflite(network, tmp_path / "empty.tflite", with_weights=False)
    assert _convert(path, tmp_path / "empty", "--pixels", "0..255") == 1
    assert "reads its weights from variables that are not in the file" in said(capsys)


def test_sigmoid_and_one_output(tmp_path: Path) -> None:
    network = network_with(Layers.Rescaling(1 / 255), classes=1, activation="sigmoid")
    path = _saved(network, tmp_path / "model.keras")
    (tmp_path / "labels.txt").write_text("melanoma\n")
    flags = "--labels", str(tmp_path / "labels.txt")
    assert _convert(path, tmp_path / "out", *flags) == 0
    found = manifest.read(tmp_path / "out")
    assert found.output.activation == "sigmoid"
    assert (
        bundle.Runner(tmp_path / "out").answer(np.zeros((32, 32, 3), np.uint8)).heatmap is not None
    )


def test_labels_of_every_form(tmp_path: Path) -> None:
    path = _saved(network_with(Layers.Rescaling(1 / 255)), tmp_path / "model.keras")
    forms = {
        "list.json": json.dumps(NAMES),
        "indices.json": json.dumps({name: number for number, name in enumerate(NAMES)}),
        "names.json": json.dumps({str(number): name for number, name in enumerate(NAMES)}),
        "lines.txt": "\n".join(NAMES),
        "titles.toml": "".join(f'[[labels]]\nname = "{n}"\ntitles = {{vi = "x"}}\n' for n in NAMES),
    }
    for name, text in forms.items():
        (tmp_path / name).write_text(text)
        flags = "--labels", str(tmp_path / name), "--force"
        assert _convert(path, tmp_path / "out", *flags) == 0
        assert [one.name for one in manifest.read(tmp_path / "out").labels] == list(NAMES)


def test_each_mistake_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    front = Layers.Rescaling(1 / 255)
    good = _saved(network_with(front), tmp_path / "good.keras")
    two_inputs = keras.Model(
        [(a := Layers.Input((8, 8, 3), name="a")), (b := Layers.Input((8, 8, 3), name="b"))],
        Layers.Dense(3)(Layers.Flatten()(Layers.Add()([a, b]))),
    )
    image = Layers.Input((32, 32, 3))
    features = Layers.Conv2D(4, 3)(image)
    boxes = Layers.Dense(4, name="boxes")(Layers.Flatten()(features))
    scores = Layers.Dense(3, name="scores")(Layers.Flatten()(features))
    (tmp_path / "corrupt.keras").write_bytes(good.read_bytes()[:4000])
    (tmp_path / "text.keras").write_text("no model")
    (tmp_path / "corrupt.onnx").write_bytes(b"\x08\x07garbage")
    weights = tmp_path / "only.weights.h5"
    network_with().save_weights(weights)
    broken = {
        "corrupt.keras": "no model file that is known here",
        "text.keras": "no model file that is known here",
        "corrupt.onnx": "is no sound ONNX file",
        "missing.keras": "cannot be read: No such file",
        "only.weights.h5": "holds weights without their network",
    }
    for name, expected in broken.items():
        assert _convert(tmp_path / name, tmp_path / "out") == 1
        assert expected in said(capsys), name
    inputs = _saved(two_inputs, tmp_path / "inputs.keras")
    detector = _saved(keras.Model(image, [boxes, scores]), tmp_path / "detector.keras")
    for path, expected in ((inputs, "has 2 inputs (a"), (detector, "has 2 outputs (")):
        assert _convert(path, tmp_path / "out") == 1
        assert expected in said(capsys)
    flags: dict[str, tuple[str, ...]] = {
        "there are 2 labels (one, two), but 3 outputs": ("--labels", "one,two"),
        "'one' stands there twice": ("--labels", "one,two,one"),
        "no layer 'lost'; near it are: last": ("--layer", "lost"),
        "is no Python file": ("--custom", str(tmp_path / "none.py")),
        "expected names separated by commas": ("--labels", str(tmp_path / "none.txt")),
    }
    for expected, chosen in flags.items():
        assert _convert(good, tmp_path / "out", *chosen) == 1
        assert expected in said(capsys)
    assert not (tmp_path / "out").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]


CUSTOM = """
import keras

@keras.saving.register_keras_serializable("site")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 2
"""


def test_custom_layer_is_named_and_can_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "layers.py"
    script.write_text(CUSTOM)
    made: dict[str, Any] = {}
    exec(CUSTOM, made)
    network = network_with(Layers.Rescaling(1 / 255), made["Doubled"](name="doubled"))
    path = _saved(network, tmp_path / "model.keras")
    program = [sys.executable, "-m", "dermald_model"]
    command = [*program, "convert", path, "--out", tmp_path / "out", "--labels", "a,b,c"]
    # In a process of its own: this one knows the layer.
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "Doubled" in refused.stderr
    assert "--custom" in refused.stderr
    given = subprocess.run([*command, "--custom", script], capture_output=True, text=True)
    assert given.returncode == 0, given.stderr
    assert _difference(tmp_path / "out", network) <= 1e-5


def test_bundle_is_not_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _saved(network_with(Layers.Rescaling(1 / 255)), tmp_path / "model.keras")
    assert _convert(path, tmp_path / "out") == 0
    assert _convert(path, tmp_path / "out") == 1
    assert "overwrite it with --force" in said(capsys)
    (tmp_path / "photos").mkdir()
    assert _convert(path, tmp_path / "photos", "--force") == 1
    assert "is no bundle; nothing else is overwritten" in said(capsys)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system: needs root")
def test_full_disk_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _saved(network_with(Layers.Rescaling(1 / 255)), tmp_path / "model.keras")
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small], check=True)
    try:
        assert _convert(path, small / "out") == 1
        assert "No space left on device" in said(capsys)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_onnx_with_open_batch_and_a_further_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    kernel = rng.standard_normal((6, 3, 3, 3)).astype(np.float32)
    dense = rng.standard_normal((6, 3)).astype(np.float32)
    model = to_model(
        "heads",
        [
            node("Conv", ["x", "kernel"], "features", strides=[2, 2]),
            node("GlobalAveragePool", ["features"], "pooled"),
            node("Flatten", ["pooled"], "embedding"),
            node("MatMul", ["embedding", "dense"], "logits"),
            node("Softmax", ["logits"], "shares", axis=1),
        ],
        [constant("kernel", kernel), constant("dense", dense)],
        [float_tensor("x", ["n", 3, 20, 24])],
        [float_tensor("shares", ["n", 3]), float_tensor("embedding", ["n", 6])],
    )
    path = tmp_path / "heads.onnx"
    path.write_bytes(to_bytes(model))
    assert _convert(path, tmp_path / "out", "--pixels", "0..1") == 1
    assert "--output NAME" in said(capsys)
    chosen = "--pixels", "0..1", "--output", "shares"
    assert _convert(path, tmp_path / "out", *chosen) == 0
    found = manifest.read(tmp_path / "out")
    assert (found.input.layout, found.input.width, found.input.height) == ("NCHW", 24, 20)
    assert found.output == manifest.Output("shares", "softmax")
    assert _convert(path, tmp_path / "open", *chosen, "--open-batch") == 0
    graph = onnx.load(tmp_path / "open/model.onnx").graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    same = bundle.Runner(tmp_path / "open").answer(np.zeros((20, 24, 3), np.uint8))
    assert np.allclose(
        same.probabilities,
        bundle.Runner(tmp_path / "out").answer(np.zeros((20, 24, 3), np.uint8)).probabilities,
    )
