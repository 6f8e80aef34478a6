"""What the daemon answers: the seven replies of docs/protocol.md, to and from bytes.

The variant number of a reply is its place in `REPLIES`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .._results import FORMATS, Heatmap, Label, Model, Overlay, Timings
from .values import F32, LONGEST_FRAME_BYTES, U32, U64, Extensions, Parts, Reader, WireError, Writer

FAULTS = ("caller", "daemon", "operator")
# index, two empty strings, probability
_SMALLEST_LABEL = 4 + 8 + 8 + 4
_TIMINGS = struct.Struct("<5I")


@dataclass(frozen=True, slots=True)
class Limits:
    """What the daemon accepts from one client and from all."""

    frame_bytes: int
    queue_requests: int
    queue_bytes: int
    requests_per_connection: int
    deadline_ms: int


@dataclass(slots=True)
class Welcome:
    """The answer to Hello."""

    version: int
    daemon: str
    limits: Limits
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u16(self.version)
        out.string(self.daemon)
        out.u32(self.limits.frame_bytes)
        out.u32(self.limits.queue_requests)
        out.u64(self.limits.queue_bytes)
        out.u32(self.limits.requests_per_connection)
        out.u32(self.limits.deadline_ms)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Welcome:
        version, daemon = data.u16(), data.string()
        limits = Limits(data.u32(), data.u32(), data.u64(), data.u32(), data.u32())
        return cls(version, daemon, limits, data.extensions())


@dataclass(slots=True)
class Prediction:
    """The answer to Predict."""

    id: int
    model: Model
    labels: tuple[Label, ...]
    explained: int | None
    heatmap: Heatmap | None
    overlay: Overlay | None
    timings: Timings
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u64(self.id)
        for text in (self.model.name, self.model.version, self.model.digest):
            out.string(text)
        out.u64(len(self.labels))
        for label in self.labels:
            _write_label(out, label)
        out.option(self.explained, out.u32)
        out.option(self.heatmap, lambda heatmap: _write_heatmap(out, heatmap))
        out.option(self.overlay, lambda overlay: _write_overlay(out, overlay))
        _write_timings(out, self.timings)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Prediction:
        # A list is not built by a comprehension, nor an option by a call: each is one more
        # function to enter with cold caches.
        numbers, string, boolean = data.numbers, data.string, data.boolean
        (request_id,) = numbers(U64)
        model = Model(string(), string(), string())
        labels = []
        for _ in range(data.count(_SMALLEST_LABEL)):
            labels.append(Label(numbers(U32)[0], string(), string(), numbers(F32)[0]))
        return cls(
            request_id,
            model,
            tuple(labels),
            numbers(U32)[0] if boolean() else None,
            _read_heatmap(data) if boolean() else None,
            _read_overlay(data) if boolean() else None,
            Timings(*numbers(_TIMINGS)),
            data.extensions(),
        )


@dataclass(slots=True)
class Error:
    """A request, or with no `id` the connection, that the daemon refuses or gives up."""

    id: int | None
    code: str
    fault: str
    retryable: bool
    retry_after_ms: int | None
    message: str
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.option(self.id, out.u64)
        out.string(self.code)
        out.choice(self.fault, FAULTS)
        out.boolean(self.retryable)
        out.option(self.retry_after_ms, out.u32)
        out.string(self.message)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Error:
        return cls(
            id=data.option(data.u64),
            code=data.string(),
            fault=data.choice(FAULTS),
            retryable=data.boolean(),
            retry_after_ms=data.option(data.u32),
            message=data.string(),
            extensions=data.extensions(),
        )


@dataclass(slots=True)
class Health:
    """Whether the daemon can predict, and why not."""

    id: int
    state: str
    message: str
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u64(self.id)
        out.string(self.state)
        out.string(self.message)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Health:
        return cls(data.u64(), data.string(), data.string(), data.extensions())


@dataclass(slots=True)
class Status:
    """A JSON object about the daemon."""

    id: int
    json: str
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u64(self.id)
        out.string(self.json)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Status:
        return cls(data.u64(), data.string(), data.extensions())


@dataclass(slots=True)
class Metrics:
    """OpenMetrics text."""

    id: int
    text: str
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u64(self.id)
        out.string(self.text)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Metrics:
        return cls(data.u64(), data.string(), data.extensions())


@dataclass(slots=True)
class GoingAway:
    """The daemon stops; no request is accepted on this connection any more."""

    reason: str
    message: str
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.string(self.reason)
        out.string(self.message)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> GoingAway:
        return cls(data.string(), data.string(), data.extensions())


@dataclass(slots=True)
class Renewed:
    """A fresh image answers; for `pause_us` nothing was read from clients."""

    id: int
    pause_us: int
    extensions: Extensions = ()

    def write(self, out: Writer) -> None:
        out.u64(self.id)
        out.u32(self.pause_us)
        out.extensions(self.extensions)

    @classmethod
    def read(cls, data: Reader) -> Renewed:
        return cls(data.u64(), data.u32(), data.extensions())


Answer = Prediction | Health | Status | Metrics | Renewed
Reply = Welcome | Error | GoingAway | Answer
REPLIES: tuple[type[Reply], ...] = (
    Welcome,
    Prediction,
    Error,
    Health,
    Status,
    Metrics,
    GoingAway,
    Renewed,
)


def encode_reply(reply: Reply) -> Parts:
    """The frame of a reply, in parts that `sendmsg` takes."""
    out = Writer()
    out.u32(REPLIES.index(type(reply)))
    reply.write(out)
    return out.frame(LONGEST_FRAME_BYTES)


def decode_reply(message: bytes) -> Reply:
    """A reply from the bytes of its frame, without the length."""
    data = Reader(message)
    number = data.u32()
    if number >= len(REPLIES):
        raise WireError("unknown_message", f"there is no reply {number}")
    reply = REPLIES[number].read(data)
    data.end()
    return reply


def _write_label(out: Writer, label: Label) -> None:
    out.u32(label.index)
    out.string(label.name)
    out.string(label.title)
    out.f32(label.probability)


def _write_heatmap(out: Writer, heatmap: Heatmap) -> None:
    out.u32(heatmap.height)
    out.u32(heatmap.width)
    out.f32s(heatmap.values)


def _read_heatmap(data: Reader) -> Heatmap:
    return Heatmap(data.u32(), data.u32(), data.f32s())


def _write_overlay(out: Writer, overlay: Overlay) -> None:
    out.choice(overlay.format, FORMATS)
    out.u32(overlay.width)
    out.u32(overlay.height)
    out.blob(overlay.data)


def _read_overlay(data: Reader) -> Overlay:
    return Overlay(data.choice(FORMATS), data.u32(), data.u32(), data.blob())


def _write_timings(out: Writer, timings: Timings) -> None:
    for duration in (
        timings.queue_us,
        timings.load_us,
        timings.decode_us,
        timings.inference_us,
        timings.render_us,
    ):
        out.u32(duration)
