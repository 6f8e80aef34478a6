"""The work on one row: predicts for its stored picture and stores the answer, once.

Knows no queue. Celery's task and that of django.tasks are thin around `perform`, which tells them
by `TryAgain` to come back. A row may be worked on twice at the same time (a task that is delivered
twice, a worker that was given up and lives): whoever finishes first stores.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import F
from django.utils import timezone

from ..._errors import DermaldError
from ..._visitors import FAILED, Problem, problem_of
from ..conf import DaemonSettings, daemon_settings
from ..stored import as_kept, is_final, pause_after, predict_stored
from .limits import limits_of
from .models import State, StoredPrediction, seconds_from_now

if TYPE_CHECKING:
    from ..._results import Prediction
    from ..predictions import Options

_log = logging.getLogger("dermald")


class TryAgain(Exception):
    """Nothing is lost: the row waits. pause: seconds before the next attempt."""

    def __init__(self, pause: float) -> None:
        super().__init__(pause)
        self.pause = pause


def perform(id: UUID) -> dict[str, str]:
    """Does what is left to do for a row. Returns its id and state, "gone" where it was deleted.

    Raises `TryAgain` when another attempt may do, and what the database raises.
    """
    prediction = _begin(id)
    if prediction is None:
        return {"id": str(id), "state": "gone"}
    if not prediction.is_finished:
        _attempt(prediction)
        prediction.refresh_from_db(fields=["state"])
    return {"id": str(id), "state": prediction.state}


def _begin(id: UUID) -> StoredPrediction | None:
    """Counts the attempt before it is made: one that kills its worker counts too."""
    row = StoredPrediction.objects.filter(pk=id)
    prediction = row.first()
    if prediction is None or prediction.is_finished:
        return prediction
    until = seconds_from_now(limits_of(daemon_settings(prediction.daemon)).over)
    row.unfinished().update(state=State.RUNNING, attempts=F("attempts") + 1, due_at=until)
    return row.first()


def _attempt(prediction: StoredPrediction) -> None:
    daemon = daemon_settings(prediction.daemon)
    if prediction.attempts > daemon.task_attempts:
        # Those before did not even fail: the worker died each time.
        _give_up(prediction, "worker_lost", FAILED)
        return
    try:
        options: Options = {**prediction.options, "timeout": limits_of(daemon).call}
        answer = predict_stored(
            prediction.name, prediction.storage, alias=prediction.daemon, **options
        )
    except Exception as error:  # noqa: BLE001  # storages and time limits raise what they like
        _failed(prediction, error, daemon)
    else:
        _store(prediction, answer)


def _store(prediction: StoredPrediction, answer: Prediction) -> None:
    overlay = answer.overlay
    _finish(
        prediction,
        state=State.DONE,
        result=as_kept(answer),
        overlay_format=overlay.format if overlay else "",
        overlay_width=overlay.width if overlay else 0,
        overlay_height=overlay.height if overlay else 0,
        overlay_data=overlay.data if overlay else None,
    )


def _failed(prediction: StoredPrediction, error: Exception, daemon: DaemonSettings) -> None:
    if isinstance(error, DermaldError):
        code, problem = error.code, problem_of(error)
    else:
        code, problem = type(error).__name__, FAILED
    if is_final(error) or prediction.attempts >= daemon.task_attempts:
        _give_up(prediction, code, problem)
        return
    pause = pause_after(error, prediction.attempts, limits_of(daemon).longest_pause)
    _log.info("prediction %s: attempt %d: %s", prediction.id, prediction.attempts, code)
    row = StoredPrediction.objects.unfinished().filter(pk=prediction.pk)
    row.update(state=State.WAITING, due_at=seconds_from_now(pause + daemon.task_overdue))
    raise TryAgain(pause) from error


def _give_up(prediction: StoredPrediction, code: str, problem: Problem) -> None:
    if _finish(prediction, state=State.FAILED, code=code[:64], problem=problem.name):
        # The row tells the rest; a file's name may tell who is in the picture.
        told = "prediction %s failed for good after %d attempts: %s"
        _log.warning(told, prediction.id, prediction.attempts, code)


def _finish(prediction: StoredPrediction, **values: object) -> bool:
    """Whether it was this call that finished the row: the database decides who is first."""
    row = StoredPrediction.objects.unfinished().filter(pk=prediction.pk)
    return row.update(finished_at=timezone.now(), **values) == 1
