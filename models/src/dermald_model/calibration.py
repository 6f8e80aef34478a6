"""What the tensors of a network hold on the site's photos, channel by channel."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from dermald_model import manifest
from dermald_model.graph import Graph
from dermald_model.probe import Probe, Tensor

METHODS = ("minmax", "percentile", "entropy")
_PERCENTILE = 0.9999
_BINS = 1024
# Of entropy's histograms. ONNX Runtime's rule tries every bin as the end, in Python, and merges
# whole numbers of bins into the coarse ones: of 256 it can choose little but all of the range,
# three quarters or half. From 512 on it finds the ends that 1024 have, in 0.14 s a tensor instead
# of 0.35.
_FINE, _COARSE = 512, 128
# A channel that was silent on these photos may speak on others.
_NARROWEST = 0.01

Track = Callable[[Sequence[Tensor], str], Iterable[Tensor]]


@dataclass(frozen=True)
class Range:
    """The range of each channel, zero within it, and the mean of its squares."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    square: NDArray[np.float64]

    def __post_init__(self) -> None:
        width = self.high - self.low
        short = np.maximum(_NARROWEST * width.max() - width, 0) / 2
        # Frozen, but not yet seen by anyone.
        object.__setattr__(self, "low", np.minimum(self.low - short, -1e-9))
        object.__setattr__(self, "high", np.maximum(self.high + short, 1e-9))

    def cut(self, share: NDArray[np.float64]) -> "Range":
        """The range up to a share of each channel's largest magnitude."""
        limit = np.maximum(self.high, -self.low) * share
        return Range(np.maximum(self.low, -limit), np.minimum(self.high, limit), self.square)


def measure(
    model: onnx.ModelProto,
    description: manifest.Manifest,
    names: Sequence[str],
    pictures: Sequence[Tensor],
    method: str,
    track: Track,
) -> dict[str, Range]:
    """The range of each named tensor [1, channels, height, width]."""
    ranges = _extremes(model, description, names, pictures, track)
    if method == "minmax":
        return ranges
    counts = _histograms(model, description, ranges, pictures, track)
    shares = _by_percentile if method == "percentile" else _by_entropy
    return {name: ranges[name].cut(shares(counts[name])) for name in names}


def _extremes(
    model: onnx.ModelProto,
    description: manifest.Manifest,
    names: Sequence[str],
    pictures: Sequence[Tensor],
    track: Track,
) -> dict[str, Range]:
    graph = Graph(model, "calibration")
    outputs: list[str] = []
    for name in names:
        squared = graph.add("Mul", [name, name], graph.shape(name))
        for operator, tensor in (("Min", name), ("Max", name), ("Mean", squared)):
            outputs.append(graph.reduce(f"Reduce{operator}", tensor, (0, 2, 3)))
    probe = Probe(_with_outputs(graph.model, outputs), description, _THREADS)
    found = [
        [np.ravel(values) for values in probe.tensors(outputs, picture)]
        for picture in track(pictures, "looking at what the network sees")
    ]
    kept = [np.stack(values).astype(np.float64) for values in zip(*found, strict=True)]
    return {
        name: Range(
            np.minimum(kept[3 * place].min(0), 0),
            np.maximum(kept[3 * place + 1].max(0), 0),
            kept[3 * place + 2].mean(0),
        )
        for place, name in enumerate(names)
    }


def _histograms(
    model: onnx.ModelProto,
    description: manifest.Manifest,
    ranges: dict[str, Range],
    pictures: Sequence[Tensor],
    track: Track,
) -> dict[str, NDArray[np.int64]]:
    """How often each channel holds which share of its largest magnitude: [channels, bins]."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = list(ranges)
    probe = Probe(_with_outputs(copy, names), description, _THREADS)
    counts = {name: np.zeros((len(ranges[name].low), _BINS), np.int64) for name in names}
    scales = {
        name: (_BINS / np.maximum(one.high, -one.low)).astype(np.float32)
        for name, one in ranges.items()
    }
    for picture in track(pictures, "counting what it sees"):
        for name, values in zip(names, probe.tensors(names, picture), strict=True):
            channels = len(scales[name])
            shares = np.abs(values.reshape(channels, -1)) * scales[name][:, None]
            places = np.minimum(shares.astype(np.int32), _BINS - 1)
            places += np.arange(channels, dtype=np.int32)[:, None] * _BINS
            counted = np.bincount(places.ravel(), minlength=channels * _BINS)
            counts[name] += counted.reshape(channels, _BINS)
    return counts


def _by_percentile(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """For each channel the share that nearly all values stay within."""
    reached = np.cumsum(counts, axis=1) / counts.sum(axis=1, keepdims=True)
    share: NDArray[np.float64] = (np.argmax(reached >= _PERCENTILE, axis=1) + 1) / _BINS
    return share


def _by_entropy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share that loses least information, by ONNX Runtime's rule; one for all channels."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    total = counts.sum(axis=0).reshape(_FINE, -1).sum(axis=1)
    mirrored = np.concatenate([total[::-1], [0], total])
    edges = np.linspace(-1, 1, len(mirrored) + 1)
    rule: Any = HistogramCollector("entropy", True, len(mirrored), _COARSE, 100.0, "same")
    _, threshold = rule.get_entropy_threshold((mirrored, edges, -1.0, 1.0), _COARSE)
    return np.full(len(counts), float(threshold))


def _with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    del model.graph.output[:]
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


# Calibration is not what is timed.
_THREADS = 2
