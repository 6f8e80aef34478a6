"""Predictions that are remembered in a real Redis: when they are, and when they must not be."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.cache import caches
from django.test import override_settings

import dermald
from conftest import StartDaemon
from dermald._results import Prediction, RenderOverlay, Timings
from dermald.compat.ai_detection import predict_skin_simple
from dermald.django import apredict, caching, clients, get_client, predict
from dermald.django.clients import get_probe
from dermald.django.conf import PAGE_OVERLAY
from photos import variants
from processes import Daemon
from redis_server import Redis

Ask = Callable[..., Prediction]


def sync_ask(image: Any, **options: Any) -> Prediction:  # noqa: ANN401
    return predict(image, **options)


def async_ask(image: Any, **options: Any) -> Prediction:  # noqa: ANN401
    return asyncio.run(apredict(image, **options))


both_ways = pytest.mark.parametrize("ask", [sync_ask, async_ask], ids=["sync", "async"])


@pytest.fixture
def redis(folder: Path) -> Iterator[Redis]:
    server = Redis(folder)
    yield server
    server.thaw()
    server.stop()


@pytest.fixture(autouse=True)
def no_old_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "_trouble", {})


def remembering(socket: Path, redis: Redis, **entry: object) -> override_settings:
    return override_settings(
        DERMALD={"default": {"SOCKET": socket, "CACHE": "default", **entry}},
        CACHES={"default": redis.cache_entry()},
    )


def predictions_of(socket: Path) -> int:
    """How many the daemon has answered, by its own count."""
    with dermald.Client(socket) as client:
        outcomes = client.status()["outcomes"]
    assert isinstance(outcomes, dict)
    return int(outcomes.get("ok", 0))


@both_ways
def test_equal_question_is_answered_once(
    ask: Ask, daemon: Daemon, redis: Redis, photo: Path
) -> None:
    before = predictions_of(daemon.socket)
    with remembering(daemon.socket, redis):
        first = ask(photo.read_bytes(), explain="values", language="vi", top_k=3)
        again = ask(photo, explain="values", language="vi", top_k=3)
    assert predictions_of(daemon.socket) == before + 1
    assert first.timings != again.timings == Timings(0, 0, 0, 0, 0)
    assert (again.labels, again.heatmap, again.model) == (
        first.labels,
        first.heatmap,
        first.model,
    )
    assert (again.notice, again.explained) == (first.notice, first.explained)
    assert again.notice is not None


@both_ways
def test_other_question_is_asked(ask: Ask, daemon: Daemon, redis: Redis, photo: Path) -> None:
    questions: list[dict[str, object]] = [
        {},
        {"top_k": 1},
        {"language": "vi"},
        {"explain": "values"},
        {"explain": "values", "target": 2},
    ]
    before = predictions_of(daemon.socket)
    with remembering(daemon.socket, redis):
        for _ in range(2):
            for question in questions:
                ask(photo, **question)
            for other in variants(photo, 2):
                ask(other)
    assert predictions_of(daemon.socket) == before + len(questions) + 2


def test_how_it_is_asked_makes_no_other_question(daemon: Daemon, redis: Redis, photo: Path) -> None:
    before = predictions_of(daemon.socket)
    with remembering(daemon.socket, redis):
        predict(photo)
        predict(photo, priority="batch", timeout=10, traceparent="00-" + "1" * 32)
    assert predictions_of(daemon.socket) == before + 1


@both_ways
def test_new_model_never_serves_old_answers(
    ask: Ask, start_daemon: StartDaemon, redis: Redis, photo: Path
) -> None:
    daemon = start_daemon("demo")
    with remembering(daemon.socket, redis):
        old = ask(photo)
        daemon.terminate()
        daemon = start_daemon("no-gradcam")
        new = ask(photo)
        assert new.model.digest != old.model.digest
        assert predictions_of(daemon.socket) == 1
        assert ask(photo).model == new.model
    assert predictions_of(daemon.socket) == 1


@both_ways
def test_overlay_is_kept_only_where_that_is_wanted(
    ask: Ask, daemon: Daemon, redis: Redis, photo: Path
) -> None:
    before = predictions_of(daemon.socket)
    with remembering(daemon.socket, redis):
        ask(photo, explain="overlay")
        ask(photo, explain=RenderOverlay(format="jpeg"))
        assert redis.contents() == {}
    with remembering(daemon.socket, redis, CACHE_OVERLAYS=True):
        for explain in ("overlay", PAGE_OVERLAY):
            first = ask(photo, explain=explain)
            again = ask(photo, explain=explain)
            assert first.overlay is not None
            assert (again.overlay, again.photo) == (first.overlay, first.photo)
    assert first.photo is not None
    assert predictions_of(daemon.socket) == before + 4


def test_only_a_digest_of_the_photo_is_kept(daemon: Daemon, redis: Redis, photo: Path) -> None:
    data = photo.read_bytes()
    with remembering(daemon.socket, redis):
        predict(data, explain="values")
    kept = redis.contents()
    assert len(kept) == 1
    (key, value), *_ = kept.items()
    assert len(key) < 100
    # No run of 16 bytes of the photo, wherever it starts.
    assert not any(data[start : start + 16] in value for start in range(len(data) - 16))
    assert caching.picture_digest(data).encode() not in key + value


def test_kept_answers_end(daemon: Daemon, redis: Redis, photo: Path) -> None:
    import redis as library

    with remembering(daemon.socket, redis, CACHE_TIMEOUT=100):
        predict(photo)
    with library.Redis.from_url(redis.location) as client:
        assert [0 < client.ttl(key) <= 100 for key in client.scan_iter()] == [True]


def test_missing_explanation_is_not_kept(
    start_daemon: StartDaemon, redis: Redis, photo: Path
) -> None:
    """It is missing because of how the daemon is set up today."""
    daemon = start_daemon("demo", "--grad-cam", "false")
    with remembering(daemon.socket, redis):
        assert predict(photo, explain="values").explanation is not None
    assert redis.contents() == {}


@both_ways
def test_redis_that_dies_in_the_middle_breaks_no_prediction(
    ask: Ask,
    daemon: Daemon,
    redis: Redis,
    photo: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with remembering(daemon.socket, redis), caplog.at_level(logging.WARNING, "dermald"):
        known = ask(photo)
        redis.stop()
        for _ in range(5):
            assert ask(photo).labels == known.labels
        assert caplog.text.count("cache 'default' fails") == 1
        redis.start()
        monkeypatch.setattr(caching, "_LEFT_ALONE_SECONDS", 0.0)
        ask(photo)
        before = predictions_of(daemon.socket)
        assert ask(photo).labels == known.labels
        assert predictions_of(daemon.socket) == before
    assert caplog.text.count("cache 'default' fails") == 1


@both_ways
def test_redis_that_hangs_costs_one_attempt(
    ask: Ask, daemon: Daemon, redis: Redis, photo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with remembering(daemon.socket, redis), caplog.at_level(logging.WARNING, "dermald"):
        known = ask(photo)
        redis.freeze()
        began = time.monotonic()
        for _ in range(5):
            assert ask(photo).labels == known.labels
        # Its socket_timeout is 0.3 s, for the reading and, before it was known, for the writing.
        assert time.monotonic() - began < 2
    assert caplog.text.count("cache 'default' fails") == 1


def test_trouble_is_told_again_after_a_minute(
    redis: Redis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter((1000.0, 1001.0, 1059.9, 1060.0, 1061.0))
    monkeypatch.setattr("dermald.django.caching.time.monotonic", lambda: next(clock))
    trouble = caching._Trouble()
    with caplog.at_level(logging.WARNING, "dermald"):
        for _ in range(5):
            trouble.happened("default", OSError("gone"))
    assert caplog.text.count("cache 'default' fails (OSError: gone)") == 2


@pytest.mark.parametrize("value", [b"", b"\x01\0\0\0", "text", 7, None])
def test_foreign_value_counts_as_nothing(
    daemon: Daemon, redis: Redis, photo: Path, value: object
) -> None:
    with remembering(daemon.socket, redis):
        known = predict(photo)
        for key in redis.contents():
            # Django's own prefix and version go before it.
            caches["default"].set(key.decode().removeprefix(":1:"), value)
        before = predictions_of(daemon.socket)
        assert predict(photo).labels == known.labels
    assert predictions_of(daemon.socket) == before + 1


def test_cut_value_counts_as_nothing(daemon: Daemon, photo: Path) -> None:
    with dermald.Client(daemon.socket) as client:
        answer = client.predict(photo, explain="values")
    whole = caching.encoded(answer)
    assert caching.decoded(whole) is not None
    assert all(caching.decoded(whole[:length]) is None for length in range(0, len(whole), 7))


def test_drop_in_remembers_too(daemon: Daemon, redis: Redis, photo: Path) -> None:
    before = predictions_of(daemon.socket)
    with remembering(daemon.socket, redis):
        first = predict_skin_simple(photo.read_bytes())
        assert predict_skin_simple(photo.read_bytes()) == first
    assert predictions_of(daemon.socket) == before + 1


@both_ways
def test_missing_daemon_is_told_with_a_cache_as_without(
    ask: Ask, folder: Path, redis: Redis, photo: Path
) -> None:
    with remembering(folder / "nobody.sock", redis, RETRIES=0):
        with pytest.raises(dermald.Unreachable):
            ask(photo)


@both_ways
def test_photo_beyond_the_limit_is_not_even_sent(ask: Ask, folder: Path) -> None:
    entry = {"SOCKET": folder / "nobody.sock", "MAX_BYTES": 10}
    with override_settings(DERMALD={"default": entry}):
        with pytest.raises(dermald.PictureError) as caught:
            ask(b"x" * 11)
    assert caught.value.code == "picture_too_large"


def test_question_about_the_daemon_does_not_wait_behind_predictions(
    start_daemon: StartDaemon, photo: Path
) -> None:
    def wait_for_nothing() -> None:
        with suppress(dermald.DeadlineExceeded):
            get_client().predict(photo, timeout=1.5)

    daemon = start_daemon("slow")
    with override_settings(DERMALD={"default": {"SOCKET": daemon.socket, "POOL_SIZE": 1}}):
        thread = Thread(target=wait_for_nothing)
        thread.start()
        while not get_probe().status()["queue"]["running"]:  # type: ignore[index]
            time.sleep(0.005)
        assert get_probe().health(timeout=1).state in ("ready", "starting")
        thread.join()


def test_async_clients_of_ended_loops_are_left(daemon: Daemon, photo: Path) -> None:
    with override_settings(DERMALD={"default": {"SOCKET": daemon.socket}}):
        for _ in range(3):
            asyncio.run(apredict(photo))
        assert len(clients._async_clients) == 1
