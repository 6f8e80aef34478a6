"""Networks of keras.applications and of PyTorch, against their own framework's gradient."""

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="runs Keras: install the extra [tools]")

from graphs import Graph, in_float64

from dermald_model import reference
from dermald_model.conversion import build, compare
from dermald_model.parts import float_tensor, node, to_model
from dermald_model.preprocessing import PIXELS
from dermald_model.refusal import Refusal
from dermald_model.sources import Wish, keras_file, read
from dermald_model.tape import Tape

_SIDE, _CLASSES = 96, 6
_DEBIAN_PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes files of the networks of keras.applications, each once."""

    @cache
    def make(name: str) -> Path:
        path = tmp_path_factory.mktemp(name) / "network.keras"
        _seeded(name).save(path)
        return path

    return make


def _seeded(name: str) -> Any:
    """A network of keras.applications with random weights and batch norms that do something."""
    keras.utils.set_random_seed(23)
    network = getattr(keras.applications, name)(
        weights=None, input_shape=(_SIDE, _SIDE, 3), classes=_CLASSES
    )
    reference.settle(network, _pictures(8, 23), branch=_BRANCHES.get(name, 0.5))
    return network


def _pictures(count: int, seed: int) -> Any:
    """Noise: random networks tell it apart better than drawings, whose maps nearly cancel."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, _SIDE, _SIDE, 3)).astype(np.float32)


# How much a residual branch adds; chosen so that rounding is not blown up from block to block.
_BRANCHES = {"ResNet50": 1.0}
_NETWORKS = [("MobileNetV2", "block_16_depthwise")]
# The long form: the layer that is taken by default; ReLU behind a sum; dense layers behind a
# flattened map and max pooling; concatenations; squeeze and excite behind the layer; activations as
# targets; constants that are no weights.
_MORE_NETWORKS = [
    ("MobileNetV2", "conv"),
    ("MobileNetV2", "activation"),
    ("ResNet50", "conv"),
    ("ResNet50", "conv5_block2_out"),
    ("VGG16", "block5_conv1"),
    ("DenseNet121", "conv"),
    ("MobileNetV3Small", "expanded_conv_10_project"),
    ("EfficientNetB0", "top_conv"),
]


@pytest.mark.parametrize(
    ("name", "layer"), _NETWORKS + (_MORE_NETWORKS if os.environ.get("TEST_LONG") else [])
)
def test_heatmaps_are_those_of_the_tape(
    name: str, layer: str, seeded: Callable[[str], Path], tmp_path: Path
) -> None:
    _compare_with_the_tape(seeded(name), layer, f"{name} {layer}", tmp_path)


def test_normalization_that_was_adapted_goes_into_the_graph(tmp_path: Path) -> None:
    """Its mean and variance are constants of the trace, and not weights to be frozen."""
    keras.utils.set_random_seed(23)
    layers = keras.layers
    adapted = layers.Normalization(name="adapted")
    adapted.adapt(np.random.default_rng(1).normal((0.1, 0.4, -0.3), 0.5, (64, 8, 8, 3)))
    # A nested one that was told its numbers, as the networks of keras.applications have it.
    backbone = keras.Sequential(
        [
            layers.Input((_SIDE, _SIDE, 3)),
            layers.Normalization(mean=[0.2, 0.0, -0.2], variance=[0.3, 0.2, 0.1], name="told"),
            layers.Conv2D(8, 3, 4, "same", activation="relu"),
            layers.Conv2D(12, 3, 4, "same", activation="swish", name="last"),
        ]
    )
    head = [layers.GlobalAveragePooling2D(), layers.Dense(_CLASSES, activation="softmax")]
    network = keras.Sequential([layers.Input((_SIDE, _SIDE, 3)), adapted, backbone, *head])
    path = tmp_path / "network.keras"
    network.save(path)
    source = read(path, Wish(layer="last"))
    assert [one.name for one in source.model.graph.input] == ["image"]
    difference = compare(build(source, PIXELS["0..255"], "softmax", "gradcam"), source)
    assert difference is not None
    assert difference <= 1e-5
    _compare_with_the_tape(path, "last", "Normalization", tmp_path)


def test_input_without_a_value_is_refused() -> None:
    pictures, mean = float_tensor("image", [1, 8, 8, 3]), float_tensor("norm/mean:0", [3])
    nodes = [node("Sub", ["image", "norm/mean:0"], "layer")]
    model = to_model("two", nodes, [], [pictures, mean], [float_tensor("layer", [1, 8, 8, 3])])
    with pytest.raises(Refusal, match=r"besides the picture \(norm/mean:0\)"):
        keras_file._hold(model, {"another:0": np.zeros(3, np.float32)})


def _compare_with_the_tape(path: Path, layer: str, told: str, folder: Path) -> None:
    """Probabilities and heatmaps of a file, converted, against its gradients in float64."""
    source = read(path, Wish(layer=layer))
    single = Tape(keras_file.load(path, Wish())[0], (_SIDE, _SIDE), [layer])
    double = Tape(in_float64(path, folder), (_SIDE, _SIDE), [layer])
    graphs = {
        score: Graph(build(source, PIXELS["tf"], score, "gradcam"))
        for score in ("softmax", "logit")
    }
    ours, theirs = [], []
    for picture in _pictures(4, 5):
        tensor = picture[None]
        short, exact = single.explain(tensor, [-1, 2]), double.explain(tensor, [-1, 2])
        for score, graph in graphs.items():
            for target in (-1, 2):
                probabilities, heatmap = graph.run(tensor, target)
                assert np.abs(probabilities - exact.probabilities).max() <= 1e-4
                key = layer, score, target
                ours.append(float(np.abs(heatmap - exact.heatmaps[key]).max()))
                theirs.append(float(np.abs(short.heatmaps[key] - exact.heatmaps[key]).max()))
    # A ReLU's slope jumps at 0. Where rounding carries a value of a random network across, one of
    # the nine cells of a channel counts or does not; the tape in float32 has such maps as well.
    print(f"\n{told}: {_told(ours)}; the tape in float32: {_told(theirs)}")
    assert np.median(ours) <= max(1e-4, 2 * float(np.median(theirs)))
    assert max(ours) <= 0.1


def _told(differences: list[float]) -> str:
    return f"median {np.median(differences):.1e}, greatest {max(differences):.1e} from float64"


def _has_torch() -> bool:
    if shutil.which(_DEBIAN_PYTHON) is None:
        return False
    return (
        subprocess.run([_DEBIAN_PYTHON, "-c", "import torch"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not _has_torch(), reason="needs PyTorch: apt-get install python3-torch")
def test_pytorch_network_agrees_with_autograd(tmp_path: Path) -> None:
    script = Path(__file__).with_name("torch_network.py")
    subprocess.run([_DEBIAN_PYTHON, script, tmp_path], check=True, stdout=subprocess.DEVNULL)
    found = np.load(tmp_path / "torch.npz")
    source = read(tmp_path / "network.onnx", Wish())
    assert (source.layout, source.height, source.width) == ("NCHW", 48, 64)
    for score in ("softmax", "logit"):
        built = build(source, PIXELS["torch"], score, "gradcam")
        assert built.activation == "none"
        difference = compare(built, source)
        assert difference is not None
        assert difference <= 1e-5
        graph = Graph(built, "picture")
        for number, picture in enumerate(found["pictures"]):
            for target in range(5):
                logits, heatmap = graph.run(picture[None], target)
                assert np.abs(logits - found["logits"][number]).max() <= 1e-5
                assert np.abs(heatmap - found[score][number, target]).max() <= 1e-4
