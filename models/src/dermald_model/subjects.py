"""What can be compared: a bundle, or a model file in its own framework with its own Grad-CAM."""

from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
from PIL import Image

from dermald_model import bundle, manifest
from dermald_model.bundle import Answer, Runner
from dermald_model.refusal import Refusal
from dermald_model.sources import Source, Wish, read
from dermald_model.sources.source import Picture


class Subject(Protocol):
    """Answers for a photo."""

    name: str

    def answer(self, photo: Image.Image) -> Answer:
        """Probabilities, and the heatmap of the most probable class where there is one."""
        ...


class Bundle:
    """A bundle in ONNX Runtime."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._runner = Runner(folder)

    def answer(self, photo: Image.Image) -> Answer:
        """As the daemon would answer."""
        return self._runner.answer(photo)


class KerasFile:
    """A Keras file that explains itself by a gradient tape, as the bundle's manifest says."""

    def __init__(self, path: Path, described: Path) -> None:
        from dermald_model.sources import keras_file
        from dermald_model.tape import Tape

        self.name = str(path)
        self._described = manifest.read(described)
        self._blue_first = is_blue_first(described)
        size = (self._described.input.height, self._described.input.width)
        network, _ = keras_file.load(path, Wish(size=size))
        gradcam = self._described.gradcam
        layers = [gradcam.layer] if gradcam else []
        method = gradcam.method if gradcam else "gradcam"
        self._tape = Tape(network, size, layers, method)

    def answer(self, photo: Image.Image) -> Answer:
        """Keras's own answer."""
        tensor = _tensor(photo, self._described.input, self._blue_first)
        taped = self._tape.explain(tensor, [-1])
        gradcam = self._described.gradcam
        heatmap = taped.heatmaps[gradcam.layer, gradcam.score, -1] if gradcam else None
        return Answer(
            taped.probabilities.astype(np.float32),
            None if heatmap is None else heatmap.astype(np.float32),
        )


class OtherFile:
    """A .tflite or .onnx file: probabilities only, these do not explain themselves."""

    def __init__(self, path: Path, described: Path) -> None:
        self.name = str(path)
        self._described = manifest.read(described)
        self._blue_first = is_blue_first(described)
        size = (self._described.input.height, self._described.input.width)
        output = self._described.output.tensor
        try:
            self._source: Source = read(path, Wish(layer=None, size=size))
        except Refusal:
            self._source = read(path, Wish(layer=None, size=size, output=output))

    def answer(self, photo: Image.Image) -> Answer:
        """The framework's own answer."""
        assert self._source.predict is not None, "files that are read can be run"
        tensor = _tensor(photo, self._described.input, self._blue_first)
        values = self._source.predict(tensor)[0]
        if self._described.output.activation == "none":
            values = bundle.softmax(values)
        return Answer(values, None)


def subject(path: Path, described: Path) -> Subject:
    """What lies at `path`. The manifest of the bundle `described` says how photos are prepared."""
    if path.is_dir():
        return Bundle(path)
    with_tape = path.suffix in (".keras", ".h5", ".hdf5")
    return KerasFile(path, described) if with_tape else OtherFile(path, described)


def is_blue_first(folder: Path) -> bool:
    """Whether the graph of a bundle turns the channels round before the original's first node."""
    model = onnx.load(folder / bundle.GRAPH, load_external_data=False)
    turned = f"{manifest.read(folder).input.tensor}/blue_first"
    return any(turned in node.output for node in model.graph.node)


def _tensor(photo: Image.Image, input: manifest.Input, blue_first: bool) -> Picture:
    tensor = bundle.to_tensor(photo, input)
    if not blue_first:
        return tensor
    turned = tensor[..., ::-1] if input.layout == "NHWC" else tensor[:, ::-1]
    return np.ascontiguousarray(turned)
