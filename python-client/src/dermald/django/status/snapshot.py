"""What a daemon said about itself, as values. Takes what is there: a key that is missing leaves its
part of the page away, and unknown ones are ignored (the protocol only ever adds keys)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory at one time, in bytes."""

    seconds_ago: float
    rss: int
    anonymous: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """When the daemon replaced itself, and why. pause_ms: how long nothing ran."""

    seconds_ago: float
    reason: str
    pause_ms: int | None


@dataclass(frozen=True, slots=True)
class Memory:
    rss: int
    anonymous: int
    peak: int | None
    # Past this the daemon renews itself; `measure` tells which figure is meant.
    threshold: int | None
    measure: str | None


@dataclass(frozen=True, slots=True)
class Queue:
    requests: int
    limit_requests: int
    bytes: int
    limit_bytes: int
    running: bool


@dataclass(frozen=True, slots=True)
class ModelCard:
    name: str
    version: str
    digest: str
    description: str
    origin: str
    licence: str
    precision: str
    method: str
    width: int | None
    height: int | None
    loaded: bool
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    state: str
    message: str
    version: str
    uptime_seconds: float
    connections: int
    memory: Memory
    hour: tuple[Sample, ...]
    day: tuple[Sample, ...]
    renewals: tuple[Renewal, ...]
    queue: Queue | None
    outcomes: tuple[tuple[str, int], ...]
    model: ModelCard | None


def read_snapshot(status: Json, language: str | None) -> Snapshot:
    """language: of the labels' titles."""
    memory = _part(status, "memory")
    history = _part(status, "memory_history")
    return Snapshot(
        state=str(status.get("state", "")),
        message=str(status.get("message", "")),
        version=str(_part(status, "daemon").get("version", "")),
        uptime_seconds=_number(status.get("uptime_seconds")) or 0.0,
        connections=int(_number(status.get("connections")) or 0),
        memory=Memory(
            rss=_count(memory.get("rss")),
            anonymous=_count(memory.get("anonymous")),
            peak=_count(memory.get("peak")) or None,
            threshold=_count(status.get("memory_limit")) or None,
            measure=_text_or_none(status.get("memory_measure")),
        ),
        hour=tuple(_samples(_part(history, "hour"))),
        day=tuple(_samples(_part(history, "day"))),
        renewals=tuple(_renewals(_part(status, "renewals").get("recent"))),
        queue=_queue(_part(status, "queue")),
        outcomes=tuple(
            sorted((str(code), _count(count)) for code, count in _part(status, "outcomes").items())
        ),
        model=_model(_part(status, "model"), language),
    )


def _samples(ring: Json) -> Iterator[Sample]:
    """A ring names its columns, so that it may gain some."""
    columns = ring.get("columns")
    if not isinstance(columns, list):
        return
    for row in _rows(ring.get("samples")):
        said = dict(zip(columns, row, strict=False))
        age = _number(said.get("seconds_ago"))
        if age is not None:
            yield Sample(age, _count(said.get("rss")), _count(said.get("anonymous")))


def _renewals(recent: object) -> Iterator[Renewal]:
    for said in recent if isinstance(recent, list) else ():
        age = _number(said.get("seconds_ago")) if isinstance(said, dict) else None
        if age is not None:
            pause = _number(said.get("pause_ms"))
            yield Renewal(age, str(said.get("reason", "")), None if pause is None else int(pause))


def _queue(said: Json) -> Queue | None:
    if not said:
        return None
    return Queue(
        _count(said.get("requests")),
        _count(said.get("limit_requests")),
        _count(said.get("bytes")),
        _count(said.get("limit_bytes")),
        bool(said.get("running")),
    )


def _model(said: Json, language: str | None) -> ModelCard | None:
    if not said:
        return None
    shape = _part(said, "input")
    texts = ("name", "version", "digest", "description", "origin", "licence", "precision", "method")
    return ModelCard(
        **{key: str(said.get(key) or "") for key in texts},
        width=_count(shape.get("width")) or None,
        height=_count(shape.get("height")) or None,
        loaded=bool(said.get("loaded")),
        labels=tuple(_title(label, language) for label in _rows(said.get("labels"), dict)),
    )


def _title(label: Json, language: str | None) -> str:
    titles = _part(label, "titles")
    return str(titles.get((language or "").split("-")[0]) or label.get("name", ""))


def _rows(value: object, kind: type = list) -> Sequence[Any]:
    return [row for row in value if isinstance(row, kind)] if isinstance(value, list) else []


def _part(said: Json, key: str) -> Json:
    part = said.get(key)
    return part if isinstance(part, Mapping) else {}


def _count(value: object) -> int:
    return int(_number(value) or 0)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None
