"""The layers of a Keras network as a prediction calls them, wherever they are nested."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from dermald_model.refusal import Refusal
from dermald_model.sources.source import LAST_CONV, LAST_MAP


def layers(network: Any) -> Iterator[Any]:
    """Every layer of a network, those of nested networks in their place."""
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from layers(layer)
        else:
            yield layer


class Calls:
    """Which layers a prediction calls, in their order, and the shapes that they give.

    The outputs of the layers in `catch` are kept in `caught`, by layer, and handed to `on_catch`
    before another layer reads them.
    """

    def __init__(self, network: Any, size: tuple[int, int]) -> None:
        self.shapes: dict[Any, tuple[int, ...]] = {}
        self.catch: Sequence[Any] = ()
        self.caught: dict[Any, Any] = {}
        self.on_catch: Callable[[Any], None] = lambda _output: None
        for layer in layers(network):
            self._listen(layer)
        try:
            # The first call also builds what is not built yet.
            network(np.zeros((1, *size, 3), np.float32), training=False)
        except Exception as error:
            lines = [line for line in str(error).splitlines() if line.strip()]
            raise Refusal(
                f"the network does not run on a picture of {size[0]} x {size[1]}: {lines[0][:300]}"
            ) from error

    def _listen(self, layer: Any) -> None:
        call = layer.call

        def listening(*arguments: Any, **options: Any) -> Any:
            result = call(*arguments, **options)
            if hasattr(result, "shape"):
                # Called again, a layer moves to the end.
                self.shapes.pop(layer, None)
                self.shapes[layer] = tuple(result.shape)
            if layer in self.catch:
                self.caught[layer] = result
                self.on_catch(result)
            return result

        layer.call = listening


def choose(calls: Calls, wish: str) -> Any:
    """The layer that Grad-CAM looks at."""
    maps = [
        layer
        for layer, shape in calls.shapes.items()
        if len(shape) == 4 and shape[1] * shape[2] > 1
    ]
    named = [layer for layer in calls.shapes if layer.name == wish]
    if named:
        if named[-1] not in maps:
            shape = calls.shapes[named[-1]]
            raise Refusal(f"layer {wish!r} gives {shape}; Grad-CAM needs height and width")
        return named[-1]
    if wish == LAST_CONV:
        found = [one for one in maps if isinstance(one, _convolutions())]
    elif wish == LAST_MAP:
        found = maps
    else:
        names = [layer.name for layer in maps]
        near = difflib.get_close_matches(wish, names, 5, 0.4) or names[-5:]
        raise Refusal(f"there is no layer {wish!r}; near it are: {', '.join(near)}")
    if not found:
        raise Refusal("no layer has height and width; convert with --no-gradcam")
    return found[-1]


def _convolutions() -> tuple[type, ...]:
    kinds = ("Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose")
    return tuple(getattr(keras.layers, kind) for kind in kinds)
