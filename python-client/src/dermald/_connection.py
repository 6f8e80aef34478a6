"""One blocking connection: opens it, checks who listens, sends a request, reads its reply.

A connection that met a timeout, a lost peer or an exception in the middle closes itself: what is
read from it later could belong to the request before.
"""

from __future__ import annotations

import math
import select
import socket
import struct

from ._dialogue import Dialogue
from ._errors import Unreachable, from_reply
from ._socket import RECEIVE_BYTES, check_peer, new_socket, unreachable
from ._wire import replies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._deadline import Deadline
    from ._dialogue import MakeRequest
    from ._wire.values import Parts

_TIMEVAL = struct.Struct("ll")
# As plain numbers: the flags of `socket` are an enumeration, whose `|` is a chain of Python calls.
_WAITING = int(socket.MSG_NOSIGNAL)
_AT_ONCE = _WAITING | int(socket.MSG_DONTWAIT)


class Connection:
    """Used by one thread at a time, and only in the process that opened it."""

    __slots__ = ("_bounds", "_dialogue", "_poll", "_socket")

    def __init__(self, path: str) -> None:
        self._socket = new_socket()
        self._bounds: dict[int, int] = {}
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._dialogue = Dialogue(path)

    def open(self, daemon_uids: frozenset[int], deadline: Deadline) -> None:
        """Connects, checks the daemon's user and says hello. Once, before the first call.

        Raises `Unreachable`, `UntrustedDaemon`, `ProtocolError`, `DeadlineExceeded`, or what the
        daemon answers in place of a welcome.
        """
        try:
            self._connect(deadline)
            check_peer(self._socket, self._dialogue.path, daemon_uids)
            self._send(self._dialogue.hello(), deadline)
            while not self._dialogue.welcomed():
                self._receive(deadline)
        except BaseException:
            self.close()
            raise

    def call(self, make: MakeRequest, deadline: Deadline) -> replies.Answer:
        """Sends one request and waits for its reply."""
        parts = self._dialogue.ask(make)
        try:
            self._send(parts, deadline)
            while (reply := self._dialogue.answer()) is None:
                self._receive(deadline)
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
        if self.closed:
            return False
        # What can be read is an end of stream, a going-away, or the last words before a close.
        return not self._poll.poll(0)

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Closes this process's end. Never shuts down: after a fork the parent may still use it."""
        self._socket.close()

    def _connect(self, deadline: Deadline) -> None:
        # A non-blocking connect to a Unix socket fails at once when the listener's backlog is
        # full. A blocking one waits.
        self._bound(socket.SO_SNDTIMEO, deadline)
        try:
            self._socket.connect(self._dialogue.path)
        except OSError as error:
            deadline.remaining()
            raise unreachable(self._dialogue.path, error) from error

    def _bound(self, option: int, deadline: Deadline) -> None:
        """Lets the kernel end a blocking call at the deadline.

        Python's own timeouts poll before each call and switch the socket back and forth, which
        costs as much as sending the picture. The kernel counts these in ticks of 1 to 10 ms; in
        hundredths of a second, rounded up, they are mostly those of the call before.
        """
        hundredths = math.ceil(deadline.remaining() * 100)
        if self._bounds.get(option) == hundredths:
            return
        timeout = _TIMEVAL.pack(hundredths // 100, hundredths % 100 * 10_000)
        self._socket.setsockopt(socket.SOL_SOCKET, option, timeout)
        self._bounds[option] = hundredths

    def _send(self, parts: Parts, deadline: Deadline) -> None:
        rest = parts
        flags = _AT_ONCE
        try:
            while True:
                try:
                    rest = _after(rest, self._socket.sendmsg(rest, (), flags))
                except BlockingIOError as error:
                    if flags == _WAITING:
                        raise deadline.exceeded() from error
                if not rest:
                    return
                # What did not fit into the socket at once is waited for.
                self._bound(socket.SO_SNDTIMEO, deadline)
                flags = _WAITING
        except (BrokenPipeError, ConnectionResetError) as error:
            # The daemon closed while we sent. If it said why, that is what the next read finds;
            # if it did not, the next read finds the end.
            self._read_last_words(deadline, error)

    def _read_last_words(self, deadline: Deadline, cause: OSError) -> None:
        try:
            self._receive(deadline)
        except Unreachable as lost:
            raise lost from cause

    def _receive(self, deadline: Deadline) -> None:
        self._bound(socket.SO_RCVTIMEO, deadline)
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError as error:
            raise deadline.exceeded() from error
        except OSError as error:
            raise self._dialogue.lost() from error
        self._dialogue.received(data)


def _after(parts: Parts, sent: int) -> Parts:
    """What is left of `parts` when their first `sent` bytes are gone."""
    for place, part in enumerate(parts):
        if sent < len(part):
            return [memoryview(part)[sent:], *parts[place + 1 :]]
        sent -= len(part)
    return []
