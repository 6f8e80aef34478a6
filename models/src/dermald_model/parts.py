"""The pieces that an ONNX model is put together from by hand; it knows no network."""

from collections.abc import Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# IR 10 with opset 17 loads in every ONNX Runtime from 1.24; newer IR versions do not.
IR_VERSION = 10
OPSET = 17


def node(operator: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    """A node with one output, named after it."""
    return helper.make_node(operator, inputs, [output], name=output, **attributes)


def constant(name: str, values: NDArray[Any]) -> Any:
    """A constant of the graph."""
    return numpy_helper.from_array(values, name)


def float_tensor(name: str, shape: Sequence[int | str]) -> Any:
    """The declaration of a float32 input or output."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def target_tensor(name: str = "target_class", pictures: int | str = 1) -> Any:
    """The declaration of the class input, int64, one a picture."""
    return helper.make_tensor_value_info(name, TensorProto.INT64, [pictures])


def to_model(
    name: str,
    nodes: list[Any],
    constants: list[Any],
    inputs: list[Any],
    outputs: list[Any],
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A checked ONNX model of the graph."""
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=imports, producer_name="dermald-model"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def to_bytes(model: onnx.ModelProto) -> bytes:
    """The ONNX file of a model: the same bytes for the same model."""
    return bytes(model.SerializeToString(deterministic=True))
