"""When a call must be over, and when it may try again. Pure: reads a clock, waits for nothing."""

from __future__ import annotations

import math
import random
import time

from ._errors import DeadlineExceeded, DermaldError, Unreachable

# A daemon that restarts is back within some tenths of a second; a full queue moves on at the pace
# of an inference, about 0.1 s. Doubling from here bridges both within two attempts.
FIRST_BACKOFF = 0.25
LONGEST_BACKOFF = 4.0
_U32_MAX = 0xFFFF_FFFF


class Deadline:
    """One point in time for everything that a call does."""

    __slots__ = ("_at", "timeout")

    def __init__(self, timeout: float) -> None:
        if not timeout > 0 or math.isinf(timeout):
            raise ValueError(f"timeout is {timeout}; it is a number of seconds above 0")
        self.timeout = timeout
        self._at = time.monotonic() + timeout

    def left(self) -> float:
        """Seconds that are left; 0 or less when it has passed."""
        return self._at - time.monotonic()

    def remaining(self) -> float:
        """Seconds that are left, above 0. Raises `DeadlineExceeded` when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise self.exceeded()
        return left

    def remaining_ms(self) -> int:
        """What is left as the wire says it, at least 1."""
        return min(max(int(self.remaining() * 1000), 1), _U32_MAX)

    def exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"No answer came within {self.timeout:g} seconds.")


class Retries:
    """Counts the attempts of one call, and says whether and when to try again.

    Connections that are lost or cannot be opened, and answers that invite to come back, are
    counted apart: a daemon that restarts gives one of each.
    """

    __slots__ = ("_deadline", "_limit", "_lost", "_refused")

    def __init__(self, limit: int, deadline: Deadline) -> None:
        self._limit = limit
        self._deadline = deadline
        self._lost = 0
        self._refused = 0

    def pause(self, error: DermaldError) -> float | None:
        """Seconds to wait before the next attempt; None when `error` is the call's result.

        Random, so that clients that were refused together do not come back together: anything
        between nothing and the backoff behind an answer, whose `retry_after` is waited for in any
        case; at least half of it when nobody answered, which a restart takes anyway.
        """
        if not error.retryable:
            return None
        lost = isinstance(error, Unreachable)
        if lost:
            attempt = self._lost = self._lost + 1
        else:
            attempt = self._refused = self._refused + 1
        if attempt > self._limit:
            return None
        backoff = min(FIRST_BACKOFF * 2 ** (attempt - 1), LONGEST_BACKOFF)
        pause = (error.retry_after or 0.0) + random.uniform(backoff / 2 if lost else 0, backoff)
        return pause if pause < self._deadline.left() else None
