"""Remembers predictions in an entry of CACHES. Owns keys and values; asks no daemon.

Of a photo only its digest is kept, and that inside the digest which is the key. An overlay shows
the photo, so answers with one are kept only with CACHE_OVERLAYS. The key names model and daemon
version too: a new one never serves old answers.

A cache that fails costs a prediction nothing but the attempt: it is left alone for some seconds,
and the log tells it once a minute.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from django.core.cache import caches
from django.core.signals import setting_changed
from django.dispatch import receiver

from .._results import Prediction, RenderOverlay, Timings
from .._wire import replies
from .._wire.values import WireError
from .conf import DaemonSettings

if TYPE_CHECKING:
    from django.core.cache.backends.base import BaseCache

    from .._client import Explain

_log = logging.getLogger("dermald")
# Changes with the meaning of what is kept under it.
_VERSION = "2"
_LEFT_ALONE_SECONDS = 5.0
_TOLD_EVERY_SECONDS = 60.0
# Django's cache backends work in a thread for asynchronous callers and may hang there.
_ASYNC_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """All that the answer depends on but the model: what was asked about which photo."""

    picture: str
    top_k: int
    target: int | None
    explain: Explain
    language: str | None

    def key(self, model_digest: str, daemon_version: str) -> str:
        """Short, and sound for every backend."""
        said = repr((self, model_digest, daemon_version)).encode()
        return f"dermald:{_VERSION}:{sha256(said).hexdigest()}"


def picture_digest(picture: bytes | memoryview) -> str:
    return sha256(picture).hexdigest()


class PredictionCache:
    """One entry of CACHES, as one daemon's settings want it used. Its methods never raise."""

    def __init__(self, alias: str, daemon: DaemonSettings) -> None:
        self._alias = alias
        self._timeout = daemon.cache_timeout
        self._overlays = daemon.cache_overlays
        self._trouble = _trouble.setdefault(alias, _Trouble())

    def takes(self, explain: Explain) -> bool:
        """Whether answers to such a question may be kept, and the cache is not left alone."""
        shows_the_photo = explain == "overlay" or isinstance(explain, RenderOverlay)
        return (self._overlays or not shows_the_photo) and not self._trouble.recent()

    def get(self, key: str) -> Prediction | None:
        try:
            return decoded(self._cache().get(key))
        except Exception as error:  # noqa: BLE001  # whatever a backend raises
            self._trouble.happened(self._alias, error)
            return None

    def set(self, key: str, answer: Prediction) -> None:
        if not _worth_keeping(answer):
            return
        try:
            self._cache().set(key, encoded(answer), self._timeout)
        except Exception as error:  # noqa: BLE001  # the same
            self._trouble.happened(self._alias, error)

    async def aget(self, key: str) -> Prediction | None:
        try:
            return decoded(await asyncio.wait_for(self._cache().aget(key), _ASYNC_SECONDS))
        except Exception as error:  # noqa: BLE001  # the same
            self._trouble.happened(self._alias, error)
            return None

    async def aset(self, key: str, answer: Prediction) -> None:
        if not _worth_keeping(answer):
            return
        try:
            setting = self._cache().aset(key, encoded(answer), self._timeout)
            await asyncio.wait_for(setting, _ASYNC_SECONDS)
        except Exception as error:  # noqa: BLE001  # the same
            self._trouble.happened(self._alias, error)

    def _cache(self) -> BaseCache:
        return caches[self._alias]


def encoded(answer: Prediction) -> bytes:
    """As the wire has it: nothing that must be unpickled, and as compact."""
    texts = {"notice": answer.notice, "explanation": answer.explanation}
    said = {key: text.encode() for key, text in texts.items() if text is not None}
    if answer.photo is not None:
        said["photo"] = answer.photo
    reply = replies.Prediction(
        id=0,
        model=answer.model,
        labels=answer.labels,
        explained=answer.explained,
        heatmap=answer.heatmap,
        overlay=answer.overlay,
        timings=answer.timings,
        extensions=tuple(said.items()),
    )
    # Without the length that goes before a frame.
    return b"".join(replies.encode_reply(reply))[4:]


def decoded(value: object) -> Prediction | None:
    """None for nothing, and for what is no answer of ours. Its timings are 0: nothing was run."""
    from .._ask import read_prediction

    if not isinstance(value, bytes):
        return None
    try:
        reply = replies.decode_reply(value)
    except WireError:
        return None
    if not isinstance(reply, replies.Prediction):
        return None
    return replace(read_prediction(reply), timings=Timings(0, 0, 0, 0, 0))


def _worth_keeping(answer: Prediction) -> bool:
    # Why an explanation is missing is the daemon's set-up of today.
    return answer.explanation is None


class _Trouble:
    """When an entry of CACHES failed, and when that was told."""

    def __init__(self) -> None:
        self._failed: float | None = None
        self._told: float | None = None

    def recent(self) -> bool:
        return self._failed is not None and time.monotonic() < self._failed + _LEFT_ALONE_SECONDS

    def happened(self, alias: str, error: Exception) -> None:
        now = time.monotonic()
        self._failed = now
        if self._told is None or now >= self._told + _TOLD_EVERY_SECONDS:
            self._told = now
            _log.warning(
                "cache %r fails (%s: %s); predictions go on without it, and it is tried again "
                "every %g s",
                alias,
                type(error).__name__,
                error,
                _LEFT_ALONE_SECONDS,
            )


# By entry of CACHES: one broken server is one trouble, however many daemons remember in it.
_trouble: dict[str, _Trouble] = {}


@receiver(setting_changed)
def _forget(*, setting: str, **_: object) -> None:
    if setting == "CACHES":
        _trouble.clear()
