"""How functions of one number are differentiated: activations, roots, powers.

Where a curve has a kink (ReLU at 0), TensorFlow's and PyTorch's choice of the slope is taken.
"""

import math
from collections.abc import Callable

import numpy as np

from dermald_model.step import Gradient, Rule, Step, as_float

_Slope = Callable[[Step, str, str], str]


def _unary(slope: _Slope) -> Rule:
    """The rule of y = f(x), from its slope: a tensor, from the names of x and y."""

    def rule(step: Step, _places: set[int]) -> dict[int, Gradient]:
        return {0: step.times(step.gradient, slope(step, step.input(0), step.output))}

    return rule


# Piecewise linear ---------------------------------------------------------------------------


def _relu(step: Step, x: str, _y: str) -> str:
    return as_float(step, step.apply("Greater", x, step.number(0)))


def _two_slopes(step: Step, x: str, below: str) -> str:
    """Slope 1 above 0 and `below` elsewhere."""
    return step.apply("Where", step.apply("Greater", x, step.number(0)), step.number(1), below)


def _leaky_relu(step: Step, x: str, _y: str) -> str:
    return _two_slopes(step, x, step.number(step.attributes.get("alpha", 0.01)))


def _prelu(step: Step, places: set[int]) -> dict[int, Gradient]:
    if places != {0}:
        raise step.uncovered(", whose slope is computed")
    return {0: step.times(step.gradient, _two_slopes(step, step.input(0), step.input(1)))}


def _inside(step: Step, x: str, low: str | None, high: str | None) -> str:
    """1 between two bounds and 0 elsewhere."""
    tests = [step.apply("Greater", x, low)] if low else []
    tests += [step.apply("Less", x, high)] if high else []
    if len(tests) == 2:
        tests = [step.apply("And", *tests)]
    return as_float(step, tests[0]) if tests else step.number(1)


def _clip(step: Step, x: str, _y: str) -> str:
    return _inside(step, x, step.input(1) or None, step.input(2) or None)


def _hard_sigmoid(step: Step, _x: str, y: str) -> str:
    inside = _inside(step, y, step.number(0), step.number(1))
    return step.apply("Mul", inside, step.number(step.attributes.get("alpha", 0.2)))


def _hard_swish(step: Step, x: str, _y: str) -> str:
    # x max(0, min(1, x / 6 + 1 / 2)): slope 0 to -3, then x / 3 + 1 / 2, from 3 on 1.
    middle = step.apply("Add", step.apply("Mul", x, step.number(1 / 3)), step.number(0.5))
    upper = step.apply("Where", step.apply("Less", x, step.number(3)), middle, step.number(1))
    left = step.apply("Greater", x, step.number(-3))
    return step.apply("Where", left, upper, step.number(0))


def _abs(step: Step, x: str, _y: str) -> str:
    return step.apply("Sign", x)


# Smooth -------------------------------------------------------------------------------------


def _one_minus(step: Step, name: str) -> str:
    return step.apply("Sub", step.number(1), name)


def _sigmoid(step: Step, _x: str, y: str) -> str:
    return step.apply("Mul", y, _one_minus(step, y))


def _tanh(step: Step, _x: str, y: str) -> str:
    return _one_minus(step, step.apply("Mul", y, y))


def _erf(step: Step, x: str, _y: str) -> str:
    power = step.apply("Exp", step.apply("Neg", step.apply("Mul", x, x)))
    return step.apply("Mul", power, step.number(2 / math.sqrt(math.pi)))


def _gelu(step: Step, x: str, _y: str) -> str:
    square = step.apply("Mul", x, x)
    if step.attributes.get("approximate", "none") == "tanh":
        # y = x (1 + tanh u) / 2 with u = c (x + a x^3)
        c, a = math.sqrt(2 / math.pi), 0.044715
        cube = step.apply("Mul", square, step.number(a))
        u = step.apply("Mul", x, step.apply("Add", step.number(1), cube))
        tanh = step.apply("Tanh", step.apply("Mul", u, step.number(c)))
        slope = step.apply("Mul", _tanh(step, x, tanh), step.number(c))
        steep = step.apply("Add", step.number(1), step.apply("Mul", cube, step.number(3)))
        bend = step.apply("Mul", step.apply("Mul", slope, steep), x)
        both = step.apply("Add", step.apply("Add", step.number(1), tanh), bend)
        return step.apply("Mul", both, step.number(0.5))
    # y = x Phi(x): slope Phi(x) + x phi(x)
    erf = step.apply("Erf", step.apply("Mul", x, step.number(math.sqrt(0.5))))
    phi = step.apply("Exp", step.apply("Mul", square, step.number(-0.5)))
    bend = step.apply("Mul", step.apply("Mul", phi, x), step.number(1 / math.sqrt(2 * math.pi)))
    half = step.apply("Mul", step.apply("Add", step.number(1), erf), step.number(0.5))
    return step.apply("Add", half, bend)


def _elu(step: Step, x: str, y: str) -> str:
    below = step.apply("Add", y, step.number(step.attributes.get("alpha", 1.0)))
    return _two_slopes(step, x, below)


def _selu(step: Step, x: str, y: str) -> str:
    alpha = step.attributes.get("alpha", 1.67326319217681884765625)
    gamma = step.attributes.get("gamma", 1.05070102214813232421875)
    below = step.apply("Add", y, step.number(alpha * gamma))
    positive = step.apply("Greater", x, step.number(0))
    return step.apply("Where", positive, step.number(gamma), below)


def _softsign(step: Step, x: str, _y: str) -> str:
    root = step.apply("Add", step.number(1), step.apply("Abs", x))
    return step.apply("Reciprocal", step.apply("Mul", root, root))


def _mish(step: Step, x: str, _y: str) -> str:
    # y = x tanh(softplus x): slope t + x (1 - t^2) sigmoid x
    t = step.apply("Tanh", step.apply("Softplus", x))
    bend = step.apply("Mul", _tanh(step, x, t), step.apply("Sigmoid", x))
    return step.apply("Add", t, step.apply("Mul", x, bend))


def _sqrt(step: Step, _x: str, y: str) -> str:
    return step.apply("Div", step.number(0.5), y)


def _reciprocal(step: Step, _x: str, y: str) -> str:
    return step.apply("Neg", step.apply("Mul", y, y))


def _pow(step: Step, x: str, _y: str) -> str:
    exponent = np.asarray(step.constant(1), np.float32)
    lower = step.graph.add_constant(exponent - np.float32(1))
    return step.apply("Mul", step.apply("Pow", x, lower), step.graph.add_constant(exponent))


RULES: dict[str, Rule] = {
    "Abs": _unary(_abs),
    "Clip": _unary(_clip),
    "Elu": _unary(_elu),
    "Erf": _unary(_erf),
    "Exp": _unary(lambda _step, _x, y: y),
    "Gelu": _unary(_gelu),
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSwish": _unary(_hard_swish),
    "LeakyRelu": _unary(_leaky_relu),
    "Log": _unary(lambda step, x, _y: step.apply("Reciprocal", x)),
    "Mish": _unary(_mish),
    "Neg": _unary(lambda step, _x, _y: step.number(-1)),
    "PRelu": _prelu,
    "Pow": _unary(_pow),
    "Reciprocal": _unary(_reciprocal),
    "Relu": _unary(_relu),
    "Selu": _unary(_selu),
    "Sigmoid": _unary(_sigmoid),
    "Softplus": _unary(lambda step, x, _y: step.apply("Sigmoid", x)),
    "Softsign": _unary(_softsign),
    "Sqrt": _unary(_sqrt),
    "Tanh": _unary(_tanh),
}
