"""Asks for a prediction that a worker makes: writes the row, and sends its task once that is
committed."""

from __future__ import annotations

import json
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import storages
from django.db import transaction
from django.db.models.fields.files import FieldFile
from django.utils.functional import LazyObject, empty

from ..conf import DEFAULT_ALIAS, SETTING, daemon_settings
from .explain import explain_as_json
from .models import StoredPrediction
from .sending import send

if TYPE_CHECKING:
    from django.core.files.storage import Storage

    from ..._client import Explain, Priority


def predict_later(
    picture: FieldFile | str,
    *,
    storage: str = "default",
    key: str | None = None,
    alias: str = DEFAULT_ALIAS,
    top_k: int = 0,
    target: int | None = None,
    explain: Explain = None,
    language: str | None = None,
    priority: Priority = "interactive",
) -> StoredPrediction:
    """Has a worker predict for a stored picture. Returns the row at once.

    picture: a saved row's file (`upload.image`), or a name in the entry `storage` of STORAGES.
    key: what is asked about. The same key with the same question is the same row, however often it
        is asked for. None for the row's file itself, or for storage and name.
    priority: "interactive" where somebody waits for the page, "batch" for all else: that is done
        after those, in the queue and in the daemon.
    The rest as in `dermald.Client.predict`.

    The task is sent when the current transaction is committed. A queue that cannot be reached then
    is no error for the caller: the row waits, the log tells, and `manage.py dermald requeue` sends
    it. Raises `ImproperlyConfigured` for settings that name no queue, `ValueError` for a file that
    was never saved.
    """
    daemon = daemon_settings(alias)
    if daemon.background is None:
        hint = "'celery', or 'tasks' for django.tasks"
        raise ImproperlyConfigured(f"{SETTING}[{alias!r}] has no BACKGROUND: {hint}.")
    place, name, subject = _located(picture, storage)
    question = {
        "top_k": top_k,
        "target": target,
        "explain": explain_as_json(explain),
        "language": language,
    }
    prediction, is_new = StoredPrediction.objects.get_or_create(
        key=_digest([key or subject, alias, question]),
        defaults={
            "daemon": alias,
            "storage": place,
            "name": name,
            "question": question,
            "priority": priority,
        },
    )
    if is_new:
        transaction.on_commit(partial(send, prediction))
    return prediction


def _located(picture: FieldFile | str, storage: str) -> tuple[str, str, list[str]]:
    """Entry of STORAGES, name there, and what names the picture for good: a name may be given to
    another picture once its file was deleted, which a row's number may not."""
    if isinstance(picture, str):
        return storage, picture, [storage, picture]
    name, row = picture.name, picture.instance
    if not name or not getattr(picture, "_committed", True) or row.pk is None:
        raise ValueError("The picture's row was not saved yet: a worker could not find the file.")
    subject = [row._meta.label, str(row.pk), picture.field.name, name]
    return _entry_of(picture.storage), name, subject


def _entry_of(storage: Storage) -> str:
    found = _unwrapped(storage)
    for entry in storages.backends:
        if storages[entry] is found:
            return entry
    raise ImproperlyConfigured(
        f"The field's storage, {type(found).__name__}, is no entry of STORAGES. A worker finds a "
        "storage by its name there: storage=storages['name']."
    )


def _unwrapped(storage: object) -> object:
    if not isinstance(storage, LazyObject):
        return storage
    if storage._wrapped is empty:
        storage._setup()
    return storage._wrapped


def _digest(said: object) -> str:
    return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
