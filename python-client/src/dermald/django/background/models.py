"""The row of a background prediction: what was asked, how far it is, and the answer.

Knows no queue and no daemon. A row changes only by the conditional updates of `work`, so that an
answer is stored once however often its task is delivered.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

from ..._results import Overlay
from ..._translation import translated
from ..._visitors import problem_named
from ..stored import from_kept
from .explain import explain_of

if TYPE_CHECKING:
    from ..._results import Prediction
    from ..predictions import Options


def _(text: str) -> str:
    """Marks a sentence for the catalogue; it is translated when it is shown."""
    return text


class State(models.TextChoices):
    """WAITING for a worker, or for another attempt; RUNNING in one, as far as anybody knows."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


UNFINISHED = (State.WAITING, State.RUNNING)
_SENTENCES = {
    State.WAITING: _("Your photo waits for its turn."),
    State.RUNNING: _("Your photo is being looked at."),
    State.DONE: _("The result is there."),
}


class StoredPredictions(models.QuerySet["StoredPrediction"]):
    def unfinished(self) -> StoredPredictions:
        return self.filter(state__in=UNFINISHED)

    def overdue(self) -> StoredPredictions:
        """Those that nobody has moved on although it was time: their task was lost."""
        return self.unfinished().filter(due_at__lte=timezone.now())


class StoredPrediction(models.Model):
    """id: random; who knows it may ask for it. key: unique for picture and question. name: in the
    storage. due_at: when something must have happened, or the task is sent anew."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    key = models.CharField(max_length=64, unique=True, editable=False)
    daemon = models.CharField(max_length=64)
    storage = models.CharField(max_length=64)
    name = models.TextField()
    question = models.JSONField()
    priority = models.CharField(max_length=16)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True)
    result = models.JSONField(null=True)
    overlay_format = models.CharField(max_length=8, blank=True)
    overlay_width = models.PositiveIntegerField(default=0)
    overlay_height = models.PositiveIntegerField(default=0)
    overlay_data = models.BinaryField(null=True)
    code = models.CharField(max_length=64, blank=True)
    problem = models.CharField(max_length=32, blank=True)

    objects = StoredPredictions.as_manager()

    class Meta:
        app_label = "dermald_background"
        ordering = ("created_at",)
        indexes = (
            models.Index(
                fields=["due_at"],
                name="dermald_unfinished",
                condition=models.Q(state__in=["waiting", "running"]),
            ),
        )

    def __str__(self) -> str:
        return f"{self.id} ({self.state})"

    @property
    def is_finished(self) -> bool:
        return self.state not in UNFINISHED

    @property
    def sentence(self) -> str:
        """How far it is, or what went wrong, for the visitor, in the active language."""
        if self.state == State.FAILED:
            return problem_named(self.problem).sentence()
        return translated(_SENTENCES[State(self.state)])

    @property
    def ahead(self) -> int:
        """How many wait or run that came before it."""
        if self.is_finished:
            return 0
        earlier = StoredPrediction.objects.unfinished().filter(created_at__lt=self.created_at)
        return earlier.count()

    @property
    def overlay(self) -> Overlay | None:
        """The picture that was asked for with `explain`, where there is one."""
        if self.overlay_data is None:
            return None
        data = bytes(self.overlay_data)
        return Overlay(self.overlay_format, self.overlay_width, self.overlay_height, data)

    @property
    def answer(self) -> Prediction | None:
        """What `dermald.django.predict` would have returned, but for how long it took; None while
        there is none."""
        return None if self.result is None else from_kept(self.result, self.overlay)

    @property
    def options(self) -> Options:
        """The question, as `dermald.django.predict` takes it."""
        return {
            "top_k": self.question["top_k"],
            "target": self.question["target"],
            "language": self.question["language"],
            "explain": explain_of(self.question["explain"]),
            "priority": "batch" if self.priority == "batch" else "interactive",
        }

    def as_dict(self) -> dict[str, Any]:
        """For a page that asks again and again: `id`, `state`, `sentence`, `ahead`, `attempts`, and
        at the end `result` or `code`."""
        return {
            "id": str(self.id),
            "state": self.state,
            "sentence": self.sentence,
            "ahead": self.ahead,
            "attempts": self.attempts,
            "result": self.result,
            "code": self.code or None,
        }


def seconds_from_now(seconds: float) -> Any:  # noqa: ANN401  # a datetime, naive or aware as the site is
    return timezone.now() + timedelta(seconds=seconds)
