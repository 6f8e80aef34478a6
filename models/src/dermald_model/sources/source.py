"""What a model file gives, whatever framework it came from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

# Names for --layer besides those of the network's own layers.
LAST_CONV, LAST_MAP = "conv", "activation"

Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Wish:
    """What the caller wants of the network.

    `layer` is "conv" (the last convolution that still has height and width), "activation" (the
    last tensor that has them), a layer's name, or None without Grad-CAM. `size` is height and
    width, None for the network's own. `output` chooses one output by name.
    """

    layer: str | None = LAST_CONV
    size: tuple[int, int] | None = None
    open_batch: bool = False
    output: str | None = None
    custom: Path | None = None


@dataclass(frozen=True)
class Source:
    """A classifier as one ONNX graph.

    `model` takes float32 `input` in `layout` and gives `output`, float32 [batch, classes], and the
    tensor `layer`, if one was wished, as a further output whose channels are on axis `channel`.
    `scaling` names the layer that scales pixels inside the network. `predict` runs the file in its
    own framework, None where that is not at hand.
    """

    kind: str
    model: "onnx.ModelProto"
    input: str
    layout: str
    height: int
    width: int
    output: str
    layer: str | None = None
    layer_name: str = ""
    channel: int = 1
    scaling: str | None = None
    notes: tuple[str, ...] = ()
    predict: Callable[[Picture], NDArray[np.float32]] | None = None
