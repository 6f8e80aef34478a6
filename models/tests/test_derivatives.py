"""Every derivative against finite differences of the operator itself, run by ONNX Runtime."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx", reason="builds ONNX graphs")
onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX")

from onnx import helper

from dermald_model.backward import derive
from dermald_model.derivatives import RULES
from dermald_model.graph import Graph
from dermald_model.parts import constant, float_tensor, node, to_model
from dermald_model.step import Gradient, UncoveredOperatorError

MAP, ROW = (1, 4, 5, 6), (1, 12)
_RNG = np.random.default_rng(17)


# Between two neighbours of the points below.
_BOUNDS = np.array([-1, -0.5, 0.5, 1], np.float32).reshape(1, 4, 1, 1)


def _weights(*shape: int) -> NDArray[np.float32]:
    return _RNG.standard_normal(shape).astype(np.float32)


def _op(operator: str, *constants: NDArray[Any], **attributes: Any) -> list[Any]:
    """One node on `x` and constants."""
    return [("op", operator, constants, attributes)]


# Name: input shape, the operator on x, and what keeps x away from kinks and poles.
CASES: dict[str, tuple[tuple[int, ...], list[Any]]] = {
    **{
        name: (MAP, _op(name))
        for name in (
            *("Abs", "Elu", "Erf", "Exp", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid"),
            *("HardSwish", "Identity", "LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Sigmoid"),
            *("Softplus", "Softsign", "Tanh", "Flatten", "Transpose"),
        )
    },
    "Transpose to NHWC": (MAP, _op("Transpose", perm=[0, 2, 3, 1])),
    "Sqrt": (MAP, [*_op("Exp"), *_op("Sqrt")]),
    "Log": (MAP, [*_op("Exp"), *_op("Log")]),
    "Reciprocal": (MAP, [*_op("Exp"), *_op("Reciprocal")]),
    "Pow": (MAP, [*_op("Exp"), *_op("Pow", np.array(1.5, np.float32))]),
    "PRelu": (MAP, _op("PRelu", _weights(4, 1, 1))),
    "Clip": (MAP, _op("Clip", np.array(-0.7, np.float32), np.array(0.9, np.float32))),
    "Clip below": (MAP, _op("Clip", np.array(0.1, np.float32))),
    "Add": (MAP, _op("Add", _weights(1, 4, 1, 1))),
    "Sum": (MAP, _op("Sum", _weights(1, 4, 1, 1), _weights(1, 4, 5, 6))),
    "Mean": (MAP, _op("Mean", _weights(1, 4, 1, 1), _weights(1, 4, 5, 6))),
    "Sub": (MAP, _op("Sub", _weights(4, 5, 1))),
    "Mul": (MAP, _op("Mul", _weights(1, 4, 1, 6))),
    "Div": (MAP, _op("Div", _weights(1, 4, 1, 1) + 4)),
    "Max": (MAP, _op("Max", _BOUNDS)),
    "Min": (MAP, _op("Min", _BOUNDS)),
    "Mul of a column": ((1, 4, 1, 1), _op("Mul", _weights(1, 4, 5, 6))),
    "Div by x": ((1, 4, 1, 1), [*_op("Exp"), *_op("DivBy", _weights(1, 4, 5, 6))]),
    "Dropout": (MAP, _op("Dropout")),
    "Cast": (MAP, _op("Cast", to=1)),
    "BatchNormalization": (
        MAP,
        _op("BatchNormalization", _weights(4), _weights(4), _weights(4), np.exp(_weights(4))),
    ),
    "LayerNormalization": (
        ROW,
        _op("LayerNormalization", _weights(12), _weights(12), axis=-1),
    ),
    "Conv": (MAP, _op("Conv", _weights(6, 4, 3, 3), _weights(6), pads=[1, 1, 1, 1])),
    "Conv 1x1": (MAP, _op("Conv", _weights(6, 4, 1, 1))),
    "Conv 1x1 behind pooling": (
        MAP,
        [*_op("Conv", _weights(6, 4, 1, 1)), *_op("GlobalAveragePool")],
    ),
    "Conv of pooled": (MAP, [*_op("GlobalAveragePool"), *_op("Conv", _weights(6, 4, 1, 1))]),
    "Conv with strides": (
        MAP,
        _op("Conv", _weights(6, 4, 3, 2), strides=[2, 3], pads=[1, 0, 1, 0]),
    ),
    "Conv dilated": (MAP, _op("Conv", _weights(6, 4, 2, 2), dilations=[2, 2])),
    "Conv depthwise, padded by name": (
        MAP,
        _op("Conv", _weights(4, 1, 3, 3), group=4, auto_pad="SAME_UPPER", strides=[2, 2]),
    ),
    "MaxPool": (MAP, _op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])),
    "MaxPool that overlaps": (
        MAP,
        _op("MaxPool", kernel_shape=[3, 3], strides=[1, 2], pads=[1, 1, 1, 1]),
    ),
    "AveragePool": (MAP, _op("AveragePool", kernel_shape=[2, 3], strides=[2, 1])),
    "AveragePool with pads": (
        MAP,
        _op("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    ),
    "AveragePool that counts pads": (
        MAP,
        _op("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    ),
    "Reshape": (MAP, _op("Reshape", np.array([1, 2, -1], np.int64))),
    "Squeeze": ((1, 4, 1, 1), _op("Squeeze", np.array([2, 3], np.int64))),
    "Unsqueeze": (ROW, _op("Unsqueeze", np.array([1], np.int64))),
    "Concat": (MAP, _op("Concat", _weights(1, 2, 5, 6), axis=1)),
    "Split": (MAP, _op("Split", np.array([1, 3], np.int64), axis=1)),
    "ReduceMean": (MAP, _op("ReduceMean", axes=[2, 3], keepdims=0)),
    "ReduceMean of a row": (ROW, _op("ReduceMean", axes=[-1], keepdims=1)),
    "ReduceSum": (MAP, _op("ReduceSum", np.array([1, 3], np.int64), keepdims=0)),
    "ReduceMax": (MAP, _op("ReduceMax", axes=[2, 3], keepdims=1)),
    "ReduceMin": (MAP, _op("ReduceMin", axes=[1], keepdims=0)),
    "ReduceL2": (MAP, _op("ReduceL2", axes=[1], keepdims=1)),
    "Softmax": (ROW, _op("Softmax", axis=-1)),
    "LogSoftmax": (ROW, _op("LogSoftmax", axis=-1)),
    "Gemm": (ROW, _op("Gemm", _weights(12, 5), _weights(5), alpha=0.7)),
    "Gemm turned": (ROW, _op("Gemm", _weights(5, 12), transB=1)),
    "MatMul": (ROW, _op("MatMul", _weights(12, 5))),
    "MatMul of a stack": (MAP, _op("MatMul", _weights(6, 3))),
    "MatMul with a stack": (MAP, _op("MatMul", _weights(1, 4, 6, 3))),
    "MatMul from the left": (MAP, _op("MatMulFrom", _weights(1, 4, 3, 5))),
    "Where": (MAP, _op("WhereAbove", np.round(_weights(1, 4, 5, 6)))),
    "attention": ((1, 3, 4), _op("Attend")),
    "SiLU": (MAP, _op("SiLU")),
    "Gelu": (MAP, _op("Gelu")),
    "Gelu by tanh": (MAP, _op("Gelu", approximate="tanh")),
}


def _nodes(steps: list[Any]) -> tuple[list[Any], list[Any], str]:
    """The nodes of a case, their constants, and the last tensor."""
    nodes, constants, last = [], [], "x"
    for number, (_, operator, values, attributes) in enumerate(steps):
        names = [f"c{number}_{place}" for place in range(len(values))]
        constants += [constant(name, value) for name, value in zip(names, values, strict=True)]
        out = f"y{number}"
        match operator:
            case "DivBy":
                made = [node("Div", [names[0], last], out)]
            case "MatMulFrom":
                made = [node("MatMul", [names[0], last], out)]
            case "WhereAbove":
                made = [
                    node("Greater", [last, names[0]], "above"),
                    node("Exp", [last], "raised"),
                    node("Where", ["above", last, "raised"], out),
                ]
            case "SiLU":
                made = [node("Sigmoid", [last], "gate"), node("Mul", [last, "gate"], out)]
            case "Attend":
                made = [
                    node("Transpose", [last], "turned", perm=[0, 2, 1]),
                    node("MatMul", [last, "turned"], "pairs"),
                    node("Softmax", ["pairs"], "shares", axis=-1),
                    node("MatMul", ["shares", last], out),
                ]
            case "Split":
                made = [helper.make_node("Split", [last, *names], ["unused", out], **attributes)]
            case _:
                made = [node(operator, [last, *names], out, **attributes)]
        nodes, last = nodes + made, out
    return nodes, constants, last


def _network(shape: tuple[int, ...], steps: list[Any], opset: int) -> Any:
    """x, the case, and a linear head of two logits with weights that are all different."""
    nodes, constants, last = _nodes(steps)
    inner = to_model("inner", nodes, constants, [float_tensor("x", shape)], [], opset=opset)
    length = int(np.prod([n or 1 for n in Graph(inner).shape(last)]))
    constants += [
        constant("rows", np.array([1, length], np.int64)),
        constant("head", np.random.default_rng(3).standard_normal((length, 2)).astype(np.float32)),
    ]
    nodes += [node("Reshape", [last, "rows"], "flat"), node("MatMul", ["flat", "head"], "logits")]
    ends = [float_tensor("x", shape)], [float_tensor("logits", [1, 2])]
    return to_model("case", nodes, constants, *ends, opset=opset)


def _points(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Values that are at least 0.05 apart and 0.02 from 0: no kink and no tie is near."""
    count = int(np.prod(shape))
    spread = (np.arange(count) - count / 2 + 0.5) * max(0.05, 5 / count)
    points: NDArray[np.float32] = np.random.default_rng(9).permutation(spread).astype(np.float32)
    return points.reshape(shape)


def _session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    file = model.SerializeToString()
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", CASES)
def test_derivative_agrees_with_finite_differences(name: str) -> None:
    shape, steps = CASES[name]
    opset = 20 if name.startswith(("Gelu", "Mish")) else 17
    if opset == 20:
        steps = [step for step in steps if "axes" not in step[3]]
    model = _network(shape, steps, opset)
    x, step = _points(shape), np.float32(4e-3)
    plain = _session(model)
    differences = np.zeros(x.size)
    for place in range(x.size):
        ends = []
        for side in (step, -step):
            moved = x.copy().ravel()
            moved[place] += side
            ends.append(float(plain.run(None, {"x": moved.reshape(shape)})[0][0, 1]))
        differences[place] = (ends[0] - ends[1]) / (2 * float(step))

    graph = Graph(model)
    seed = Gradient(graph.add_constant(np.array([[0, 1]], np.float32)), (1, 2))
    gradient = derive(graph, "logits", seed, "x")
    whole = graph.expand(gradient.name, shape)
    graph.model.graph.output.append(float_tensor(whole, shape))
    onnx.checker.check_model(graph.model, full_check=True)
    found = _session(graph.model).run([whole], {"x": x})[0].ravel()
    # Differences of float32 sums over a step of 0.004 know about three digits.
    scale = max(1.0, float(np.abs(differences).max()))
    assert np.abs(found - differences).max() <= 1e-2 * scale
    assert np.abs(found).max() > 1e-3


def test_every_rule_has_a_case() -> None:
    ran = {step[1] for _, steps in CASES.values() for step in steps}
    inside = {"DivBy": "Div", "MatMulFrom": "MatMul", "WhereAbove": "Where"}
    assert set(RULES) <= {inside.get(name, name) for name in ran}


def test_operator_without_a_rule_is_named() -> None:
    steps = [*_op("Resize"), *_op("Relu")]
    sizes = np.array([1, 4, 10, 12], np.int64)
    none = np.array([], np.float32)
    steps[0] = ("op", "Resize", (none, none, sizes), {})
    graph = Graph(_network(MAP, steps, 17))
    seed = Gradient(graph.add_constant(np.array([[0, 1]], np.float32)), (1, 2))
    with pytest.raises(UncoveredOperatorError, match=r"operator Resize \(y0\)"):
        derive(graph, "logits", seed, "x")
