"""The daemon behind the drop-in: how to ask it, and what a visitor is told when that fails."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from .._client import Client
from .._errors import DermaldError, PictureError
from .._results import Model, Prediction
from .._translation import django_is_set_up
from .._visitors import FAILED, problem_of

if TYPE_CHECKING:
    from .._client import Explain
    from .._picture import Image

_log = logging.getLogger("dermald")
# The site reads facts about the model while it starts and in its health pages: better no answer
# than a late one.
_FACTS_SECONDS = 2.0


class SkinPredictionError(RuntimeError):
    """No prediction. `str()` is a sentence for a visitor, in their language; the cause is chained.

    code: that of the `DermaldError` behind it.
    """

    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class BadPhoto(SkinPredictionError, ValueError):
    """The photo is at fault: another one may work."""


def predict(image: Image, *, top_k: int, explain: Explain) -> Prediction:
    """Asks the daemon. Raises `SkinPredictionError`, and writes the reason to the log."""
    with _told_to_visitors():
        if not django_is_set_up():
            return _plain_client().predict(image, top_k=top_k, explain=explain)
        from ..django import predict as remembered

        return remembered(image, top_k=top_k, explain=explain)


def model_facts() -> Mapping[str, object] | None:
    """What the daemon's status says about its model; None when it does not answer at once."""
    try:
        facts = _probe().status(timeout=_FACTS_SECONDS).get("model")
    except _failures():
        return None
    return facts if isinstance(facts, dict) else None


def model_of(facts: Mapping[str, object]) -> Model:
    return Model(*(str(facts.get(key, "")) for key in ("name", "version", "digest")))


def _probe() -> Client:
    if not django_is_set_up():
        return _plain_client()
    from ..django.clients import get_probe

    return get_probe()


@cache
def _plain_client() -> Client:
    return Client()


def _failures() -> tuple[type[Exception], ...]:
    """What asking raises: our own errors, and under Django one for wrong settings."""
    if not django_is_set_up():
        return (DermaldError,)
    from django.core.exceptions import ImproperlyConfigured

    return (DermaldError, ImproperlyConfigured)


@contextmanager
def _told_to_visitors() -> Iterator[None]:
    try:
        yield
    except _failures() as error:
        if not isinstance(error, DermaldError):
            _log.error("no prediction: %s", error)
            raise SkinPredictionError(FAILED.sentence(), "misconfigured") from error
        _log.warning("no prediction: %s (%s, %s)", error.message, error.code, error.fault)
        kind = BadPhoto if isinstance(error, PictureError) else SkinPredictionError
        raise kind(problem_of(error).sentence(), error.code) from error
