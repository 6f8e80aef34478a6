"""Sends a row's task to the queue that the settings name. What cannot be sent stays a row that
waits."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from ..conf import DaemonSettings, daemon_settings
from .models import State, StoredPrediction, seconds_from_now

if TYPE_CHECKING:

    class Queue(Protocol):
        """What `tasks` and `django_task` are."""

        def enqueue(self, prediction: StoredPrediction, daemon: DaemonSettings) -> None: ...


_log = logging.getLogger("dermald")
# By BACKGROUND. Imported at the first use: a site has one of the two.
_MODULES = {"celery": ".tasks", "tasks": ".django_task"}


def send(prediction: StoredPrediction) -> bool:
    """Whether the queue took it. Never raises for what the queue raises."""
    daemon = daemon_settings(prediction.daemon)
    try:
        _queue(daemon).enqueue(prediction, daemon)
    except Exception as error:  # noqa: BLE001  # whatever a broker's client raises
        _log.error(
            "prediction %s was not sent (%s: %s); it waits for `manage.py dermald requeue`",
            prediction.id,
            type(error).__name__,
            error,
        )
        return False
    row = StoredPrediction.objects.filter(pk=prediction.pk, state=State.WAITING)
    row.update(due_at=seconds_from_now(daemon.task_overdue))
    return True


def _queue(daemon: DaemonSettings) -> Queue:
    return cast("Queue", import_module(_MODULES[daemon.background or ""], __package__))
