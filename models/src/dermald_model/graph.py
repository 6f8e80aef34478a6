"""An ONNX graph that is read and added to; it knows nothing of gradients, models or files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from dermald_model.refusal import Refusal

# The length of each axis; None is a batch axis whose length only the run knows.
Shape = tuple[int | None, ...]


class GraphError(Refusal):
    """A graph that cannot be worked with; the message names the tensor or the operator."""


class Graph:
    """A graph with the shapes of its tensors, and nodes that are appended to it.

    New nodes come after all others. Names of new tensors start with `prefix`, so that nothing of
    the network's own is hidden.
    """

    def __init__(self, model: onnx.ModelProto, prefix: str = "gradcam") -> None:
        self.model = shape_inference.infer_shapes(model, data_prop=True)
        self.opset = next(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        self._prefix = prefix
        proto = self.model.graph
        self.network = list(proto.node)
        self._constants = {tensor.name: tensor for tensor in proto.initializer}
        self._constants |= {
            node.output[0]: helper.get_node_attr_value(node, "value")
            for node in self.network
            if node.op_type == "Constant" and node.attribute[0].name == "value"
        }
        self._producers = {name: node for node in self.network for name in node.output if name}
        self._shapes: dict[str, Shape] = {
            name: tuple(tensor.dims) for name, tensor in self._constants.items()
        }
        self._types = {name: tensor.data_type for name, tensor in self._constants.items()}
        for info in (*proto.value_info, *proto.input, *proto.output):
            self._declare(info)
        self._names = {*self._producers, *self._shapes}
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def _declare(self, info: Any) -> None:
        tensor = info.type.tensor_type
        self._types[info.name] = tensor.elem_type
        if tensor.HasField("shape"):
            self._shapes[info.name] = tuple(
                axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim
            )

    def shape(self, name: str) -> Shape:
        """The shape of a tensor. Fails with GraphError when more than the batch is unknown."""
        shape = self._shapes.get(name)
        if shape is None or any(length is None for length in shape[1:]):
            known = "not at all" if shape is None else f"only as {list(shape)}"
            raise GraphError(f"the shape of tensor {name!r} is known {known}")
        return shape

    def learn_shape(self, name: str, shape: Shape) -> None:
        """Takes a shape from who knows better than ONNX's inference."""
        self._shapes[name] = shape

    def is_float(self, name: str) -> bool:
        """Whether the tensor holds float32."""
        return bool(self._types.get(name, TensorProto.FLOAT) == TensorProto.FLOAT)

    def producer(self, name: str) -> Any | None:
        """The node that makes a tensor; None for inputs and constants."""
        return self._producers.get(name)

    def constant(self, name: str) -> NDArray[Any] | None:
        """The value of a constant; None for what is computed."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def fresh(self, wish: str) -> str:
        """A name that no tensor has yet: the wish, or the wish with a number."""
        name, number = wish, 1
        while name in self._names:
            name, number = f"{wish}_{number}", number + 1
        self._names.add(name)
        return name

    def add(
        self,
        operator: str,
        inputs: Sequence[str],
        shape: Shape,
        outputs: int = 1,
        **attributes: Any,
    ) -> str:
        """Appends a node; returns the name of its last output, whose shape is `shape`."""
        names = [self.fresh(f"{self._prefix}/{operator}") for _ in range(outputs)]
        node = helper.make_node(operator, inputs, names, name=names[0], **attributes)
        self.model.graph.node.append(node)
        self._shapes[names[-1]] = shape
        return names[-1]

    def add_as(self, name: str, operator: str, inputs: Sequence[str], **attributes: Any) -> None:
        """Appends a node whose output has a given name."""
        node = helper.make_node(operator, inputs, [name], name=name, **attributes)
        self.model.graph.node.append(node)

    def add_constant(self, value: NDArray[Any]) -> str:
        """The name of a constant with this value; equal values share one."""
        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self._known:
            name = self.fresh(f"{self._prefix}/constant")
            self.model.graph.initializer.append(numpy_helper.from_array(value, name))
            self._shapes[name] = value.shape
            self._known[key] = name
        return self._known[key]

    def number(self, value: float) -> str:
        """The name of a float32 scalar."""
        return self.add_constant(np.array(value, np.float32))

    def reduce(self, operator: str, name: str, axes: Sequence[int]) -> str:
        """ReduceSum, ReduceMean or ReduceMax over some axes, which stay with length 1."""
        full = self.shape(name)
        shape = tuple(1 if axis in axes else length for axis, length in enumerate(full))
        # The axes became an input: of ReduceSum with opset 13, of the others with opset 18.
        if operator == "ReduceSum" or self.opset >= 18:
            listed = self.add_constant(np.array(axes, np.int64))
            return self.add(operator, [name, listed], shape, keepdims=1)
        return self.add(operator, [name], shape, axes=list(axes), keepdims=1)

    def reshape(self, name: str, shape: Shape) -> str:
        """The same values in another shape; nothing is added when it has that shape already."""
        if self.shape(name) == shape:
            return name
        lengths = [-1 if length is None else length for length in shape]
        return self.add("Reshape", [name, self.add_constant(np.array(lengths, np.int64))], shape)

    def expand(self, name: str, shape: Shape) -> str:
        """The tensor repeated along its axes of length 1 until it has `shape`."""
        if self.shape(name) == shape:
            return name
        # Length 1 leaves an axis as it is: so a batch axis need not be known.
        lengths = [1 if length is None else length for length in shape]
        return self.add("Expand", [name, self.add_constant(np.array(lengths, np.int64))], shape)

    def slice(self, name: str, axis: int, start: int, stop: int, shape: Shape) -> str:
        """The part of a tensor between two places on one axis."""
        ends = [self.add_constant(np.array([n], np.int64)) for n in (start, stop, axis)]
        return self.add("Slice", [name, *ends], shape)


def attributes(node: Any) -> dict[str, Any]:
    """The attributes of a node, texts as str."""
    found = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in found.items()}


def broadcast(*shapes: Shape) -> Shape:
    """The shape of an elementwise operation, by ONNX's rules (those of numpy)."""
    rank = max(len(shape) for shape in shapes)
    full = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(
        next((length for length in lengths if length != 1), 1)
        for lengths in zip(*full, strict=True)
    )
