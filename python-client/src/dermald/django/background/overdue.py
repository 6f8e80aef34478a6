"""Sends again what was lost on the way: tasks that never reached the queue, that a broker forgot,
or whose worker died where the queue does not notice."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils import timezone

from ..._visitors import GONE, PICTURE, TOO_LARGE
from ..conf import DEFAULT_ALIAS
from .models import State, StoredPrediction
from .sending import send

# Another attempt would not help.
_THE_PICTURES_FAULT = (PICTURE.name, TOO_LARGE.name, GONE.name)


@dataclass(frozen=True, slots=True)
class Requeued:
    """How many were sent; whether the queue refused one, after which no further were tried."""

    sent: int
    refused: bool


def requeue(
    alias: str = DEFAULT_ALIAS, *, everything: bool = False, failed: bool = False
) -> Requeued:
    """Sends the tasks of those rows of one daemon's that are overdue.

    everything: of all that are unfinished, for a broker that is known to have lost its queue. A
        task that is there twice finds its row done and ends.
    failed: of those too that failed for good through no fault of their picture.
    """
    rows = StoredPrediction.objects.filter(daemon=alias)
    if failed:
        rows.filter(state=State.FAILED).exclude(problem__in=_THE_PICTURES_FAULT).update(
            state=State.WAITING,
            attempts=0,
            code="",
            problem="",
            finished_at=None,
            due_at=timezone.now(),
        )
    sent = 0
    for prediction in _each(rows.unfinished() if everything else rows.overdue()):
        # Unless somebody finished it just now.
        rows.unfinished().filter(pk=prediction.pk).update(state=State.WAITING)
        if not send(prediction):
            return Requeued(sent, refused=True)
        sent += 1
    return Requeued(sent, refused=False)


def _each(rows: QuerySet[StoredPrediction]) -> list[StoredPrediction]:
    """Without what is large. Their number is bounded by what is unfinished."""
    return list(rows.order_by("created_at").defer("result", "overlay_data"))
