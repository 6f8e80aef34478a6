"""Where a run took place, and who else was there. Knows nothing of what is measured."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import dermald


class Witness:
    """Watches who uses the processors, from its making to `describe`.

    The load average comes too late and does not see the host. What was stolen is the time that a
    virtual machine wanted to run and could not. Children count as ours once they have ended.
    """

    def __init__(self) -> None:
        self._load = load_average()
        self._started = time.monotonic()
        self._ours = _own_seconds()
        self._busy, self._stolen = _processor_seconds()

    def describe(self) -> dict[str, str]:
        busy, stolen = _processor_seconds()
        available = (time.monotonic() - self._started) * (os.cpu_count() or 1)
        ours = _own_seconds() - self._ours
        others = max(busy - self._busy - ours, 0)
        shares = (
            f"{name} {seconds / available:.1%}"
            for name, seconds in (
                ("ours", ours),
                ("other processes", others),
                ("stolen by the host", stolen - self._stolen),
            )
        )
        return {
            "machine": f"{_model()}, {os.cpu_count()} cores, Linux {platform.release()}",
            "load": f"{self._load} before, {load_average()} after (our own included)",
            "CPU time": ", ".join(shares),
        }


def load_average() -> str:
    """Over 1, 5 and 15 minutes."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def versions(binary: Path, *packages: str) -> dict[str, str]:
    """The daemon's with its hash: a number alone does not tell two builds apart. Then those of the
    client, of Python, and of the packages that take part."""
    said = subprocess.run([binary, "--version"], check=True, capture_output=True, text=True)
    digest = hashlib.sha256(binary.read_bytes()).hexdigest()[:12]
    return {
        "daemon": f"{said.stdout.split()[-1]} (sha256 {digest})",
        "client": dermald.__version__,
        "Python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _own_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _processor_seconds() -> tuple[float, float]:
    """What all processors were busy, and what was stolen from them, since the machine started."""
    first = Path("/proc/stat").read_text().splitlines()[0]
    user, nice, system, _idle, _iowait, irq, softirq, stolen = map(int, first.split()[1:9])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, stolen / ticks


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
