"""A bundle's folder: written whole or not at all, and run through ONNX Runtime."""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from dermald_model import manifest, selftest
from dermald_model.refusal import Refusal

GRAPH, WEIGHTS = "model.onnx", "model.weights"
# Below this a second file is not worth its name.
_SMALL_BYTES = 2_000_000

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """What a bundle says of one picture: float32 [classes], and float32 [height, width] in 0..1."""

    probabilities: NDArray[np.float32]
    heatmap: NDArray[np.float32] | None

    @property
    def top(self) -> int:
        """The most probable class."""
        return int(self.probabilities.argmax())


class Runner:
    """A bundle in ONNX Runtime, one thread, one picture at a time."""

    def __init__(self, bundle: Path) -> None:
        self.folder = bundle
        self.manifest = manifest.read(bundle)
        graph = next((name for name in self.manifest.files if name.endswith(".onnx")), GRAPH)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                bundle / graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # ONNX Runtime has an exception class for each of its codes, without a common base.
            raise Refusal(f"ONNX Runtime cannot load {bundle / graph}: {error}") from error

    def answer(self, picture: bytes | Image.Image | Pixels, target: int = -1) -> Answer:
        """The answer for a picture; the heatmap explains `target`, or -1 for the top class."""
        if isinstance(picture, bytes):
            with Image.open(io.BytesIO(picture)) as opened:
                picture = opened.convert("RGB")
        feeds = {self.manifest.input.tensor: to_tensor(picture, self.manifest.input)}
        names = [self.manifest.output.tensor]
        if self.manifest.gradcam is not None:
            feeds[self.manifest.gradcam.target] = np.array([target], np.int64)
            names.append(self.manifest.gradcam.heatmap)
        found = self._session.run(names, feeds)
        probabilities = found[0][0]
        if self.manifest.output.activation == "none":
            probabilities = softmax(probabilities)
        heatmap = found[1].reshape(found[1].shape[-2:]) if len(found) > 1 else None
        return Answer(probabilities, heatmap)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The shares of a row of logits."""
    raised = np.exp(logits - logits.max())
    shares: NDArray[np.float32] = raised / raised.sum()
    return shares


def to_tensor(picture: Image.Image | Pixels, input: manifest.Input) -> NDArray[np.float32]:
    """A picture as the model's input, the daemon's way: RGB, resized, scaled."""
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    pixels = np.asarray(fitted(image.convert("RGB"), input), np.float32)
    mean, std = (np.array(values, np.float32) for values in (input.mean, input.std))
    scaled = (pixels * np.float32(input.scale) - mean) / std
    if input.layout == "NCHW":
        scaled = scaled.transpose(2, 0, 1)
    return np.ascontiguousarray(scaled[None], np.float32)


def fitted(image: Image.Image, input: manifest.Input) -> Image.Image:
    """The picture at the model's size."""
    size = (input.width, input.height)
    if image.size == size:
        return image
    filters = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}
    resample = Image.Resampling(filters[input.resize])
    if input.fit == "stretch":
        return image.resize(size, resample)
    scale = (min if input.fit == "contain" else max)(size[0] / image.width, size[1] / image.height)
    inner = [max(1, round(side * scale)) for side in image.size]
    small = image.resize((inner[0], inner[1]), resample)
    canvas = Image.new("RGB", size)
    canvas.paste(small, ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2))
    return canvas


@contextmanager
def new(out: Path, force: bool) -> Iterator[Path]:
    """A folder to write a bundle into; it takes the place `out` when everything went well.

    Whatever fails on the way, disk or programmer, leaves nothing behind.
    """
    if out.exists() and not force:
        raise Refusal(f"{out} exists; choose another folder or overwrite it with --force")
    if out.exists() and not (out / manifest.FILE_NAME).is_file():
        raise Refusal(f"{out} is no bundle; nothing else is overwritten")
    draft = out.parent / f".{out.name}.{os.getpid()}"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        yield draft
        if out.exists():
            shutil.rmtree(out)
        draft.rename(out)
    except OSError as error:
        raise Refusal(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write(
    folder: Path,
    model: onnx.ModelProto,
    description: manifest.Manifest,
    tolerances: tuple[float, float] = selftest.FLOAT_TOLERANCES,
) -> manifest.Manifest:
    """Writes graph, weights, self-test and manifest; returns the manifest with the hashes."""
    files = _write_graph(folder, model)
    finished = replace(description, files=_hashes(folder, files))
    finished.write(folder)
    runner = Runner(folder)
    cases = []
    drawn = selftest.pictures(description.input.width, description.input.height)
    for number, pixels in enumerate(drawn):
        # One case asks for a class of its own choice, where the graph can be asked.
        target = 0 if number == 1 and description.gradcam is not None else -1
        answer = runner.answer(pixels, target)
        cases.append(selftest.Case(pixels, target, answer.probabilities, answer.heatmap))
    files += selftest.write(folder, cases, tolerances)
    finished = replace(description, files=_hashes(folder, files))
    finished.write(folder)
    return finished


def load_model(bundle: Path) -> onnx.ModelProto:
    """The graph of a bundle with its weights in memory."""
    model: onnx.ModelProto = onnx.load(bundle / GRAPH)
    return model


def size_bytes(bundle: Path) -> int:
    """Of all files of a bundle together."""
    return sum(path.stat().st_size for path in bundle.iterdir() if path.is_file())


def _write_graph(folder: Path, model: onnx.ModelProto) -> list[str]:
    if model.ByteSize() < _SMALL_BYTES:
        (folder / GRAPH).write_bytes(model.SerializeToString(deterministic=True))
        return [GRAPH]
    # Saving turns the weights of what is saved into references.
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    path = folder / GRAPH
    onnx.save(copy, path, save_as_external_data=True, location=WEIGHTS, size_threshold=1024)
    # onnx makes the file its owner's alone; a bundle may be read by whoever may read its folder.
    (folder / WEIGHTS).chmod(path.stat().st_mode & 0o777)
    return [GRAPH, WEIGHTS]


def _hashes(folder: Path, names: list[str]) -> dict[str, str]:
    return {name: manifest.sha256(folder / name) for name in sorted(names)}
