"""One client, seen from a daemon: frames in, replies out. Knows nothing of what is asked."""

from __future__ import annotations

import socket

from .._wire import replies, requests
from .._wire.frames import FrameReader
from .._wire.replies import Reply, encode_reply
from .._wire.requests import Request, decode_request

FRAME_BYTES = 20 * 2**20
LIMITS = replies.Limits(FRAME_BYTES, 64, 2**25, 32, 60_000)


class Peer:
    """Raises `TimeoutError` when the client neither speaks nor leaves for `patience` seconds."""

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self.socket = sock
        self.socket.settimeout(patience)
        self._frames = FrameReader(2**30)

    def welcome(self, limits: replies.Limits = LIMITS, version: int = 1) -> bool:
        """Whether the client speaks that version; without it, nothing was said."""
        hello = self.read()
        if not isinstance(hello, requests.Hello):
            raise ValueError(f"the client began with {type(hello).__name__}")
        if not hello.oldest <= version <= hello.newest:
            return False
        self.send(replies.Welcome(version, "fake/1", limits))
        return True

    def read(self) -> Request:
        """The next request. Raises `EOFError` when the client has left."""
        while (message := self._frames.next()) is None:
            data = self.socket.recv(2**16)
            if not data:
                raise EOFError
            self._frames.feed(data)
        return decode_request(message)

    def send(self, *several: Reply) -> None:
        parts = [part for reply in several for part in encode_reply(reply)]
        self.socket.sendall(b"".join(parts))
