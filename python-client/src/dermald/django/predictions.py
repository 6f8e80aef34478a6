"""Predictions for a site's own views: the client's, remembered where the settings name a cache.

from dermald.django import predict

answer = predict(request.FILES["image"], explain="overlay", language="vi")
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from .._errors import DermaldError
from .._picture import Picture
from .caching import PredictionCache, Question, picture_digest
from .clients import get_async_client, get_client
from .conf import DEFAULT_ALIAS, DaemonSettings, daemon_settings

if TYPE_CHECKING:
    from .._client import Explain, Priority
    from .._picture import Image
    from .._results import Prediction

    class Options(TypedDict, total=False):
        """Those of `Client.predict`."""

        top_k: int
        target: int | None
        explain: Explain
        language: str | None
        priority: Priority
        timeout: float | None
        traceparent: str | None


# To learn which model answers now. The daemon tells at once or not at all.
_STATUS_SECONDS = 1.0


def predict(image: Image, *, alias: str = DEFAULT_ALIAS, **options: Unpack[Options]) -> Prediction:
    """As `Client.predict`, with the client of `settings.DERMALD[alias]` and its cache.

    A photo of more than MAX_BYTES is a `PictureError`.
    """
    daemon, client = daemon_settings(alias), get_client(alias)
    picture = Picture(image).data(daemon.max_bytes)
    cache = _cache_for(daemon, options)
    if cache is None:
        return client.predict(picture, **options)
    key_for = _keys(picture, options)
    try:
        status = client.status(timeout=_STATUS_SECONDS)
    except DermaldError:
        # Which model it is cannot be known; the prediction tells what is wrong.
        return client.predict(picture, **options)
    if (known := cache.get(key_for(_digest_in(status), status))) is not None:
        return known
    answer = client.predict(picture, **options)
    # Under the digest of the model that answered: it may have changed in between.
    cache.set(key_for(answer.model.digest, status), answer)
    return answer


async def apredict(
    image: Image, *, alias: str = DEFAULT_ALIAS, **options: Unpack[Options]
) -> Prediction:
    """`predict` as a coroutine. The prediction itself occupies no thread."""
    daemon, client = daemon_settings(alias), get_async_client(alias)
    picture = Picture(image).data(daemon.max_bytes)
    cache = _cache_for(daemon, options)
    if cache is None:
        return await client.predict(picture, **options)
    key_for = _keys(picture, options)
    try:
        status = await client.status(timeout=_STATUS_SECONDS)
    except DermaldError:
        return await client.predict(picture, **options)
    if (known := await cache.aget(key_for(_digest_in(status), status))) is not None:
        return known
    answer = await client.predict(picture, **options)
    await cache.aset(key_for(answer.model.digest, status), answer)
    return answer


def _cache_for(daemon: DaemonSettings, options: Options) -> PredictionCache | None:
    if daemon.cache is None:
        return None
    cache = PredictionCache(daemon.cache, daemon)
    return cache if cache.takes(options.get("explain")) else None


def _keys(picture: bytes | memoryview, options: Options) -> Callable[[str, dict[str, object]], str]:
    question = Question(
        picture_digest(picture),
        options.get("top_k", 0),
        options.get("target"),
        options.get("explain"),
        options.get("language"),
    )
    return lambda digest, status: question.key(digest, _text(status, "daemon", "version"))


def _digest_in(status: dict[str, object]) -> str:
    return _text(status, "model", "digest")


def _text(status: dict[str, Any], *path: str) -> str:
    value: Any = status
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return str(value)
