"""ONNX files of any framework, PyTorch's among them."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dermald_model.graph import Graph, GraphError, Shape
from dermald_model.refusal import Refusal
from dermald_model.simplify import fix_input, to_opset
from dermald_model.sources.source import LAST_CONV, LAST_MAP, Picture, Source, Wish

_CONVOLUTIONS = ("Conv", "ConvTranspose")


def read(path: Path, wish: Wish) -> Source:
    """Reads an ONNX file, weights in files beside it included. Fails with Refusal."""
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except Exception as error:
        # protobuf, onnx and the file system each have errors of their own.
        first = (str(error).strip().splitlines() or [repr(error)])[0]
        raise Refusal(f"{path} is no sound ONNX file: {first}") from error
    original = model.SerializeToString()
    return from_model(
        model, wish, f"ONNX file of {model.producer_name or 'unknown origin'}", original
    )


def from_model(model: onnx.ModelProto, wish: Wish, kind: str, original: bytes | None) -> Source:
    """A source from a graph; `original` is the file to compare with."""
    notes = []
    info = _picture_input(model)
    layout, height, width = _layout(info, wish)
    batch: int | str = "batch" if wish.open_batch else 1
    shape = [batch, height, width, 3] if layout == "NHWC" else [batch, 3, height, width]
    output = _class_output(model, wish)
    model, note = to_opset(model)
    if note:
        notes.append(note)
    model = fix_input(model, info.name, shape)
    layer, channel = None, 1
    if wish.layer:
        layer, channel = _choose(model, wish.layer)
        _declare(model, layer)
    return Source(
        kind=kind,
        model=model,
        input=info.name,
        layout=layout,
        height=height,
        width=width,
        output=output,
        layer=layer,
        layer_name=layer or "",
        channel=channel,
        notes=tuple(notes),
        predict=_runner(original, info.name, output) if original else None,
    )


def _picture_input(model: onnx.ModelProto) -> Any:
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(info.name for info in inputs) or "none"
        raise Refusal(f"the graph has {len(inputs)} inputs ({names}); a classifier takes a picture")
    kind = inputs[0].type.tensor_type.elem_type
    if kind != TensorProto.FLOAT:
        name = TensorProto.DataType.Name(kind)
        raise Refusal(
            f"input {inputs[0].name!r} is {name}; export the network with a float32 input"
        )
    return inputs[0]


def _layout(info: Any, wish: Wish) -> tuple[str, int, int]:
    lengths = [axis.dim_value or None for axis in info.type.tensor_type.shape.dim]
    if len(lengths) != 4 or 3 not in (lengths[1], lengths[3]):
        raise Refusal(f"input {info.name!r} has shape {lengths}; expected pictures of 3 channels")
    layout = "NCHW" if lengths[1] == 3 else "NHWC"
    sides = lengths[2:4] if layout == "NCHW" else lengths[1:3]
    if wish.size:
        return layout, *wish.size
    if sides[0] is None or sides[1] is None:
        raise Refusal(f"input {info.name!r} takes any size; say which with --input-size")
    return layout, sides[0], sides[1]


def _class_output(model: onnx.ModelProto, wish: Wish) -> str:
    outputs = {info.name: info for info in model.graph.output}
    listed = ", ".join(f"{name} {_lengths(info)}" for name, info in outputs.items())
    if wish.output:
        if wish.output not in outputs:
            raise Refusal(f"there is no output {wish.output!r}; the graph has {listed}")
        chosen = wish.output
    elif len(outputs) > 1:
        raise Refusal(
            f"the graph has {len(outputs)} outputs ({listed}); a detector cannot be served; of a "
            "classifier with further heads choose the classes with --output NAME"
        )
    else:
        chosen = next(iter(outputs))
    info = outputs[chosen]
    if len(info.type.tensor_type.shape.dim) != 2:
        raise Refusal(f"output {chosen!r} has shape {_lengths(info)}; a classifier gives classes")
    kept = [info]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return chosen


def _lengths(info: Any) -> list[int | str]:
    return [axis.dim_value or axis.dim_param or "?" for axis in info.type.tensor_type.shape.dim]


def _choose(model: onnx.ModelProto, wish: str) -> tuple[str, int]:
    """The tensor that Grad-CAM looks at, and the axis of its channels."""
    graph = Graph(model)
    maps = [
        (node, name)
        for node in graph.network
        for name in node.output
        if node.op_type != "Transpose" and _is_map(_shape(graph, name)) and graph.is_float(name)
    ]
    named = [name for node, name in maps if wish in (node.name, name)]
    if wish == LAST_CONV:
        named = [name for node, name in maps if node.op_type in _CONVOLUTIONS]
    elif wish == LAST_MAP:
        named = [name for _, name in maps]
    if not named:
        names = [text for node, name in maps for text in dict.fromkeys((node.name, name)) if text]
        near = difflib.get_close_matches(wish, names, 5, 0.3) or names[-5:]
        raise Refusal(
            f"there is no layer {wish!r} with height and width; near it are: {', '.join(near)}"
        )
    return named[-1], 1


def _shape(graph: Graph, name: str) -> Shape:
    try:
        return graph.shape(name)
    except GraphError:
        return ()


def _is_map(shape: Sequence[int | None]) -> bool:
    return len(shape) == 4 and (shape[2] or 0) * (shape[3] or 0) > 1


def _declare(model: onnx.ModelProto, layer: str) -> None:
    """Makes a tensor an output, so that no optimisation takes it away."""
    shape = Graph(model).shape(layer)
    lengths = [n or "batch" for n in shape]
    model.graph.output.append(helper.make_tensor_value_info(layer, TensorProto.FLOAT, lengths))


def _runner(original: bytes, name: str, output: str) -> Any:
    def predict(image: Picture) -> NDArray[np.float32]:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            original, options, providers=["CPUExecutionProvider"]
        )
        result: NDArray[np.float32] = session.run([output], {name: image})[0]
        return result

    return predict
