"""TensorFlow Lite models with float32 input and output."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf
import tf2onnx
from numpy.typing import NDArray

from dermald_model.parts import OPSET
from dermald_model.refusal import Refusal
from dermald_model.sources import onnx_file
from dermald_model.sources.source import Picture, Source, Wish


def read(path: Path, wish: Wish) -> Source:
    """Reads a .tflite file. Fails with Refusal."""
    try:
        interpreter = tf.lite.Interpreter(str(path))
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as error:
        raise Refusal(f"TensorFlow Lite cannot load {path}: {error}") from error
    for end in (*inputs, *outputs):
        if end["dtype"] != np.float32:
            raise Refusal(
                f"{path}: {end['name']!r} is {np.dtype(end['dtype'])}; convert the float32 model "
                "and let `dermald-model quantise` make the small one"
            )
    try:
        model, _ = tf2onnx.convert.from_tflite(str(path), opset=OPSET)
    except Exception as error:
        # tf2onnx raises what the operator at hand happens to raise.
        raise Refusal(f"tf2onnx cannot write {path} as ONNX: {error}") from error
    foreign = sorted({n.op_type for n in model.graph.node if n.op_type.startswith("TFL_")})
    if "TFL_READ_VARIABLE" in foreign:
        raise Refusal(
            f"{path} reads its weights from variables that are not in the file; make them "
            "constants before it is written (convert_variables_to_constants_v2), or convert the "
            ".keras file"
        )
    if foreign:
        raise Refusal(f"{path} uses operators that ONNX does not have: {', '.join(foreign)}")
    size = (int(inputs[0]["shape"][1]), int(inputs[0]["shape"][2]))
    if wish.size and wish.size != size:
        raise Refusal(f"{path} takes {size[0]} x {size[1]}, which a .tflite file cannot change")
    source = onnx_file.from_model(model, replace(wish, size=size), "TensorFlow Lite file", None)
    return replace(source, predict=lambda image: _run(path, image))


def _run(path: Path, image: Picture) -> NDArray[np.float32]:
    interpreter: Any = tf.lite.Interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    result: NDArray[np.float32] = interpreter.get_tensor(
        interpreter.get_output_details()[0]["index"]
    )
    return result
