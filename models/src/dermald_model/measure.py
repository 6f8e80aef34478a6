"""What a model costs, in a process of its own: time and memory of one picture after another.

    python -m dermald_model.measure MODEL BUNDLE PHOTO...

The process prints one line of JSON. Memory of a process that has run something else before says
nothing, so each model is measured in a fresh one.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dermald_model.refusal import Refusal

_WARM_UP, _ROUNDS = 2, 12


@dataclass(frozen=True)
class Cost:
    """Milliseconds (median of one picture, decoding not counted), MiB, and bytes on disk."""

    milliseconds: float
    resident_mib: float
    anonymous_mib: float
    disk_bytes: int


def cost(model: Path, described: Path, photos: list[Path]) -> Cost:
    """The cost of a model file or bundle. Fails with Refusal when it does not run."""
    paths = [str(path) for path in (model, described, *photos[:4])]
    command = [sys.executable, "-m", "dermald_model.measure", *paths]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise Refusal(f"{model} could not be measured: {lines[-1]}")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def _main(model: Path, described: Path, pictures: list[Path]) -> None:
    from dermald_model.photos import load
    from dermald_model.subjects import subject

    photos = [load(picture) for picture in pictures]
    one = subject(model, described)
    times = []
    for number in range(_WARM_UP + _ROUNDS):
        started = time.perf_counter()
        one.answer(photos[number % len(photos)])
        times.append(time.perf_counter() - started)
    memory = _memory()
    files = model.iterdir() if model.is_dir() else [model]
    found = {
        "milliseconds": statistics.median(times[_WARM_UP:]) * 1000,
        "resident_mib": memory["Rss"],
        "anonymous_mib": memory["Anonymous"],
        "disk_bytes": sum(file.stat().st_size for file in files),
    }
    print(json.dumps(found))


def _memory() -> dict[str, float]:
    """Of this process, in MiB, by the kernel's names."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}


if __name__ == "__main__":
    first, second, *rest = map(Path, sys.argv[1:])
    _main(first, second, rest)
