"""Writes tiny bundles for the tests: `python tests/bundles/make.py OUT`.

Needs numpy, onnx, pillow and the package under `models/` (installed, or found beside this file).
Each bundle is a folder of OUT with `model.onnx` and `manifest.toml`; the same versions write the
same bytes.

| bundle           | what it is                                                                  |
|------------------|-----------------------------------------------------------------------------|
| slow             | the demonstration's contract; one run takes about 8 s on one core           |
| unhurried        | the same, in about 2 s                                                      |
| brisk            | the same, in about 0.05 s                                                   |
| slow-self-test   | `slow` with a self-test, which takes as long                                |
| no-gradcam       | no heatmap output, no class input, no [gradcam] table                       |
| nchw             | NCHW, 64 wide and 48 high, with mean and std; its answers can be worked out |
| self-test        | `nchw` with a self-test, which it passes                                    |
| self-test-wrong  | the same, but the self-test expects something else                          |
| weights          | `no-gradcam` with 3 MB of weights in a file of their own, model.weights     |
| weights-unlisted | the same, but [files] does not name model.weights                           |
| wrong-hash       | the hash of model.onnx in [files] is that of another file                   |
| wrong-width      | three labels, but the output has two values                                 |
| wrong-dtype      | the image tensor is float64                                                 |
| wrong-shape      | the manifest says 32 x 32, the image tensor is 48 x 48                      |
| missing-tensor   | the manifest names the output `scores`, which the graph does not have       |
| not-onnx         | model.onnx is no ONNX file; its hash is right                               |
| unknown-key      | [input] has the misspelt key `widht` beside `width`                         |

The answers of `nchw`: the tensor holds (pixel - mean) / std, and the probabilities (red, green,
blue) are the softmax of its three channel means. A red, green or blue picture is therefore called
by its colour, and swapped layouts, channels, means or deviations show. The heatmap, 6 rows of 8,
is the brightness of each 8 x 8 square divided by the greatest: of all three channels together
when `target_class` is -1, of channel k when it is k. A black picture gives zeros.

The broken bundles are `no-gradcam` with the one fault that is named. That one sees 32 x 32
pixels, NHWC, 0..255, and gives the softmax of the channel means / 64, as red, green, blue.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "models" / "src"))

from dermald_model import manifest
from dermald_model.gradcam import Explanation, attach
from dermald_model.parts import constant, float_tensor, node, target_tensor, to_bytes, to_model

COLOURS = ("red", "green", "blue")
MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)

# Rounds of eight 40 x 40 products in the slow bundle: about 8.6 s on one core of an AMD EPYC
# server. Products this small are never shared out among threads, so more threads change nothing.
SLOW_ROUNDS = 320_000


def main() -> None:
    """Writes every bundle into the folder that was named."""
    parser = argparse.ArgumentParser(description="Writes tiny bundles for the tests.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--slow-rounds", type=int, default=SLOW_ROUNDS, help="work in `slow`")
    arguments = parser.parse_args()
    make(arguments.out, arguments.slow_rounds)


def make(out: Path, slow_rounds: int = SLOW_ROUNDS) -> None:
    """Writes every bundle of the table into `out`."""
    write(out / "slow", slow(slow_rounds), _slow_manifest())
    write(out / "unhurried", slow(slow_rounds // 4), _slow_manifest())
    write(out / "brisk", slow(slow_rounds // 160), _slow_manifest())
    write(out / "nchw", nchw(), _nchw_manifest())
    picture = _bright_corner()
    right = _nchw_answer(picture, target=1)
    wrong = (right[0][::-1], right[1])
    write(out / "self-test", nchw(), _nchw_manifest())
    add_self_test(out / "self-test", picture, 1, *right)
    write(out / "self-test-wrong", nchw(), _nchw_manifest())
    add_self_test(out / "self-test-wrong", picture, 1, *wrong)
    write(out / "slow-self-test", slow(slow_rounds), _slow_manifest())
    add_self_test(
        out / "slow-self-test",
        np.zeros((128, 128, 3), np.uint8),
        -1,
        np.full(5, 0.2),
        np.zeros(256),
    )

    plain = _manifest(manifest.Input("image", 32, 32), COLOURS)
    write(out / "no-gradcam", tiny(), plain)
    write(out / "wrong-width", tiny(classes=2), plain)
    write(out / "wrong-dtype", tiny(dtype=TensorProto.DOUBLE), plain)
    write(out / "wrong-shape", tiny(side=48), plain)
    write(out / "missing-tensor", tiny(), replace(plain, output=manifest.Output("scores")))
    write(out / "not-onnx", b"This is no ONNX file.\n" * 8, plain)

    write(out / "weights", wide(), plain)
    split_weights(out / "weights")
    add_file(out / "weights", "model.weights")
    write(out / "weights-unlisted", wide(), plain)
    split_weights(out / "weights-unlisted")

    wrong_hash = out / "wrong-hash"
    write(wrong_hash, tiny(), plain)
    replace(plain, files={"model.onnx": "0" * 64}).write(wrong_hash)

    misspelt = out / "unknown-key"
    write(misspelt, tiny(), plain)
    path = misspelt / manifest.FILE_NAME
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("width = 32\n", "width = 32\nwidht = 32\n"), encoding="utf-8")


def write(bundle: Path, model: bytes, description: manifest.Manifest) -> None:
    """Writes the model and its manifest, with the model's true hash."""
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "model.onnx").write_bytes(model)
    files = {"model.onnx": manifest.sha256(bundle / "model.onnx")}
    replace(description, name=bundle.name, files=files).write(bundle)


def add_file(bundle: Path, *names: str) -> None:
    """Names files of a bundle in its manifest, with their true hashes."""
    description = manifest.read(bundle)
    files = {name: manifest.sha256(bundle / name) for name in names}
    replace(description, files=description.files | files).write(bundle)


def add_self_test(
    bundle: Path,
    picture: NDArray[np.uint8],
    target: int,
    probabilities: NDArray[Any],
    heatmap: NDArray[Any],
) -> None:
    """Adds a self-test of one case to a bundle."""
    Image.fromarray(picture).save(bundle / "selftest-1.png")
    numbers = [", ".join(f"{value:.6f}" for value in part) for part in (probabilities, heatmap)]
    text = (
        "schema = 1\nprobability_tolerance = 0.001\nheatmap_tolerance = 0.02\n\n[[cases]]\n"
        f'picture = "selftest-1.png"\ntarget = {target}\n'
        f"probabilities = [{numbers[0]}]\nheatmap = [{numbers[1]}]\n"
    )
    (bundle / "selftest.toml").write_text(text, encoding="utf-8")
    add_file(bundle, "selftest.toml", "selftest-1.png")


def split_weights(bundle: Path) -> None:
    """Moves the weights of a bundle into model.weights, and sets the hash of its graph right."""
    path = bundle / "model.onnx"
    (bundle / "model.weights").unlink(missing_ok=True)
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="model.weights")
    add_file(bundle, "model.onnx")


def wide() -> bytes:
    """What `tiny` computes, by way of 40,000 copies of each channel mean."""
    copies = np.tile(np.eye(3, dtype=np.float32), 40_000)
    nodes = [
        node("ReduceMean", ["image"], "means", axes=[1, 2], keepdims=0),
        node("MatMul", ["means", "copies"], "copied"),
        node("Relu", ["copied"], "kept"),
        node("MatMul", ["kept", "sums"], "logits"),
        node("Softmax", ["logits"], "probabilities", axis=1),
    ]
    sums = constant("sums", copies.T.copy() / np.float32(40_000 * 64))
    image = float_tensor("image", [1, 32, 32, 3])
    outputs = [float_tensor("probabilities", [1, 3])]
    return to_bytes(to_model("wide", nodes, [constant("copies", copies), sums], [image], outputs))


def tiny(side: int = 32, classes: int = 3, dtype: int = TensorProto.FLOAT) -> bytes:
    """The softmax of the channel means / 64, of the first `classes` channels."""
    nodes = [
        node("Cast", ["image"], "single", to=TensorProto.FLOAT),
        node("ReduceMean", ["single"], "means", axes=[1, 2], keepdims=0),
        node("MatMul", ["means", "choice"], "logits"),
        node("Softmax", ["logits"], "probabilities", axis=1),
    ]
    choice = constant("choice", np.eye(3, classes, dtype=np.float32) / 64)
    image = helper.make_tensor_value_info("image", dtype, [1, side, side, 3])
    outputs = [float_tensor("probabilities", [1, classes])]
    return to_bytes(to_model("tiny", nodes, [choice], [image], outputs))


def nchw() -> bytes:
    """The bundle whose answers can be worked out; see the top of this file."""
    # Row 0 weighs the channels for target -1, row k + 1 for target k.
    weights = np.concatenate([np.full((1, 3), 1 / 3), np.eye(3)]).astype(np.float32)
    constants = [
        constant("mean", np.array(MEAN, np.float32).reshape(1, 3, 1, 1)),
        constant("std", np.array(STD, np.float32).reshape(1, 3, 1, 1)),
        constant("weights", weights),
        constant("one", np.array(1, np.int64)),
        constant("columns", np.array([1, 3, 1, 1], np.int64)),
        constant("channel", np.array([1], np.int64)),
        constant("square", np.array([6, 8], np.int64)),
        constant("zero", np.zeros((), np.float32)),
        constant("single", np.ones((), np.float32)),
    ]
    nodes = [
        node("ReduceMean", ["image"], "means", axes=[2, 3], keepdims=0),
        node("Softmax", ["means"], "probabilities", axis=1),
        node("Mul", ["image", "std"], "spread"),
        node("Add", ["spread", "mean"], "pixels"),
        # Rounding on the way here and back must not make a black picture bright.
        node("Round", ["pixels"], "whole"),
        node("Relu", ["whole"], "brightness"),
        node("AveragePool", ["brightness"], "squares", kernel_shape=[8, 8], strides=[8, 8]),
        node("Add", ["target_class", "one"], "row"),
        node("Gather", ["weights", "row"], "chosen", axis=0),
        node("Reshape", ["chosen", "columns"], "weight"),
        node("Mul", ["squares", "weight"], "weighted"),
        node("ReduceSum", ["weighted", "channel"], "summed", keepdims=0),
        node("Reshape", ["summed", "square"], "map"),
        node("ReduceMax", ["map"], "maximum", keepdims=0),
        node("Greater", ["maximum", "zero"], "some"),
        node("Where", ["some", "maximum", "single"], "divisor"),
        node("Div", ["map", "divisor"], "heatmap"),
    ]
    outputs = [float_tensor("probabilities", [1, 3]), float_tensor("heatmap", [6, 8])]
    inputs = [float_tensor("image", [1, 3, 48, 64]), target_tensor()]
    return to_bytes(to_model("nchw", nodes, constants, inputs, outputs))


def _bright_corner() -> NDArray[np.uint8]:
    """A dark picture for `nchw`, bright and greenish in one corner."""
    picture = np.full((48, 64, 3), 40, np.uint8)
    picture[:16, :24] = (120, 230, 90)
    return picture


def _nchw_answer(picture: NDArray[np.uint8], target: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Probabilities and heatmap that `nchw` must give, worked out without it."""
    means = ((picture - np.array(MEAN)) / np.array(STD)).mean(axis=(0, 1))
    powers = np.exp(means)
    squares = picture.reshape(6, 8, 8, 8, 3).mean(axis=(1, 3))[..., target]
    return powers / powers.sum(), squares.ravel() / squares.max()


def slow(rounds: int) -> bytes:
    """A small classifier whose first logit also takes the result of `rounds` rounds of work.

    Each round is state = tanh(state M + start), eight times, where start comes from the picture.
    M shrinks, so the state settles at a value that only the picture decides: nothing can be
    computed beforehand, and no small difference between CPUs grows.
    """
    rng = np.random.default_rng(8)
    matrix = np.linalg.qr(rng.standard_normal((40, 40)))[0].astype(np.float32) * np.float32(0.5)
    dense = rng.standard_normal((3, 5)).astype(np.float32)
    constants = [
        constant("per_pixel", np.array(1 / 255, np.float32)),
        constant("matrix", matrix),
        constant("rounds", np.array(rounds, np.int64)),
        constant("go", np.array(True)),
        constant("only", np.array([1, 3, 40, 40], np.int64)),
        constant("first", np.array(0, np.int64)),
        constant("first_class", np.eye(1, 5, dtype=np.float32)),
        constant("dense", dense),
    ]
    nodes = [
        node("Mul", ["image", "per_pixel"], "scaled"),
        node("Transpose", ["scaled"], "planes", perm=[0, 3, 1, 2]),
        node("AveragePool", ["planes"], "features", kernel_shape=[8, 8], strides=[8, 8]),
        # Means of 3 x 3 pixels (42 x 42 of them), then the greatest of each 3 x 3: 40 x 40 numbers.
        node("AveragePool", ["planes"], "thirds", kernel_shape=[3, 3], strides=[3, 3]),
        node("MaxPool", ["thirds"], "forty", kernel_shape=[3, 3], strides=[1, 1]),
        node("Reshape", ["forty", "only"], "sheets"),
        node("Gather", ["sheets", "first"], "sheet_row", axis=1),
        node("Squeeze", ["sheet_row"], "start"),
        helper.make_node("Loop", ["rounds", "go", "start"], ["state"], name="work", body=_work()),
        node("ReduceMean", ["state"], "settled", keepdims=0),
        node("GlobalAveragePool", ["features"], "pooled"),
        node("Flatten", ["pooled"], "flat", axis=1),
        node("MatMul", ["flat", "dense"], "scores"),
        node("Mul", ["settled", "first_class"], "nudge"),
        node("Add", ["scores", "nudge"], "logits"),
        node("Softmax", ["logits"], "probabilities", axis=1),
    ]
    image = float_tensor("image", [1, 128, 128, 3])
    plain = to_model("slow", nodes, constants, [image], [float_tensor("probabilities", [1, 5])])
    explained, _ = attach(plain, Explanation("features", "probabilities"))
    return to_bytes(explained)


def _work() -> Any:
    """The body of the loop; `matrix` and `start` are those of the graph around it."""
    nodes, state = [], "state_0"
    for step in range(1, 9):
        nodes += [
            node("MatMul", [state, "matrix"], f"product_{step}"),
            node("Add", [f"product_{step}", "start"], f"sum_{step}"),
            node("Tanh", [f"sum_{step}"], f"state_{step}"),
        ]
        state = f"state_{step}"
    nodes.append(node("Identity", ["go_on"], "still_going"))
    inputs = [
        helper.make_tensor_value_info("round", TensorProto.INT64, []),
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        float_tensor("state_0", [40, 40]),
    ]
    outputs = [
        helper.make_tensor_value_info("still_going", TensorProto.BOOL, []),
        float_tensor(state, [40, 40]),
    ]
    return helper.make_graph(nodes, "work", inputs, outputs)


def _slow_manifest() -> manifest.Manifest:
    names = ("ring", "scaly-patch", "dark-spot", "bumps", "clear-skin")
    plain = _manifest(manifest.Input("image", 128, 128), names)
    return replace(plain, gradcam=manifest.GradCam("heatmap", "target_class", "features"))


def _nchw_manifest() -> manifest.Manifest:
    image = manifest.Input("image", 64, 48, layout="NCHW", mean=MEAN, std=STD)
    cam = manifest.GradCam("heatmap", "target_class", "squares")
    return replace(_manifest(image, COLOURS), gradcam=cam)


def _manifest(image: manifest.Input, names: tuple[str, ...]) -> manifest.Manifest:
    """A manifest for a test; name and hash are set when it is written."""
    return manifest.Manifest(
        name="",
        version="1.0.0",
        description="A bundle for tests.",
        origin="Written by tests/bundles/make.py.",
        licence="MIT OR Apache-2.0",
        notice={"en": "For tests only.", "vi": "Chỉ dùng để kiểm thử."},
        files={},
        input=image,
        output=manifest.Output("probabilities"),
        labels=tuple(manifest.Label(name, {"en": name.capitalize(), "vi": name}) for name in names),
    )


if __name__ == "__main__":
    main()
