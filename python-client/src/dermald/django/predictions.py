"""Predictions for a site's own views: the client's, remembered where the settings name a cache.

from dermald.django import predict

answer = predict(request.FILES["image"], explain="overlay", language="vi")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict, Unpack

from .._deadline import Deadline
from .._errors import DermaldError
from .._picture import Picture
from .caching import PredictionCache, Question, picture_digest
from .clients import get_async_client, get_async_probe, get_client, get_probe
from .conf import DEFAULT_ALIAS, DaemonSettings, daemon_settings

if TYPE_CHECKING:
    from .._client import Explain, Priority
    from .._picture import Image
    from .._results import Health, Prediction

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
_HEALTH_SECONDS = 1.0


def predict(image: Image, *, alias: str = DEFAULT_ALIAS, **options: Unpack[Options]) -> Prediction:
    """As `Client.predict`, with the client of `settings.DERMALD[alias]` and its cache.

    A photo of more than MAX_BYTES is a `PictureError`.
    """
    asked, client = _Asked(image, alias, options), get_client(alias)
    if asked.cache is None:
        return client.predict(asked.picture, **options)
    try:
        health = get_probe(alias).health(timeout=asked.seconds_for_health())
    except DermaldError:
        health = None
    keys = asked.keys(health)
    if keys is None:
        return client.predict(asked.picture, **asked.options_left())
    if (known := asked.cache.get(keys.now)) is not None:
        return known
    answer = client.predict(asked.picture, **asked.options_left())
    # Under the digest of the model that answered: it may have changed in between.
    asked.cache.set(keys.of(answer.model.digest), answer)
    return answer


async def apredict(
    image: Image, *, alias: str = DEFAULT_ALIAS, **options: Unpack[Options]
) -> Prediction:
    """`predict` as a coroutine. The prediction itself occupies no thread."""
    asked, client = _Asked(image, alias, options), get_async_client(alias)
    if asked.cache is None:
        return await client.predict(asked.picture, **options)
    try:
        health = await get_async_probe(alias).health(timeout=asked.seconds_for_health())
    except DermaldError:
        health = None
    keys = asked.keys(health)
    if keys is None:
        return await client.predict(asked.picture, **asked.options_left())
    if (known := await asked.cache.aget(keys.now)) is not None:
        return known
    answer = await client.predict(asked.picture, **asked.options_left())
    await asked.cache.aset(keys.of(answer.model.digest), answer)
    return answer


class _Asked:
    """One call: its picture, its cache if it has one, and the one deadline for all of it."""

    def __init__(self, image: Image, alias: str, options: Options) -> None:
        daemon = daemon_settings(alias)
        self._options = options
        timeout = options.get("timeout")
        self._deadline = Deadline(daemon.timeout if timeout is None else timeout)
        self.picture = Picture(image).data(daemon.max_bytes)
        self.cache = _cache_for(daemon, options.get("explain"))

    def seconds_for_health(self) -> float:
        return min(_HEALTH_SECONDS, self._deadline.remaining())

    def options_left(self) -> Options:
        """The options with the time that is left."""
        return {**self._options, "timeout": self._deadline.remaining()}

    def keys(self, health: Health | None) -> _Keys | None:
        """None when the daemon does not tell which model and which version it is; the prediction
        tells what is wrong."""
        if health is None or health.model is None or health.version is None:
            return None
        question = Question(
            picture_digest(self.picture),
            self._options.get("top_k", 0),
            self._options.get("target"),
            self._options.get("explain"),
            self._options.get("language"),
        )
        return _Keys(question, health.model, health.version)


@dataclass(frozen=True, slots=True)
class _Keys:
    """What answers to one question are remembered under, by the model that gives them."""

    question: Question
    model_digest: str
    daemon_version: str

    @property
    def now(self) -> str:
        return self.of(self.model_digest)

    def of(self, model_digest: str) -> str:
        return self.question.key(model_digest, self.daemon_version)


def _cache_for(daemon: DaemonSettings, explain: Explain) -> PredictionCache | None:
    if daemon.cache is None:
        return None
    cache = PredictionCache(daemon.cache, daemon)
    return cache if cache.takes(explain) else None
