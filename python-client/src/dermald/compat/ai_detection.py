"""Drop-in for a site's own `AI_detection.py`: the same functions, answered by the daemon.

The whole file becomes one line, and TensorFlow leaves the site's requirements:

    from dermald.compat.ai_detection import *

`CLASS_NAMES`, `ENABLE_GRADCAM` and `_loaded_model` are looked up whenever they are read, through
the module's `__getattr__`, which the line above takes along: the site's module answers like this
one.

Under Django the daemon is the one of `settings.DERMALD`, else that of $DERMALD_SOCKET.
"""

from __future__ import annotations

import gc
import logging
from base64 import b64encode
from typing import TYPE_CHECKING, TypedDict

from .._environment import gradcam_enabled
from .._png import plain_square
from .._results import Model, Prediction
from ._class_names import class_names
from ._daemon import BadPhoto, SkinPredictionError, model_facts, model_of, predict

if TYPE_CHECKING:
    from .._picture import Image

__all__ = [
    "IMG_SIZE_DEFAULT",
    "BadPhoto",
    "SkinPredictionError",
    "__getattr__",
    "cleanup_memory",
    "get_img_size",
    "get_model",
    "predict_skin_simple",
    "predict_skin_with_explanation",
]

IMG_SIZE_DEFAULT = 300
_log = logging.getLogger("dermald")


# In the form with classes, "class" could not be a key.
Result = TypedDict("Result", {"class": str, "probability": float})


def predict_skin_with_explanation(
    image_bytes: Image, top_k: int = 7, enable_gradcam: bool | None = None
) -> tuple[list[Result], str | None]:
    """The most probable classes in percent, falling, and a base64 PNG of where the model looked.

    enable_gradcam: None for what $ENABLE_GRADCAM says. The picture has the model's input size and
    is RGBA; None when Grad-CAM is off or was not possible.

    Raises `SkinPredictionError`, whose `str()` can be shown to the visitor; `BadPhoto` is the one
    for a photo that cannot be read.
    """
    explain = gradcam_enabled() if enable_gradcam is None else enable_gradcam
    answer = predict(image_bytes, top_k=_wire_top_k(top_k), explain="overlay" if explain else None)
    return _results(answer, top_k), _heatmap(answer) if explain else None


def predict_skin_simple(image_bytes: Image, top_k: int = 7) -> list[Result]:
    """The classes alone; raises as `predict_skin_with_explanation`."""
    return _results(predict(image_bytes, top_k=_wire_top_k(top_k), explain=None), top_k)


def get_model() -> Model:
    """Has the daemon load its model, if it has not yet, and tells which one it is."""
    facts = model_facts()
    if facts is not None and facts.get("loaded"):
        return model_of(facts)
    # The wire has no order to load: a picture of nothing does it.
    return predict(plain_square(16, (128, 128, 128)), top_k=1, explain=None).model


def get_img_size() -> int:
    """The model's input side in pixels, `IMG_SIZE_DEFAULT` while the daemon does not answer."""
    shape = (model_facts() or {}).get("input")
    width = shape.get("width") if isinstance(shape, dict) else None
    return width if isinstance(width, int) else IMG_SIZE_DEFAULT


def cleanup_memory() -> None:
    """Frees what this process can. The model is not in it: the daemon looks after its own memory.

    What remains are uploads in reference cycles of requests, which would wait for the collector.
    """
    gc.collect()


def __getattr__(name: str) -> object:
    if name == "CLASS_NAMES":
        return class_names()
    if name == "ENABLE_GRADCAM":
        return gradcam_enabled()
    if name == "_loaded_model":
        facts = model_facts()
        return model_of(facts) if facts is not None and facts.get("loaded") else None
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _wire_top_k(top_k: int) -> int:
    # 0 means all of them on the wire.
    return max(1, top_k)


def _results(answer: Prediction, top_k: int) -> list[Result]:
    labels = answer.labels[: max(0, top_k)]
    return [{"class": label.name, "probability": label.probability * 100} for label in labels]


def _heatmap(answer: Prediction) -> str | None:
    if answer.overlay is None:
        _log.warning("no Grad-CAM: %s", answer.explanation or "the daemon sent none")
        return None
    return b64encode(answer.overlay.data).decode("ascii")
