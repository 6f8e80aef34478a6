"""The asynchronous client: against the real daemon, and against one with a script."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import dermald
from dermald._wire import replies
from fake import Peer, error, fake_daemon, prediction, serve_predictions
from photos import variants
from processes import Daemon


def test_many_at_once_get_their_own_answers(daemon: Daemon, photo: Path) -> None:
    pictures = variants(photo, 6)
    with dermald.Client(daemon.socket) as client:
        expected = [client.predict(picture).labels for picture in pictures] * 5

    async def ask() -> list[dermald.Prediction]:
        async with dermald.AsyncClient(daemon.socket, pool_size=4) as client:
            return await asyncio.gather(*(client.predict(picture) for picture in pictures * 5))

    assert [answer.labels for answer in asyncio.run(ask())] == expected


def test_everything_that_the_blocking_client_does(daemon: Daemon, photo: Path) -> None:
    async def ask() -> None:
        async with dermald.AsyncClient(daemon.socket) as client:
            answer = await client.predict(photo, explain="overlay", language="vi", top_k=1)
            assert len(answer.labels) == 1
            assert answer.overlay is not None
            assert (await client.health()).ready
            assert await client.status()
            assert "# EOF" in await client.metrics()
            assert await client.renew() > 0
            with pytest.raises(dermald.PictureError):
                await client.predict(b"This is a text. " * 50)

    asyncio.run(ask())


def test_client_serves_one_loop_after_the_other(daemon: Daemon, photo: Path) -> None:
    client = dermald.AsyncClient(daemon.socket)

    async def ask() -> dermald.Prediction:
        return await client.predict(photo)

    assert asyncio.run(ask()).labels == asyncio.run(ask()).labels
    asyncio.run(client.close())


def test_late_answer_is_never_given_to_the_next_request(folder: Path) -> None:
    def late(peer: Peer) -> None:
        peer.welcome()
        peer.read_predict()
        peer.wait_until_left()

    async def ask() -> str:
        async with dermald.AsyncClient(folder / "fake.sock") as client:
            with pytest.raises(dermald.DeadlineExceeded):
                await client.predict(b"x", timeout=0.2)
            return (await client.predict(b"mine")).labels[0].name

    with fake_daemon(folder / "fake.sock", late, serve_predictions):
        assert asyncio.run(ask()) == "mine"


def test_cancelled_call_closes_its_connection(folder: Path) -> None:
    asked: list[bool] = []

    def cancelled(peer: Peer) -> None:
        peer.welcome()
        peer.read_predict()
        asked.append(True)
        peer.wait_until_left()

    async def ask() -> str:
        async with dermald.AsyncClient(folder / "fake.sock") as client:
            task = asyncio.create_task(client.predict(b"x"))
            while not asked:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return (await client.predict(b"mine")).labels[0].name

    with fake_daemon(folder / "fake.sock", cancelled, serve_predictions):
        assert asyncio.run(ask()) == "mine"


def test_busy_and_going_away_are_tried_again(folder: Path) -> None:
    def busy_then_leave(peer: Peer) -> None:
        peer.welcome()
        peer.send(error(peer.read_predict().id, "busy", retryable=True, retry_after_ms=10))
        peer.read_predict()
        peer.send(replies.GoingAway("stopping", "SIGTERM was received."))

    async def ask() -> str:
        async with dermald.AsyncClient(folder / "fake.sock") as client:
            return (await client.predict(b"again")).labels[0].name

    with fake_daemon(folder / "fake.sock", busy_then_leave, serve_predictions):
        assert asyncio.run(ask()) == "again"


def test_error_in_the_middle_of_our_sending_is_read(folder: Path) -> None:
    def step(peer: Peer) -> None:
        peer.welcome(replies.Limits(2**26, 16, 2**26, 8, 60_000))
        peer.socket.recv(100)
        peer.send(error(None, "stalled", "caller"))

    async def ask() -> None:
        async with dermald.AsyncClient(folder / "fake.sock", retries=0) as client:
            await client.predict(bytes(2**24))

    with fake_daemon(folder / "fake.sock", step):
        with pytest.raises(dermald.RequestError) as caught:
            asyncio.run(ask())
    assert caught.value.code == "stalled"


def test_pool_is_bounded(folder: Path) -> None:
    def in_order(peer: Peer) -> None:
        peer.welcome()
        for _ in range(3):
            request = peer.read_predict()
            peer.send(prediction(request.id, bytes(request.picture).decode()))

    async def ask() -> list[str]:
        async with dermald.AsyncClient(folder / "fake.sock", pool_size=1) as client:
            answers = await asyncio.gather(*(client.predict(name) for name in (b"a", b"b", b"c")))
            return [answer.labels[0].name for answer in answers]

    with fake_daemon(folder / "fake.sock", in_order):
        assert asyncio.run(ask()) == ["a", "b", "c"]


def test_nobody_listening_is_unreachable(folder: Path) -> None:
    with pytest.raises(dermald.Unreachable, match="dermald serve"):
        asyncio.run(dermald.AsyncClient(folder / "fake.sock", retries=0).health())
