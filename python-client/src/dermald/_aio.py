"""The client for asyncio: the same calls as coroutines. Loaded at the first use of `AsyncClient`.

Connections are plain non-blocking sockets without a transport, so that an idle one is bound to
nothing. A call that is cancelled or late closes its connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, TypeVar

from . import _ask
from ._client import (
    DEFAULT_POOL_SIZE,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    check_counts,
    socket_path,
)
from ._deadline import Deadline, Retries
from ._dialogue import Dialogue
from ._errors import DermaldError, Unreachable, from_reply
from ._results import Health, Prediction
from ._socket import RECEIVE_BYTES, check_peer, new_socket, uids_of, unreachable
from ._wire import replies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._client import Explain, Priority
    from ._dialogue import MakeRequest
    from ._picture import Image
    from ._wire.values import Parts

T = TypeVar("T")
# How long to wait before a full backlog is tried again: a Unix socket cannot be waited for.
_BACKLOG_PAUSE = 0.01


class AsyncConnection:
    """Used by one task at a time."""

    __slots__ = ("_dialogue", "_socket")

    def __init__(self, path: str) -> None:
        self._socket = new_socket()
        self._socket.setblocking(False)
        self._dialogue = Dialogue(path)

    async def open(self, daemon_uids: frozenset[int]) -> None:
        """Connects, checks the daemon's user and says hello."""
        try:
            await self._connect()
            check_peer(self._socket, self._dialogue.path, daemon_uids)
            await self._send(self._dialogue.hello())
            while not self._dialogue.welcomed():
                await self._receive()
        except BaseException:
            self.close()
            raise

    async def call(self, make: MakeRequest) -> replies.Answer:
        """Sends one request and waits for its reply."""
        parts = self._dialogue.ask(make)
        try:
            await self._send(parts)
            while (reply := self._dialogue.answer()) is None:
                await self._receive()
        except BaseException:
            self.close()
            raise
        if not self._dialogue.reusable():
            self.close()
        if isinstance(reply, replies.Error):
            if reply.id is None:
                self.close()
            raise from_reply(reply)
        return reply

    def usable(self) -> bool:
        """Whether another request may be sent: nobody closed, and nothing unexpected arrived."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        self._socket.close()

    async def _connect(self) -> None:
        while True:
            try:
                self._socket.connect(self._dialogue.path)
            except BlockingIOError:
                await asyncio.sleep(_BACKLOG_PAUSE)
            except OSError as error:
                raise unreachable(self._dialogue.path, error) from error
            else:
                return

    async def _send(self, parts: Parts) -> None:
        loop = asyncio.get_running_loop()
        try:
            for part in parts:
                await loop.sock_sendall(self._socket, part)
        except (BrokenPipeError, ConnectionResetError) as error:
            # As in the blocking connection: the daemon may have said why it closed.
            try:
                await self._receive()
            except Unreachable as lost:
                raise lost from error

    async def _receive(self) -> None:
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, RECEIVE_BYTES)
        except OSError as error:
            raise self._dialogue.lost() from error
        self._dialogue.received(data)


class _Shelf:
    """The connections of one event loop in one process."""

    __slots__ = ("idle", "loop", "pid", "room")

    def __init__(self, size: int) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.get_running_loop()
        self.room = asyncio.Semaphore(size)
        self.idle: list[AsyncConnection] = []

    def own(self) -> bool:
        return self.pid == os.getpid() and self.loop is asyncio.get_running_loop()

    def close(self) -> None:
        for connection in self.idle:
            connection.close()
        self.idle.clear()


class AsyncClient:
    """Asks a dermald daemon on this host, from asyncio.

    Takes the arguments of `Client`, and answers and raises like it. Belongs to one event loop at
    a time; under another loop it starts with new connections. A path or a file is read on the
    loop's thread: pass bytes where that would take long.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        pool_size: int = DEFAULT_POOL_SIZE,
        retries: int = DEFAULT_RETRIES,
        daemon_users: Iterable[str | int] = (),
    ) -> None:
        check_counts(pool_size, retries)
        self._path = socket_path(socket)
        self._timeout = Deadline(timeout).timeout
        self._pool_size = pool_size
        self._retries = retries
        self._daemon_uids = uids_of(daemon_users)
        self._shelf: _Shelf | None = None
        self._closed = False

    async def predict(
        self,
        image: Image,
        *,
        top_k: int = 0,
        target: int | None = None,
        explain: Explain = None,
        language: str | None = None,
        priority: Priority = "interactive",
        timeout: float | None = None,
        traceparent: str | None = None,
    ) -> Prediction:
        """Classifies a picture, and explains the answer if asked to; see `Client.predict`."""
        options = _ask.PredictOptions(top_k, target, explain, language, priority, traceparent)
        deadline = self._deadline(timeout)
        make = _ask.make_predict(image, options, deadline)
        return await self._call(make, _ask.read_prediction, deadline)

    async def health(self, *, timeout: float | None = None) -> Health:
        """Whether the daemon can predict. Answered at once, however long its queue is."""
        return await self._call(_ask.make_health, _ask.read_health, self._deadline(timeout))

    async def status(self, *, timeout: float | None = None) -> dict[str, object]:
        """What the daemon says about itself; keys are only ever added."""
        return await self._call(_ask.make_status, _ask.read_status, self._deadline(timeout))

    async def metrics(self, *, timeout: float | None = None) -> str:
        """The daemon's counters as OpenMetrics text."""
        return await self._call(_ask.make_metrics, _ask.read_metrics, self._deadline(timeout))

    async def renew(self, *, timeout: float | None = None) -> float:
        """Has the daemon replace itself by a fresh process image; no request of anybody is lost.

        For root and the user that the daemon runs as; others get a `RequestError` (`not_allowed`).
        Returns the seconds for which the daemon read nothing from its clients.
        """
        return await self._call(_ask.make_renew, _ask.read_renewed, self._deadline(timeout))

    async def close(self) -> None:
        """Closes what is idle, and what is in use as soon as it is free."""
        self.abandon()

    def abandon(self) -> None:
        """`close` for whoever has no event loop any more."""
        self._closed = True
        if self._shelf is not None:
            self._shelf.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)

    async def _call(
        self, make: MakeRequest, read: Callable[[replies.Answer], T], deadline: Deadline
    ) -> T:
        retries = Retries(self._retries, deadline)
        while True:
            try:
                async with asyncio.timeout(deadline.remaining()):
                    return read(await self._attempt(make))
            except TimeoutError as error:
                raise deadline.exceeded() from error
            except DermaldError as error:
                pause = retries.pause(error)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _attempt(self, make: MakeRequest) -> replies.Answer:
        shelf = self._own_shelf()
        async with shelf.room:
            connection = await self._take(shelf)
            try:
                return await connection.call(make)
            finally:
                if self._closed or shelf is not self._shelf:
                    connection.close()
                elif not connection.closed:
                    shelf.idle.append(connection)

    async def _take(self, shelf: _Shelf) -> AsyncConnection:
        while shelf.idle:
            connection = shelf.idle.pop()
            if connection.usable():
                return connection
            connection.close()
        connection = AsyncConnection(self._path)
        await connection.open(self._daemon_uids)
        return connection

    def _own_shelf(self) -> _Shelf:
        if self._closed:
            raise RuntimeError("this client is closed")
        if self._shelf is None or not self._shelf.own():
            if self._shelf is not None:
                self._shelf.close()
            self._shelf = _Shelf(self._pool_size)
        return self._shelf
