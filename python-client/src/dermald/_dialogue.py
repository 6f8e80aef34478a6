"""One connection's conversation with the daemon: hello, then one request after the other.

Does no I/O, so that the blocking and the asynchronous connection share it. Requests are asked one
at a time; the pool opens another connection for another thread.
"""

from __future__ import annotations

from ._errors import (
    DermaldError,
    GoingAway,
    ProtocolError,
    Unreachable,
    from_reply,
    picture_too_long,
)
from ._version import VERSION
from ._wire import replies, requests
from ._wire.frames import FrameReader
from ._wire.values import WireError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from ._wire.values import Parts

    # Makes a request from its id and from the longest frame that the daemon takes.
    MakeRequest: TypeAlias = Callable[[int, int], requests.Request]

PROTOCOL_VERSION = 1
# The protocol bounds what the daemon receives, not what it sends. An overlay of a few thousand
# pixels stays below 32 MiB even as an incompressible PNG; twice that is surely not an answer.
LONGEST_REPLY_BYTES = 64 * 2**20


class Dialogue:
    """What was said on one connection, and what it means."""

    __slots__ = ("_frames", "_last_id", "_limits", "_parting", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._frames = FrameReader(LONGEST_REPLY_BYTES)
        self._last_id = 0
        self._limits: replies.Limits | None = None
        self._parting: replies.GoingAway | None = None

    def hello(self) -> Parts:
        """The first frame."""
        return requests.encode_request(
            requests.Hello(PROTOCOL_VERSION, PROTOCOL_VERSION, f"dermald-python/{VERSION}")
        )

    def ask(self, make: MakeRequest) -> Parts:
        """The frame of the next request. Raises `PictureError` when the daemon would refuse it
        for its length; the connection stays as it is then."""
        if self._limits is None:
            raise RuntimeError("a request before the welcome")
        limit = self._limits.frame_bytes
        self._last_id += 1
        try:
            return requests.encode_request(make(self._last_id, limit), limit)
        except WireError as error:
            raise picture_too_long(limit) from error

    def received(self, data: bytes) -> None:
        """Bytes from the daemon. No bytes mean that it closed: raises what that amounts to."""
        if not data:
            raise self.lost()
        self._frames.feed(data)

    def lost(self) -> DermaldError:
        """The error for a connection that ended before the awaited reply."""
        if self._parting is not None:
            return GoingAway(f"The daemon stops: {self._parting.message}")
        part = " in the middle of a reply" if self._frames.pending() else " before its reply"
        return Unreachable(f"The daemon at {self.path} closed the connection{part}.")

    def welcomed(self) -> bool:
        """Whether the daemon has accepted the hello. Raises its error when it refused."""
        reply = self._next()
        if reply is None:
            return False
        if isinstance(reply, replies.Error):
            raise from_reply(reply)
        if isinstance(reply, replies.GoingAway):
            raise GoingAway(f"The daemon stops: {reply.message}")
        if not isinstance(reply, replies.Welcome):
            raise ProtocolError(
                f"The daemon at {self.path} answered the hello with {_name(reply)}."
            )
        if reply.version != PROTOCOL_VERSION:
            raise ProtocolError(
                f"The daemon at {self.path} ({reply.daemon}) chose protocol version "
                f"{reply.version}; this client speaks {PROTOCOL_VERSION}."
            )
        self._limits = reply.limits
        return True

    def answer(self) -> replies.Answer | replies.Error | None:
        """The reply to the last request; None when more bytes are needed."""
        while (reply := self._next()) is not None:
            if isinstance(reply, replies.GoingAway):
                self._parting = reply
                continue
            if isinstance(reply, replies.Welcome):
                raise ProtocolError(f"The daemon at {self.path} sent a second welcome.")
            if isinstance(reply, replies.Error) and reply.id is None:
                return reply
            if reply.id != self._last_id:
                raise ProtocolError(
                    f"The daemon at {self.path} answered request {reply.id} where "
                    f"{self._last_id} was asked."
                )
            return reply
        return None

    def reusable(self) -> bool:
        """Whether the connection can carry another request, as far as its bytes tell."""
        return self._parting is None and not self._frames.pending()

    def _next(self) -> replies.Reply | None:
        try:
            message = self._frames.next()
            return None if message is None else replies.decode_reply(message)
        except WireError as error:
            raise ProtocolError(
                f"The daemon at {self.path} sent what is no reply: {error}."
            ) from error


def _name(reply: object) -> str:
    return type(reply).__name__
