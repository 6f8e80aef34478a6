"""What a fake daemon does with one picture.

A step answers, refuses, or misbehaves; each may take its time first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

# What the protocol says of each code: whose fault, and whether to try again.
_CODES: dict[str, tuple[str, bool]] = {
    "stalled": ("caller", True),
    "too_many_connections": ("daemon", True),
    "invalid_request": ("caller", False),
    "picture_empty": ("caller", False),
    "picture_unsupported": ("caller", False),
    "picture_broken": ("caller", False),
    "picture_too_large": ("caller", False),
    "picture_failed": ("daemon", False),
    "busy": ("daemon", True),
    "deadline_exceeded": ("daemon", False),
    "going_away": ("daemon", True),
    "runtime_unavailable": ("operator", False),
    "model_invalid": ("operator", False),
    "inference_failed": ("daemon", False),
    "internal": ("daemon", False),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Classes with their probabilities, from 0 to 1; without any, falling ones for the model's own.

    An overlay that was asked for is a plain PNG of the model's size, whatever format was wished
    for, and so is the photo beneath it; `explanation` says why there is none instead. delay:
    seconds before it comes.
    """

    labels: Mapping[str, float] = field(default_factory=dict)
    explanation: str | None = None
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error of the protocol. Raises `ValueError` for a code that the protocol does not have.

    retry_after: seconds.
    """

    code: str
    retry_after: float | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        if self.code not in _CODES:
            raise ValueError(f"{self.code!r} is no code of a request; {', '.join(_CODES)} are")

    @property
    def fault(self) -> str:
        return _CODES[self.code][0]

    @property
    def retryable(self) -> bool:
        return _CODES[self.code][1]


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, until the client leaves."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends after half of the answer, as when a daemon is killed."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class GoAway:
    """The picture is refused because the daemon stops, which it says, and the connection ends."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Nonsense:
    """Bytes that are no reply."""

    delay: float = 0.0


Step: TypeAlias = Answer | Refusal | Hang | Cut | GoAway | Nonsense
