"""The box: a control group with the memory and the processor share of a free web service.

Speaks both versions of the kernel's interface. Knows nothing of what runs inside. Whoever makes
one must be root: the kernel lets nobody else limit processors.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
PAGE = 4096

# How long the kernel cuts time up: with 0.1 CPU a process runs 10 ms of each 100.
PERIOD_US = 100_000
PATIENCE_SECONDS = 15.0


class NoBoxError(RuntimeError):
    """This machine or this user may not make one."""


@dataclass(frozen=True)
class Limits:
    """What the box has. The default is a free web service's."""

    memory_mib: int = 512
    cpus: float = 0.1

    @property
    def memory_bytes(self) -> int:
        return self.memory_mib * MIB

    @property
    def quota_us(self) -> int:
        return round(self.cpus * PERIOD_US)


@dataclass(frozen=True)
class Kernel:
    """What the kernel counted. Memory in MiB."""

    # At the highest, with the page cache: files that were read or written, which it takes back.
    peak: float
    # How often the limit was reached, and something had to be taken back; None when it is reached
    # and was not counted, which happens with version 1.
    at_limit: int | None
    # Pages of files that were taken back too early: what thrashes.
    read_again: float
    kills: int
    # Anonymous memory and tmpfs at this moment, whoever has them mapped.
    anonymous: float
    shared: float


class Box:
    """One group, in one folder (version 2) or in one for each controller (version 1)."""

    def __init__(self, version: int, memory: Path, cpu: Path) -> None:
        self.version = version
        self._memory = memory
        self._cpu = cpu

    @classmethod
    @contextmanager
    def made(cls, limits: Limits) -> Iterator[Box]:
        """Raises `NoBoxError`, saying why. Whoever is inside at the end is killed."""
        box = cls._at(f"dermald-box-{os.getpid()}")
        try:
            box._create()
            box._limit(limits)
            yield box
        except PermissionError as error:
            raise NoBoxError(f"a control group needs root: {error}") from error
        finally:
            box._remove()

    @classmethod
    def _at(cls, name: str) -> Box:
        mounts = _mounts()
        # Both versions may be mounted; a controller belongs to one of them.
        unified = mounts.get("cgroup2")
        if unified and {"memory", "cpu"} <= _words(unified / "cgroup.controllers"):
            return cls(2, unified / name, unified / name)
        if "memory" in mounts and "cpu" in mounts:
            return cls(1, mounts["memory"] / name, mounts["cpu"] / name)
        raise NoBoxError("no control groups for memory and processors are mounted under /sys/fs")

    @property
    def folders(self) -> list[Path]:
        return list(dict.fromkeys([self._memory, self._cpu]))

    def enter(self, command: list[str]) -> list[str]:
        """The command that steps into the box and becomes `command`."""
        steps = " && ".join(f"echo $$ >'{folder}/cgroup.procs'" for folder in self.folders)
        return ["/bin/sh", "-c", f'{steps} && exec "$@"', "box", *command]

    def pids(self) -> list[int]:
        return [int(pid) for pid in (self._memory / "cgroup.procs").read_text().split()]

    def kernel(self) -> Kernel:
        stat = _pairs(self._memory / "memory.stat")
        again = stat.get("workingset_refault_file", 0) * PAGE / MIB
        shared = stat["shmem"] / MIB
        if self.version == 2:
            events = _pairs(self._memory / "memory.events")
            peak = _number(self._memory / "memory.peak") / MIB
            anonymous = stat["anon"] / MIB
            return Kernel(peak, events["max"], again, events["oom_kill"], anonymous, shared)
        kills = _pairs(self._memory / "memory.oom_control")["oom_kill"]
        peak = _number(self._memory / "memory.max_usage_in_bytes") / MIB
        anonymous = stat["rss"] / MIB
        return Kernel(peak, self._failures(peak), again, kills, anonymous, shared)

    def _failures(self, peak: float) -> int | None:
        # Where memory and swap are counted together, that limit is the first to be reached.
        names = ("memory.failcnt", "memory.memsw.failcnt")
        files = [self._memory / name for name in names]
        counted = sum(_number(file) for file in files if file.exists())
        reached = peak >= _number(self._memory / "memory.limit_in_bytes") / MIB
        return None if reached and not counted else counted

    def throttled(self) -> float:
        """The share of its periods in which the box wanted more than its part of a processor."""
        stat = _pairs(self._cpu / "cpu.stat")
        return stat["nr_throttled"] / max(stat["nr_periods"], 1)

    def _create(self) -> None:
        parent = self._memory.parent
        try:
            if self.version == 2 and not {"memory", "cpu"} <= _words(
                parent / "cgroup.subtree_control"
            ):
                (parent / "cgroup.subtree_control").write_text("+memory +cpu")
            for folder in self.folders:
                folder.mkdir()
        except PermissionError:
            raise
        except OSError as error:
            # Inside a container: a file system that may not be written, or a group with processes.
            raise NoBoxError(f"no control group can be made here: {error}") from error

    def _limit(self, limits: Limits) -> None:
        memory, cpu = self._memory, self._cpu
        if self.version == 2:
            (memory / "memory.max").write_text(str(limits.memory_bytes))
            _write_if_there(memory / "memory.swap.max", "0")
            (cpu / "cpu.max").write_text(f"{limits.quota_us} {PERIOD_US}")
            return
        (memory / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
        # Memory and swap together: no swap. Only there when the kernel counts swap.
        _write_if_there(memory / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
        (cpu / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (cpu / "cpu.cfs_quota_us").write_text(str(limits.quota_us))

    def _remove(self) -> None:
        started = time.monotonic()
        while self._memory.exists() and (pids := self.pids()):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() - started > PATIENCE_SECONDS:
                raise RuntimeError(f"processes {pids} do not leave {self._memory}")
            time.sleep(0.05)
        for folder in filter(Path.exists, self.folders):
            folder.rmdir()


def drop_page_cache() -> bool:
    """Forgets what was read of any file, so that whoever reads it next is charged; whether it may.

    Pages that a running process has mapped stay.
    """
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def _mounts() -> dict[str, Path]:
    """Where `cgroup2` is mounted, and each controller of version 1."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        names = {"cgroup2": ["cgroup2"], "cgroup": options.split(",")}.get(kind, [])
        found.update((name, Path(place)) for name in names)
    return found


def _words(file: Path) -> set[str]:
    return set(file.read_text().split())


def _pairs(file: Path) -> dict[str, int]:
    return {key: int(value) for key, value in map(str.split, file.read_text().splitlines())}


def _number(file: Path) -> int:
    return int(file.read_text())


def _write_if_there(file: Path, text: str) -> None:
    if file.exists():
        file.write_text(text)
