"""What a visitor is told when a prediction fails: one sentence, in the visitor's language.

The log gets the error itself. Knows no HTTP and no template.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import Busy, DeadlineExceeded, DermaldError, GoingAway, PictureError, Unreachable
from ._translation import translated


def _(text: str) -> str:
    """Marks a sentence for the catalogue; it is translated when it is shown."""
    return text


@dataclass(frozen=True, slots=True)
class Problem:
    """name: stable, for code. text: the sentence in English, and its key in the catalogue."""

    name: str
    text: str

    def sentence(self) -> str:
        """In the language that is active now."""
        return translated(self.text)


MISSING = Problem("missing", _("No photo was chosen. Choose one and try again."))
PICTURE = Problem(
    "picture",
    _("This file cannot be read as a photo. Please choose another one: JPEG, PNG or WebP."),
)
TOO_LARGE = Problem("too_large", _("This photo is too large. Please choose a smaller one."))
BUSY = Problem(
    "busy", _("Many photos are being looked at right now. Please try again in a moment.")
)
RESTARTING = Problem(
    "restarting", _("The classifier is starting again. Please try again in a moment.")
)
LATE = Problem("late", _("Looking at the photo took too long. Please try again."))
AWAY = Problem("away", _("The classifier is not running at the moment. Please try again later."))
FAILED = Problem(
    "failed",
    _("The photo could not be classified. The team of this site can see why in its log."),
)
GONE = Problem("gone", _("The stored photo is no longer there. Please upload it again."))

_ALL = (MISSING, PICTURE, TOO_LARGE, BUSY, LATE, AWAY, FAILED, GONE)
_BY_KIND: tuple[tuple[type[DermaldError], Problem], ...] = (
    (PictureError, PICTURE),
    (Busy, BUSY),
    (GoingAway, RESTARTING),
    (DeadlineExceeded, LATE),
    (Unreachable, AWAY),
    (DermaldError, FAILED),
)


def problem_of(error: DermaldError) -> Problem:
    """What a visitor needs to know of an error."""
    if error.code in ("picture_too_large", "frame_too_large"):
        return TOO_LARGE
    if error.code == "picture_missing":
        return GONE
    if error.code == "picture_failed":
        # The daemon's fault, but another photo helps.
        return PICTURE
    return next(problem for kind, problem in _BY_KIND if isinstance(error, kind))


def problem_named(name: str) -> Problem:
    """The problem of that name; FAILED for a name of another version."""
    return next((problem for problem in _ALL if problem.name == name), FAILED)
