"""Celery's task. Celery finds it by the name of this module.

Its message holds the row's id. It is acknowledged at the end, so that a worker that is killed has
done nothing and the task runs again, here or on another machine.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from celery import shared_task

from ..conf import DEFAULT_TASK_TIMEOUT
from ..stored import pause_after
from .limits import limits_of
from .work import TryAgain, perform

if TYPE_CHECKING:
    from ..conf import DaemonSettings
    from .models import StoredPrediction

_log = logging.getLogger("dermald")
# As Celery counts them on Redis: the lowest goes first.
_PRIORITIES = {"interactive": 0, "batch": 9}
# Somebody waits for the page that asks.
_PUBLISH = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 0.2}

SEND_SECONDS = 3.0
_SENDERS = 16
_senders = threading.BoundedSemaphore(_SENDERS)
# For what no row counts, such as a database that is away.
_RETRIES_UNCOUNTED = 50


@shared_task(
    bind=True,
    name="dermald.predict_stored",
    acks_late=True,
    reject_on_worker_lost=True,
    # The row counts its attempts.
    max_retries=None,
)
def predict_stored(self: Any, id: str) -> dict[str, str]:  # noqa: ANN401  # Celery's bound task
    """Returns the row's id and state; the site's result backend is told, where there is one."""
    try:
        done = perform(UUID(id))
    except TryAgain as again:
        raise self.retry(exc=again, countdown=again.pause) from again
    except Exception as error:
        _, longest = self.request.timelimit or (None, None)
        pause = pause_after(error, self.request.retries + 1, longest or DEFAULT_TASK_TIMEOUT)
        retries = _RETRIES_UNCOUNTED
        raise self.retry(exc=error, countdown=pause, max_retries=retries) from error
    try:
        self.update_state(state="SUCCESS", meta=done)
    except Exception as error:  # noqa: BLE001  # whatever a result backend raises
        _log.warning("prediction %s: Celery's result backend: %s", id, error)
    return done


def enqueue(prediction: StoredPrediction, daemon: DaemonSettings) -> None:
    """Raises what the broker's client raises, and `TimeoutError` when that takes too long."""
    limits = limits_of(daemon)
    options: dict[str, Any] = {"soft_time_limit": limits.soft, "time_limit": limits.hard}
    if daemon.task_queue is not None:
        options["queue"] = daemon.task_queue
    _in_time(
        partial(
            predict_stored.apply_async,
            (str(prediction.id),),
            # So that Celery's own result is found by it too.
            task_id=str(prediction.id),
            priority=_PRIORITIES[prediction.priority],
            retry_policy=_PUBLISH,
            # Else Celery subscribes to the result before it returns, and a result backend that is
            # away holds the visitor up for a minute. The task tells its result by itself.
            ignore_result=True,
            **options,
        )
    )


def _in_time(publish: Callable[[], object]) -> None:
    """Runs `publish` in a thread, and leaves that alone after SEND_SECONDS: with a broker that
    hangs, retries within retries of Celery, kombu and redis-py last a minute, whatever their time
    limits. What is sent too late is a task that is there twice, which is harmless."""
    if not _senders.acquire(blocking=False):
        raise TimeoutError(f"{_SENDERS} tasks are being sent to a broker that does not answer")
    failures: list[Exception] = []

    def run() -> None:
        try:
            publish()
        except Exception as error:  # noqa: BLE001  # raised below, in the caller's thread
            failures.append(error)
        finally:
            _senders.release()

    thread = threading.Thread(target=run, name="dermald-send", daemon=True)
    thread.start()
    thread.join(SEND_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"the broker did not take it within {SEND_SECONDS:g} s")
    for failure in failures:
        raise failure
