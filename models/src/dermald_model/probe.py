"""A graph in memory, run on photos that are tensors already; it knows no files."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from dermald_model import manifest
from dermald_model.refusal import Refusal

Tensor = NDArray[np.float32]


class Probe:
    """A graph in ONNX Runtime, optimised for this CPU as `dermald prepare` does."""

    def __init__(
        self, model: onnx.ModelProto, description: manifest.Manifest, threads: int = 1
    ) -> None:
        self._description = description
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            # ONNX Runtime has an exception class for each of its codes, without a common base.
            raise Refusal(f"ONNX Runtime cannot load the rewritten graph: {error}") from error

    def tensors(self, names: Sequence[str] | None, picture: Tensor) -> list[NDArray[Any]]:
        """The named outputs, or all of them, for a picture."""
        feeds = {self._description.input.tensor: picture}
        if self._description.gradcam is not None:
            feeds[self._description.gradcam.target] = np.array([-1], np.int64)
        found: list[NDArray[Any]] = self._session.run(names, feeds)
        return found


def share_of_time(
    reference: Probe, candidate: Probe, pictures: Sequence[Tensor], rounds: int = 21
) -> float:
    """The candidate's time as a share of the reference's: the median of the rounds.

    In each round both run once, so that whoever else uses the machine disturbs both alike.
    """
    shares = []
    for number in range(rounds):
        picture = pictures[number % len(pictures)]
        times = []
        for probe in (reference, candidate):
            started = time.perf_counter()
            probe.tensors(None, picture)
            times.append(time.perf_counter() - started)
        shares.append(times[1] / times[0])
    return float(np.median(shares))
