"""Weights stored as float16, for a bundle that travels; it knows nothing of files.

No CPU of ours computes in float16, and none has to: a Cast in front of each use widens the weights
again, and ONNX Runtime does that once when `dermald prepare` optimises the graph.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Below this many numbers a weight is not worth a node.
_SMALL = 64
# float16 has eleven bits of precision. A tensor that loses more has values outside its range (above
# 65504, or so small that nothing is left of them), and stays as it is.
_LOSS = 2.0**-11
_PREFIX = "float16/"


def narrowed(model: onnx.ModelProto) -> tuple[onnx.ModelProto, list[str]]:
    """The model with float16 weights, and the names of large weights that had to stay float32."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    inputs = {info.name for info in graph.input}
    stayed: list[str] = []
    casts: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        wide = tensor.data_type == TensorProto.FLOAT and tensor.name not in inputs
        if not wide or np.prod(tensor.dims) < _SMALL:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float16)
        largest = float(np.abs(values).max())
        if not float(np.abs(narrow.astype(np.float32) - values).max()) <= _LOSS * largest:
            stayed.append(tensor.name)
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(narrow, _PREFIX + name))
        cast = helper.make_node("Cast", [tensor.name], [name], to=TensorProto.FLOAT)
        cast.name = f"{_PREFIX}{name}/widened"
        casts.append(cast)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return result, stayed


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """What `narrowed` was given, with the rounding that it did."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    for tensor in graph.initializer:
        if tensor.name.startswith(_PREFIX):
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name.removeprefix(_PREFIX)))
    nodes = [node for node in graph.node if not node.name.startswith(_PREFIX)]
    del graph.node[:]
    graph.node.extend(nodes)
    return result
