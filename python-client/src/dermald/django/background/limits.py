"""How long the parts of a background prediction may take: all follow from TASK_TIMEOUT. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ..conf import DaemonSettings


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds. call: for the daemon's answer; what is left is for reading the picture and
    storing the answer. soft: the task is told to end. hard: its process is killed. over: after its
    beginning the task has certainly ended. longest_pause: between two attempts."""

    call: float
    soft: float
    hard: float
    over: float
    longest_pause: float

    def longest_held(self, prefetch: float) -> float:
        """How long a broker may wait until a worker says that it is done with a message: those that
        were fetched before it are done first, and one that waits for its next attempt is held."""
        return self.hard * (1 + prefetch) + self.longest_pause


def limits_of(daemon: DaemonSettings) -> Limits:
    soft = daemon.task_timeout
    return Limits(call=soft * 0.8, soft=soft, hard=soft * 1.25, over=soft * 1.5, longest_pause=soft)
