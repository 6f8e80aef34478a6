"""The task of django.tasks, or of its backport `django-tasks` on Django 5.2.

Those queues know neither attempts nor time limits: an attempt that is to be repeated is a new task,
and the client's own deadline ends a prediction that takes too long.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone

from ..conf import daemon_settings
from .models import StoredPrediction
from .work import TryAgain, perform

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task  # type: ignore[no-redef]

if TYPE_CHECKING:
    from ..conf import DaemonSettings

# From -100 to 100; the highest goes first, and 0 is what a site's other tasks have.
_BATCH_PRIORITY = -50


@task
def predict_stored(id: str) -> dict[str, str]:
    """Returns the row's id and state."""
    try:
        return perform(UUID(id))
    except TryAgain as again:
        prediction = StoredPrediction.objects.filter(pk=id).first()
        if prediction is None:
            return {"id": id, "state": "gone"}
        if not predict_stored.get_backend().supports_defer:
            # `manage.py dermald requeue` finds the row.
            raise
        _enqueue(prediction, daemon_settings(prediction.daemon), again.pause)
        return {"id": id, "state": prediction.state}


def enqueue(prediction: StoredPrediction, daemon: DaemonSettings) -> None:
    """Raises what the backend of TASKS raises."""
    _enqueue(prediction, daemon, 0.0)


def _enqueue(prediction: StoredPrediction, daemon: DaemonSettings, pause: float) -> None:
    backend = predict_stored.get_backend()
    changes: dict[str, Any] = {}
    if daemon.task_queue is not None:
        changes["queue_name"] = daemon.task_queue
    if prediction.priority == "batch" and backend.supports_priority:
        changes["priority"] = _BATCH_PRIORITY
    if pause:
        changes["run_after"] = timezone.now() + timedelta(seconds=pause)
    predict_stored.using(**changes).enqueue(str(prediction.id))
