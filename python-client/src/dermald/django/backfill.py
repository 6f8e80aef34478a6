"""Predicts for the pictures of a site's existing rows and stores the answers in a field of theirs.

Each answer is stored as it comes, and only into a row that has none and still has the picture that
was asked about: a backfill that is stopped goes on where it was when it is started again, and two
of them at once store nothing twice. The daemon is asked with priority "batch", by a few threads:
who waits for a page is answered first.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from .conf import daemon_settings
from .stored import as_kept, is_final, pause_after, predict_stored

if TYPE_CHECKING:
    from .._results import Prediction
    from .predictions import Options

# Rows are read in portions, by their key: memory does not grow with the table, and no cursor stays
# open for hours.
_PORTION = 200


class BackfillError(Exception):
    """Nothing was begun, or it cannot go on. `str()` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Column:
    """Where pictures are and answers go."""

    model: type[models.Model]
    image: str
    result: str

    def pending(self) -> models.QuerySet[Any]:
        """The rows with a picture and without an answer."""
        rows = self.model._base_manager.filter(**{f"{self.result}__isnull": True})
        return rows.exclude(**{self.image: ""}).exclude(**{f"{self.image}__isnull": True})

    def store(self, pk: object, name: str, kept: dict[str, object]) -> bool:
        """Whether the row still wanted it."""
        row = self.pending().filter(pk=pk, **{self.image: name})
        return row.update(**{self.result: kept}) == 1


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one: code is None where the answer is there, else why it is not."""

    pk: object
    code: str | None


def column_of(image: str, result: str) -> Column:
    """From `app.Model.image_field` and the name of a JSONField. Raises `BackfillError`."""
    label, _, field = image.rpartition(".")
    try:
        model = apps.get_model(label)
    except (LookupError, ValueError) as error:
        raise BackfillError(f"{image!r} is no app.Model.field: {error}") from error
    _field(model, field, models.FileField)
    answers = _field(model, result, models.JSONField)
    if not answers.null:
        raise BackfillError(
            f"{label}.{result} has no null=True: rows without an answer could not be told."
        )
    return Column(model, field, result)


def backfill(
    column: Column, *, alias: str, jobs: int, limit: int | None, options: Options
) -> Iterator[Row]:
    """Yields each row once it is done with.

    Raises `BackfillError` when the daemon cannot be asked for longer than its attempts last.
    """
    daemon = daemon_settings(alias)
    question: Options = {**options, "priority": "batch"}
    storage = column.model._meta.get_field(column.image).storage  # type: ignore[union-attr]

    over = threading.Event()

    def ask(name: str) -> Prediction:
        """A daemon that is busy, renews itself or is started again is waited for."""
        attempt = 1
        while True:
            try:
                return predict_stored(name, storage, alias=alias, **question)
            except Exception as error:
                if attempt >= daemon.task_attempts or is_final(error):
                    raise
                if over.wait(pause_after(error, attempt, daemon.task_timeout)):
                    raise
            attempt += 1

    with ThreadPoolExecutor(jobs, thread_name_prefix="backfill") as pool:
        asked: dict[Future[Prediction], tuple[object, str]] = {}
        try:
            for pk, name in _rows(column, limit):
                asked[pool.submit(ask, name)] = (pk, name)
                if len(asked) >= jobs:
                    yield from _done(column, asked)
            while asked:
                yield from _done(column, asked)
        finally:
            over.set()


def _rows(column: Column, limit: int | None) -> Iterator[tuple[object, str]]:
    rows = column.pending().order_by("pk").values_list("pk", column.image)
    left = limit
    last: object = None
    while left is None or left > 0:
        later = rows if last is None else rows.filter(pk__gt=last)
        portion = list(later[: _PORTION if left is None else min(left, _PORTION)])
        if not portion:
            return
        yield from portion
        last = portion[-1][0]
        left = None if left is None else left - len(portion)


def _done(column: Column, asked: dict[Future[Prediction], tuple[object, str]]) -> Iterator[Row]:
    """Waits for one at least."""
    for future in wait(asked, return_when=FIRST_COMPLETED).done:
        pk, name = asked.pop(future)
        error = future.exception()
        if error is None:
            kept = column.store(pk, name, as_kept(future.result()))
            yield Row(pk, None if kept else "changed")
        elif isinstance(error, Exception) and is_final(error):
            yield Row(pk, getattr(error, "code", None) or type(error).__name__)
        else:
            raise BackfillError(
                f"{error} Nothing is lost: start it again and it goes on from here."
            ) from error


def _field(model: type[models.Model], name: str, kind: type[models.Field[Any, Any]]) -> Any:  # noqa: ANN401
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist as error:
        raise BackfillError(f"{model._meta.label} has no field {name!r}.") from error
    if not isinstance(field, kind):
        raise BackfillError(f"{model._meta.label}.{name} is no {kind.__name__}.")
    return field
