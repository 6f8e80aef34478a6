"""Keras models: .keras (Keras 3), and .h5 as older Keras wrote it.

The network is traced as it is called for a prediction: augmentation and dropout vanish by
themselves, nested models need no special care, and the layer for Grad-CAM is caught while it is
called, wherever it is nested.
"""

import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# TensorFlow reads these when it is imported: no greetings, and the same sums on every CPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from dermald_model.parts import OPSET, constant
from dermald_model.refusal import Refusal
from dermald_model.sources import keras_config
from dermald_model.sources.keras_layers import Calls, choose, layers
from dermald_model.sources.source import Source, Wish

_AUGMENTATION = ("Random", "MixUp", "CutMix", "AugMix", "RandAugment", "Jitter", "GaussianNoise")
_SCALING = (keras.layers.Rescaling, keras.layers.Normalization)


def read(path: Path, wish: Wish) -> Source:
    """Reads a Keras file. Fails with Refusal, naming the layer or the file."""
    network, notes = load(path, wish)
    height, width = _input_size(network, wish)
    calls = Calls(network, (height, width))
    layer = choose(calls, wish.layer) if wish.layer else None
    model = _export(network, calls, layer, (height, width), wish.open_batch)
    augmentation = [
        one.name for one in layers(network) if type(one).__name__.startswith(_AUGMENTATION)
    ]
    if augmentation:
        notes.append(f"left out what is for training only: {', '.join(augmentation)}")
    scaling = next((one.name for one in layers(network) if isinstance(one, _SCALING)), None)
    return Source(
        kind=f"Keras {keras.__version__} file",
        model=model,
        input="image",
        layout="NHWC",
        height=height,
        width=width,
        output="probabilities",
        layer="layer" if layer else None,
        layer_name=layer.name if layer else "",
        channel=3,
        scaling=scaling,
        notes=tuple(notes),
        predict=lambda image: np.asarray(network(image, training=False)),
    )


def load(path: Path, wish: Wish) -> tuple[Any, list[str]]:
    """The network in float32 and, if one was wished, with another input size; and what was done."""
    if wish.custom:
        _run(wish.custom)
    try:
        config = keras_config.read(path)
    except (OSError, ValueError, KeyError) as error:
        raise Refusal(f"{path} is damaged: {error}") from error
    if config is None:
        raise Refusal(f"{path} holds weights without their network; save the whole model")
    notes = []
    edits = []
    if keras_config.is_short(config):
        edits.append(keras_config.to_float32)
        notes.append("float16 layers were brought to float32")
    with tempfile.TemporaryDirectory(prefix="dermald-model-") as folder:
        file = path
        for number, edit in enumerate(edits):
            (Path(folder) / str(number)).mkdir()
            file = keras_config.edited(file, edit, Path(folder) / str(number))
        network = _load(file, path)
        own = _own_size(network)
        if wish.size and own and own != wish.size:
            (Path(folder) / "size").mkdir()
            resize = keras_config.to_size(own, wish.size)
            network = _load(keras_config.edited(file, resize, Path(folder) / "size"), path)
            notes.append(f"input {own[0]} x {own[1]} became {wish.size[0]} x {wish.size[1]}")
    _check_ends(network, path)
    return network, notes


def _run(script: Path) -> None:
    """Runs a file of the caller's that registers layers of his own with Keras."""
    spec = importlib.util.spec_from_file_location("custom_layers", script)
    if spec is None or spec.loader is None or not script.is_file():
        raise Refusal(f"--custom {script} is no Python file")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def _load(file: Path, path: Path) -> Any:
    try:
        return keras.models.load_model(file, compile=False)
    except Exception as error:
        # Keras raises errors of many kinds, often with the whole configuration in them and the
        # cause at the end of a chain.
        said = " ".join(" ".join(str(one) or repr(one) for one in _chain(error)).split())
        unknown = re.search(r"(?:locate class|Unknown layer:) '?([\w>.]+)", said)
        if unknown:
            raise Refusal(
                f"{path} has a layer of a class of its own, {unknown[1]!r}; give the Python file "
                "that defines it with --custom (decorated with "
                "keras.saving.register_keras_serializable)"
            ) from error
        hint = ""
        if "ambda" in said:
            hint = "; a Lambda layer holds code: put a layer in its place and save again"
        raise Refusal(f"Keras cannot load {path}: {said[:400]}{hint}") from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the latest first."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__


def _check_ends(network: Any, path: Path) -> None:
    inputs, outputs = (getattr(network, end, None) or [] for end in ("inputs", "outputs"))
    if len(inputs) > 1:
        names = ", ".join(f"{one.name} {one.shape}" for one in inputs)
        raise Refusal(f"{path} has {len(inputs)} inputs ({names}); a classifier takes one picture")
    if inputs and (len(inputs[0].shape) != 4 or inputs[0].shape[3] != 3):
        raise Refusal(f"{path} takes {inputs[0].shape}; expected pictures, (None, h, w, 3)")
    if len(outputs) > 1:
        names = ", ".join(f"{one.name} {one.shape}" for one in outputs)
        raise Refusal(
            f"{path} has {len(outputs)} outputs ({names}); a classifier has one, a detector or a "
            "network with several heads cannot be served"
        )
    if outputs and len(outputs[0].shape) != 2:
        raise Refusal(f"{path} gives {outputs[0].shape}; a classifier gives (None, classes)")


def _own_size(network: Any) -> tuple[int, int] | None:
    inputs = getattr(network, "inputs", None)
    if not inputs or None in inputs[0].shape[1:3]:
        return None
    return inputs[0].shape[1], inputs[0].shape[2]


def _input_size(network: Any, wish: Wish) -> tuple[int, int]:
    size = _own_size(network) or wish.size
    if size is None:
        raise Refusal("the network takes pictures of any size; say which with --input-size")
    return size


def _export(
    network: Any, calls: Calls, layer: Any, size: tuple[int, int], open_batch: bool
) -> onnx.ModelProto:
    batch = None if open_batch else 1
    signature = [tf.TensorSpec((batch, *size, 3), tf.float32, name="image")]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator,unused-ignore]
    def predict(image: Any) -> dict[str, Any]:
        calls.catch = [layer]
        outputs = {"probabilities": tf.identity(network(image, training=False))}
        if layer is not None:
            outputs["layer"] = tf.identity(calls.caught[layer])
        return outputs

    try:
        # Traced once: tf2onnx asks for the same signature and gets the same trace.
        captured = _captured(predict.get_concrete_function())
        model, _ = tf2onnx.convert.from_function(predict, signature, opset=OPSET)
    except ValueError as error:
        raise Refusal(f"tf2onnx cannot write this network as ONNX: {error}") from error
    finally:
        calls.catch, calls.caught = (), {}
    _hold(model, captured)
    result: onnx.ModelProto = model
    return result


def _captured(trace: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The constants that a trace reads from outside, by the names that they have inside.

    Normalization, for one, keeps its mean as a tensor and not as a weight. tf2onnx freezes weights
    only, and makes inputs of the rest.
    """
    inside = trace.inputs[len(trace.inputs) - len(trace.captured_inputs) :]
    return {
        name.name: value.numpy()
        for name, value in zip(inside, trace.captured_inputs, strict=True)
        if value.dtype != tf.resource
    }


def _hold(model: onnx.ModelProto, captured: dict[str, np.ndarray[Any, Any]]) -> None:
    """Gives the graph the values of captured constants, so that the picture is its only input."""
    inputs = {one.name: one for one in model.graph.input if one.name != "image"}
    for name in sorted(inputs.keys() & captured.keys()):
        model.graph.initializer.append(constant(name, captured[name]))
        model.graph.input.remove(inputs.pop(name))
    if inputs:
        raise Refusal(
            f"the network reads something besides the picture ({', '.join(inputs)}) whose value "
            "cannot be taken from the file; make it a weight of its layer, or leave it out"
        )
