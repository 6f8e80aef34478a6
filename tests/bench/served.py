"""Who is measured with one bundle: a daemon, and ONNX Runtime by itself.

All run with one thread. Knows no goals and no table.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# ONNX Runtime reports to its makers unless this is set before its first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import dermald
import numpy as np
import onnxruntime
from bundles import Bundle, environment, peak_of
from calls import time_calls
from PIL import Image
from subjects import PATIENCE_SECONDS, ROOT
from watch import cpu_seconds

sys.path.insert(0, str(ROOT / "python-client" / "example"))

# The path is made above, where mypy does not look.
from processes import (  # type: ignore[import-not-found,unused-ignore]
    Daemon,
    Memory,
    memory,
    private_folder,
)

# The daemon answers one client that does nothing else, so one call is enough to wake it; each
# takes as long as a hundred calls of the transport.
WARM_UP = 1


@dataclass(frozen=True)
class Load:
    """What loading a prepared model took. Memory in MiB."""

    # Resident in a daemon that has loaded nothing yet.
    idle: float
    # At the highest, above that.
    peak: float
    cpu_ms: float


def load(binary: Path, bundle: Bundle, cache: Path) -> Load:
    """Compares a daemon that waits for its first request with one that loaded the model at its
    start. The first request itself tells less: it runs the model, which maps all weights in."""
    with daemon_with(binary, bundle, cache, preload=False) as (daemon, _):
        idle = memory(bundle.name, daemon.pid)
        before = cpu_seconds(daemon.pid)
    with daemon_with(binary, bundle, cache, preload=True) as (daemon, client):
        _wait_until_loaded(client)
        cpu_ms = (cpu_seconds(daemon.pid) - before) * 1000
        return Load(idle.rss, peak_of(daemon.pid) - idle.rss, cpu_ms)


@dataclass(frozen=True)
class Turn:
    """Milliseconds of one turn's requests: in the daemon's own timing, and as the client saw."""

    inference: list[float]
    client: list[float]


class Served:
    """A daemon with one bundle, and one client of it that asks for heatmaps."""

    def __init__(self, bundle: Bundle, daemon: Daemon, client: dermald.Client, photo: bytes):
        self._bundle = bundle
        self._daemon = daemon
        self._client = client
        self._photo = photo
        self._inference: list[float] = []

    @classmethod
    @contextmanager
    def running(cls, binary: Path, bundle: Bundle, cache: Path, photo: bytes) -> Iterator[Served]:
        with daemon_with(binary, bundle, cache, preload=False) as (daemon, client):
            yield cls(bundle, daemon, client, photo)

    @property
    def requests(self) -> int:
        """How many were answered until now."""
        return len(self._inference)

    def take_turn(self, count: int) -> Turn:
        client = time_calls(self._predict, count, 0, WARM_UP)
        return Turn(self._inference[-count:], client)

    def memory(self) -> Memory:
        return memory(self._bundle.name, self._daemon.pid)

    def peak(self) -> float:
        """Resident memory at its highest until now, in MiB."""
        return peak_of(self._daemon.pid)

    def _predict(self) -> float:
        answer = self._client.predict(self._photo, explain="values")
        if self._bundle.explains and answer.heatmap is None:
            raise RuntimeError(f"{self._bundle.folder} came without heatmap: {answer.explanation}")
        self._inference.append(answer.timings.inference_us / 1000)
        return 0.0


class OnnxRuntime:
    """The prepared graph in ONNX Runtime's own Python package: nothing is left to optimise."""

    def __init__(self, bundle: Bundle, graph: Path, photo: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        self._inputs = {bundle.manifest["input"]["tensor"]: _tensor(bundle, photo)}
        if target := bundle.manifest.get("gradcam", {}).get("target"):
            # The most probable class, as the daemon asks for when the client names none.
            self._inputs[target] = np.array([-1], np.int64)

    def take_turn(self, count: int) -> list[float]:
        return time_calls(self._run, count, 0, WARM_UP)

    def _run(self) -> float:
        self._session.run(None, self._inputs)
        return 0.0


@contextmanager
def daemon_with(
    binary: Path,
    bundle: Bundle,
    cache: Path,
    *,
    preload: bool,
    variables: Mapping[str, str] | None = None,
) -> Iterator[tuple[Daemon, dermald.Client]]:
    options = ["--cache", str(cache), "--threads", "1", "--preload", str(preload).lower()]
    found = {**environment(), **(variables or {})}
    with private_folder() as folder:
        daemon = Daemon(binary, bundle.folder, folder / "dermald.sock", *options, environment=found)
        try:
            with dermald.Client(daemon.socket) as client:
                yield daemon, client
        finally:
            daemon.terminate()


def _wait_until_loaded(client: dermald.Client) -> None:
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE_SECONDS:
        model = client.status()["model"]
        if isinstance(model, dict) and model["prepared"]:
            return
        time.sleep(0.02)
    raise RuntimeError(f"the prepared model was not loaded within {PATIENCE_SECONDS:g} s")


def _tensor(bundle: Bundle, photo: bytes) -> np.ndarray[Any, Any]:
    """The photo as the model's input, near enough: values do not change how long a run takes."""
    form = bundle.manifest["input"]
    size = (form["width"], form["height"])
    small = Image.open(io.BytesIO(photo)).convert("RGB").resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(small, np.float32) * form["scale"]
    values = (pixels - np.array(form["mean"])) / np.array(form["std"])
    if form["layout"] == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[np.newaxis], np.float32)
