"""A smaller graph that computes the same on every CPU; it knows nothing of Grad-CAM.

ONNX Runtime's basic optimisations fold constants and batch norms and remove what does nothing.
They write standard operators only. What depends on the CPU (the layout of weights, fused
operators) is left to `dermald prepare`, on the machine that serves.
"""

import math
import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import helper, shape_inference, version_converter

from dermald_model.graph import Graph
from dermald_model.parts import IR_VERSION, OPSET
from dermald_model.refusal import Refusal

_STANDARD = ("", "ai.onnx")
# Nodes that only write the same values in another shape.
_SHAPES = frozenset(("Reshape", "Flatten", "Squeeze", "Unsqueeze"))


def fix_input(model: onnx.ModelProto, name: str, shape: list[int | str]) -> onnx.ModelProto:
    """The model with a known input shape; what follows from it is inferred anew."""
    graph = model.graph
    for info in graph.input:
        if info.name == name:
            kind = info.type.tensor_type.elem_type
            info.CopyFrom(helper.make_tensor_value_info(name, kind, shape))
    del graph.value_info[:]
    for info in graph.output:
        info.type.tensor_type.ClearField("shape")
    return shape_inference.infer_shapes(model, data_prop=True)


def to_opset(model: onnx.ModelProto) -> tuple[onnx.ModelProto, str | None]:
    """The model in opset 17, or as it was and a sentence that says so."""
    foreign = sorted({o.domain for o in model.opset_import} - set(_STANDARD))
    used = {node.domain for node in model.graph.node} - set(_STANDARD)
    if used:
        names = sorted({n.op_type for n in model.graph.node if n.domain in used})
        raise Refusal(
            f"the graph uses operators that are not ONNX's own ({', '.join(names)} of "
            f"{', '.join(sorted(used))}); export it again without them"
        )
    kept = [o for o in model.opset_import if o.domain not in foreign]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    found = kept[0].version
    if found == OPSET:
        return model, None
    try:
        return version_converter.convert_version(model, OPSET), f"opset {found} became {OPSET}"
    except Exception as error:
        # The converter has no way for some operators; it says so with errors of many kinds.
        reason = str(error).strip().splitlines()[-1][:120]
        return model, f"opset {found} is kept, it cannot be written as {OPSET}: {reason}"


def simplify(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model after ONNX Runtime's basic optimisations. Fails with Refusal when it cannot run."""
    model.ir_version = min(model.ir_version, IR_VERSION)
    with tempfile.TemporaryDirectory(prefix="dermald-model-") as folder:
        path, result = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
        onnx.save(model, path)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(result)
        options.log_severity_level = 3
        try:
            onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # ONNX Runtime has an exception class for each of its codes, without a common base.
            raise Refusal(f"ONNX Runtime cannot load the graph: {error}") from error
        simple = onnx.load(result)
    _skip_reshapes(simple)
    return tidy(simple)


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without nodes and constants that no output needs, in our version of the format."""
    graph = model.graph
    needed = {info.name for info in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.isdisjoint(node.output):
            continue
        kept.append(node)
        needed.update(node.input)
        needed.update(_outer_names(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.initializer[:]
    graph.initializer.extend(constants)
    del graph.value_info[:]
    opset = next(o.version for o in model.opset_import if o.domain in _STANDARD)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", opset))
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "dermald-model", ""
    return model


def without_output(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model with one output less, and without what only that one needed."""
    kept = [info for info in model.graph.output if info.name != name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return tidy(model)


def _outer_names(node: onnx.NodeProto) -> set[str]:
    """Tensors that the bodies of loops and branches take from the graph around them."""
    names: set[str] = set()
    for attribute in node.attribute:
        for body in (attribute.g, *attribute.graphs):
            for inner in body.node:
                names.update(inner.input)
                names |= _outer_names(inner)
            names.update(info.name for info in body.output)
    return names


def _skip_reshapes(model: onnx.ModelProto) -> None:
    """Lets readers of a chain of reshapes that ends in the shape it began with read its beginning.

    TensorFlow's squeeze-and-excite blocks come as such chains.
    """
    graph = Graph(model)
    outputs = {info.name for info in model.graph.output}
    origin: dict[str, str] = {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = origin.get(name, name)
        if node.op_type not in _SHAPES or node.output[0] in outputs:
            continue
        end = _shape(graph, node.output[0])
        start: str | None = node.input[0]
        while start is not None and (end is None or _shape(graph, start) != end):
            before = graph.producer(start)
            if before is None or before.op_type not in _SHAPES:
                start = None
            else:
                start = origin.get(before.input[0], before.input[0])
        if start is not None:
            origin[node.output[0]] = start


def _shape(graph: Graph, name: str) -> tuple[int | None, ...] | None:
    try:
        shape = graph.shape(name)
    except ValueError:
        return None
    # An open batch axis is equal to none: it may stand for another length.
    return None if None in shape else shape


def parameters(model: onnx.ModelProto) -> int:
    """How many numbers the weights are."""
    return sum(math.prod(tensor.dims) for tensor in model.graph.initializer)
