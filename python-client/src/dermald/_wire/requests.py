"""What a client asks: the five requests of docs/protocol.md, to and from bytes.

The variant number of a request is its place in `REQUESTS`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .._results import COLOUR_MAPS, FORMATS, RenderOverlay
from .values import LONGEST_FRAME_BYTES, Extensions, Parts, Reader, WireError, Writer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    Explain: TypeAlias = Literal["none", "values"] | RenderOverlay

PRIORITIES = ("interactive", "batch")
_EXPLAIN = ("none", "values", "overlay")


@dataclass(slots=True)
class Hello:
    """The first frame of a connection."""

    oldest: int
    newest: int
    client: str
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u16(self.oldest)
        out.u16(self.newest)
        out.string(self.client)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Hello:
        return cls(data.u16(), data.u16(), data.string(), data.extensions())


@dataclass(slots=True)
class Predict:
    """One picture to classify and, if asked, to explain."""

    id: int
    picture: bytes | memoryview
    top_k: int = 0
    target: int | None = None
    explain: Explain = "none"
    deadline_ms: int = 0
    priority: str = "interactive"
    language: str | None = None
    traceparent: str | None = None
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u64(self.id)
        out.blob(self.picture)
        out.u32(self.top_k)
        out.option(self.target, out.u32)
        _write_explain(out, self.explain)
        out.u32(self.deadline_ms)
        out.choice(self.priority, PRIORITIES)
        out.option(self.language, out.string)
        out.option(self.traceparent, out.string)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Predict:
        return cls(
            id=data.u64(),
            picture=data.blob(),
            top_k=data.u32(),
            target=data.option(data.u32),
            explain=_read_explain(data),
            deadline_ms=data.u32(),
            priority=data.choice(PRIORITIES),
            language=data.option(data.string),
            traceparent=data.option(data.string),
            extensions=data.extensions(),
        )


@dataclass(slots=True)
class _Question:
    """A request without fields of its own."""

    id: int
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u64(self.id)
        out.extensions(self.extensions)


class Health(_Question):
    """Whether the daemon can predict."""

    __slots__ = ()

    @classmethod
    def read(cls, data: Reader) -> Health:
        return cls(data.u64(), data.extensions())


class Status(_Question):
    """What the daemon knows about itself, for people."""

    __slots__ = ()

    @classmethod
    def read(cls, data: Reader) -> Status:
        return cls(data.u64(), data.extensions())


class Metrics(_Question):
    """What the daemon counts, for machines."""

    __slots__ = ()

    @classmethod
    def read(cls, data: Reader) -> Metrics:
        return cls(data.u64(), data.extensions())


class Renew(_Question):
    """The daemon is to replace itself by a fresh image; for its own user and root."""

    __slots__ = ()

    @classmethod
    def read(cls, data: Reader) -> Renew:
        return cls(data.u64(), data.extensions())


Request = Hello | Predict | Health | Status | Metrics | Renew
REQUESTS: tuple[type[Request], ...] = (Hello, Predict, Health, Status, Metrics, Renew)


def encode_request(request: Request, limit_bytes: int = LONGEST_FRAME_BYTES) -> Parts:
    """The frame of a request, in parts that `sendmsg` takes; a large picture is not copied.

    Raises `WireError` when it is longer than `limit_bytes`.
    """
    out = Writer()
    out.u32(REQUESTS.index(type(request)))
    request.write(out)
    return out.frame(limit_bytes)


def decode_request(message: bytes) -> Request:
    """A request from the bytes of its frame, without the length."""
    data = Reader(message)
    number = data.u32()
    if number >= len(REQUESTS):
        raise WireError("unknown_message", f"there is no request {number}")
    request = REQUESTS[number].read(data)
    data.end()
    return request


def _write_explain(out: Writer, explain: Explain) -> None:
    if not isinstance(explain, RenderOverlay):
        out.choice(explain, _EXPLAIN)
        return
    out.choice("overlay", _EXPLAIN)
    out.choice(explain.format, FORMATS)
    out.u32(explain.longest_side)
    out.choice(explain.colour_map, COLOUR_MAPS)
    out.f32(explain.alpha)


def _read_explain(data: Reader) -> Explain:
    kind = data.choice(_EXPLAIN)
    if kind == "none":
        return "none"
    if kind == "values":
        return "values"
    form, side = data.choice(FORMATS), data.u32()
    colour_map, alpha = data.choice(COLOUR_MAPS), data.f32()
    try:
        return RenderOverlay(form, side, colour_map, alpha)
    except ValueError as error:
        raise WireError("invalid_request", str(error)) from error
