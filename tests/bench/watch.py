"""Watches the memory of a group of processes from outside: who has how much, and when.

PSS counts a page that several processes have by their shares, so that the sum over the group is
what the group has; what it shares with processes outside counts only in part. How much that hides
is found now and then by looking at every page.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

INTERVAL_SECONDS = 0.05
# Looking at every page takes some milliseconds.
PAGES_EVERY = 20

PAGE = 4096
# An entry of /proc/PID/pagemap: whether the page is there, and in its low bits which one it is.
PRESENT = np.uint64(1 << 63)
FRAME = np.uint64((1 << 55) - 1)


@dataclass
class Share:
    """What one or several processes have, in MiB. What lies in files is `pss` less the others."""

    pss: float = 0.0
    # In no file: the kernel cannot take it back.
    anonymous: float = 0.0
    # In tmpfs, mapped.
    shared: float = 0.0

    def add(self, other: Share) -> None:
        self.pss += other.pss
        self.anonymous += other.anonymous
        self.shared += other.shared


@dataclass
class Sample:
    """The group at one moment, in seconds since the watch began."""

    at: float
    by_name: dict[str, Share]
    # All pages of the group, each counted once, in MiB; in some samples only.
    pages: float | None = None

    @property
    def total(self) -> Share:
        total = Share()
        for share in self.by_name.values():
            total.add(share)
        return total


@dataclass
class Watch:
    """Samples in a thread of its own, from `with` to its end.

    pids tells who belongs to the group; name_of says whose process one is.
    """

    pids: Callable[[], list[int]]
    name_of: Callable[[int], str]
    samples: list[Sample] = field(default_factory=list)
    started: float = 0.0

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self.started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def now(self) -> float:
        return time.monotonic() - self.started

    def _run(self) -> None:
        due = self.started
        while not self._over.is_set():
            self.samples.append(self._sample(len(self.samples) % PAGES_EVERY == 0))
            due = max(due + INTERVAL_SECONDS, time.monotonic())
            self._over.wait(due - time.monotonic())

    def _sample(self, with_pages: bool) -> Sample:
        sample = Sample(self.now(), {})
        pids = self.pids()
        for pid in pids:
            # Whoever has ended meanwhile has nothing any more.
            with suppress(FileNotFoundError, ProcessLookupError):
                share = share_of(pid)
                sample.by_name.setdefault(self.name_of(pid), Share()).add(share)
        if with_pages:
            sample.pages = pages_of(pids)
        return sample


def highest(samples: Iterable[Sample]) -> Sample:
    """The sample with the most memory."""
    return max(samples, key=lambda sample: sample.total.pss)


def share_of(pid: int) -> Share:
    """Raises `FileNotFoundError` or `ProcessLookupError` when the process is gone."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, kilobytes, *_ = line.split()
        found[key] = int(kilobytes) / 1024
    return Share(found["Pss:"], found["Pss_Anon:"], found["Pss_Shmem:"])


def cpu_seconds(pid: int) -> float:
    """What all threads of a process used, in nanoseconds' steps and not in /proc's hundredths.

    The number of another process's clock, as clock_getcpuclockid(3) makes it.
    """
    return time.clock_gettime(~pid << 3 | 2)


def pages_of(pids: list[int]) -> float:
    """What the processes have together in MiB, each page once, whoever else has it."""
    frames = [np.empty(0, np.uint64)]
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            frames += _frames(pid)
    return len(np.unique(np.concatenate(frames))) * PAGE / (1 << 20)


def _frames(pid: int) -> list[np.ndarray[tuple[int], np.dtype[np.uint64]]]:
    frames = []
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        for line in lines:
            first, last = (int(edge, 16) for edge in line.split()[0].split("-"))
            # The kernel's own page for system calls lies above all memory of processes.
            if "[vsyscall]" in line:
                continue
            pagemap.seek(first // PAGE * 8)
            entries = np.frombuffer(pagemap.read((last - first) // PAGE * 8), np.uint64)
            frames.append(entries[entries & PRESENT != 0] & FRAME)
    return frames
