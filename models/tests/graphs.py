"""Runs converted graphs as the daemon would, and Keras networks in float64, to compare."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dermald_model.conversion import Built


class Graph:
    """A converted graph in ONNX Runtime."""

    def __init__(self, built: Built, picture: str = "image") -> None:
        self._built = built
        self._picture = picture
        file = built.model.SerializeToString()
        self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(self, tensor: NDArray[np.float32], target: int = -1) -> tuple[Any, Any]:
        """Output [classes] and heatmap [height, width]."""
        gradcam = self._built.gradcam
        assert gradcam is not None
        feeds = {self._picture: tensor, gradcam.target: np.array([target], np.int64)}
        output, heatmap = self._session.run([self._built.output, gradcam.heatmap], feeds)
        return output[0], heatmap


def in_float64(path: Path, folder: Path) -> Any:
    """The network of a Keras file with every layer in float64; a copy is made in `folder`."""
    from dermald_model.sources import Wish, keras_config, keras_file

    def edit(config: Any) -> Any:
        return json.loads(json.dumps(config).replace('"float32"', '"float64"'))

    target = folder / "float64"
    target.mkdir()
    return keras_file.load(keras_config.edited(path, edit, target), Wish())[0]
