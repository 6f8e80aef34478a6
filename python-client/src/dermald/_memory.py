"""What a process holds, and what it may hold: read from /proc and from the control groups.

Standard library only. Figures are bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    rss: int
    virtual: int


def process_memory(pid: int | str = "self") -> ProcessMemory:
    """Raises `OSError` when there is no such process."""
    virtual, resident = Path(f"/proc/{pid}/statm").read_text().split()[:2]
    page = os.sysconf("SC_PAGE_SIZE")
    return ProcessMemory(int(resident) * page, int(virtual) * page)


def memory_limit(root: Path = _ROOT) -> int | None:
    """The least that this process is allowed by its control groups and by the host's memory; None
    when nothing of it can be read. `root` is another place for /proc and /sys, for tests."""
    limits = [*_group_limits(root), _host_memory(root)]
    return min((limit for limit in limits if limit is not None), default=None)


def _group_limits(root: Path) -> list[int | None]:
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits: list[int | None] = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            # Version 2, and its mount beside version 1's.
            for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                limits += _along(root / mount, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _along(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return limits


def _along(mount: Path, path: str, file: str) -> list[int | None]:
    """The limits of a group and of all above it: each of them holds. In a container the path may
    be the host's, of which only the mount itself can be seen."""
    steps = [part for part in path.split("/") if part not in ("", "..")]
    folders = [mount.joinpath(*steps[:count]) for count in range(len(steps) + 1)]
    return [_number(folder / file) for folder in folders]


def _host_memory(root: Path) -> int | None:
    try:
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _number(path: Path) -> int | None:
    """None for `max`, and for a file that is not there."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
