"""A bundle as its manifest tells it, and `dermald prepare`. Runs no model: whoever measures shared
memory must not have ONNX Runtime mapped as well.
"""

from __future__ import annotations

import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from subjects import ROOT

sys.path.insert(0, str(ROOT / "python-client" / "example"))

# The path is made above, where mypy does not look.
from processes import (  # type: ignore[import-not-found,unused-ignore]
    Process,
    onnxruntime_library,
)

MIB = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle and what its manifest says of it."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        return cls(folder, tomllib.loads((folder / "manifest.toml").read_text(encoding="utf-8")))

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def precision(self) -> str:
        return str(self.manifest.get("precision", "float32"))

    @property
    def explains(self) -> bool:
        return "gradcam" in self.manifest

    @property
    def size(self) -> float:
        return _size(self.folder)


@dataclass(frozen=True)
class Preparation:
    """What `dermald prepare` took, and what it left."""

    seconds: float
    # Resident memory at its highest, in MiB.
    peak: float
    graph: Path

    @property
    def size(self) -> float:
        """What is kept, in MiB."""
        return _size(self.graph.parent)


def prepare(binary: Path, bundle: Bundle, cache: Path) -> Preparation:
    """Runs it with an empty cache. Its peak is read while it lives: what the kernel tells of a
    child's end counts the memory of whoever started it as well."""
    cache.mkdir()
    command = [str(binary), "prepare", "--untimed", "--threads", "1"]
    command += ["--cache", str(cache), str(bundle.folder)]
    log = cache.with_suffix(".log")
    started = time.monotonic()
    process = Process(command, environment(), log=log)
    peak = 0.0
    try:
        while process.running():
            peak = peak_of(process.pid) or peak
            time.sleep(0.002)
        seconds = time.monotonic() - started
    finally:
        code = process.terminate()
    graphs = list(cache.glob("*/model.onnx"))
    if code != 0 or len(graphs) != 1:
        raise RuntimeError(f"{bundle.folder} was not prepared:\n{log.read_text(errors='replace')}")
    return Preparation(seconds, peak, graphs[0])


def environment() -> dict[str, str]:
    library = onnxruntime_library()
    return {} if library is None else {"ORT_DYLIB_PATH": library}


def peak_of(pid: int) -> float:
    """Resident memory at its highest, in MiB; 0 for a process that has just ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _size(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MIB
