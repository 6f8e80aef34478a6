"""The golden files of tests/vectors, and messages as their JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermald._results import Heatmap, Label, Model, Overlay, RenderOverlay, Timings
from dermald._wire import replies, requests
from dermald._wire.replies import Reply, decode_reply, encode_reply
from dermald._wire.requests import Request, decode_request, encode_request

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "vectors"

_REQUESTS: dict[str, Callable[..., Request]] = {
    "hello": requests.Hello,
    "health": requests.Health,
    "status": requests.Status,
    "metrics": requests.Metrics,
    "renew": requests.Renew,
}
_REPLIES: dict[str, Callable[..., Reply]] = {
    "error": replies.Error,
    "health": replies.Health,
    "status": replies.Status,
    "metrics": replies.Metrics,
    "going_away": replies.GoingAway,
    "renewed": replies.Renewed,
}


@dataclass(frozen=True)
class Vector:
    name: str
    direction: str
    data: bytes
    message: dict[str, Any] | None
    code: str | None

    def decode(self, message: bytes) -> Request | Reply:
        return decode_request(message) if self.direction == "request" else decode_reply(message)


def load() -> list[Vector]:
    index = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    return [
        Vector(
            entry["name"],
            entry["direction"],
            (FOLDER / f"{entry['name']}.bin").read_bytes(),
            entry.get("message"),
            entry.get("code"),
        )
        for entry in index
    ]


def encode(message: Request | Reply) -> bytes:
    if isinstance(message, requests.REQUESTS):
        return b"".join(encode_request(message))
    assert isinstance(message, replies.REPLIES)
    return b"".join(encode_reply(message))


def message_from_json(direction: str, said: dict[str, Any]) -> Request | Reply:
    """The message that a vector's JSON describes."""
    fields = {key: value for key, value in said.items() if key != "type"}
    fields["extensions"] = tuple((key, bytes.fromhex(value)) for key, value in said["extensions"])
    if direction == "request":
        if said["type"] == "predict":
            return _predict(fields)
        return _REQUESTS[said["type"]](**fields)
    if said["type"] == "welcome":
        return replies.Welcome(**{**fields, "limits": replies.Limits(**said["limits"])})
    if said["type"] == "prediction":
        return _prediction(fields)
    return _REPLIES[said["type"]](**fields)


def _predict(fields: dict[str, Any]) -> requests.Predict:
    said = dict(fields["explain"])
    kind = said.pop("kind")
    explain = RenderOverlay(**said) if kind == "overlay" else kind
    picture = bytes.fromhex(fields["picture"])
    return requests.Predict(**{**fields, "picture": picture, "explain": explain})


def _prediction(fields: dict[str, Any]) -> replies.Prediction:
    heatmap, overlay = fields["heatmap"], fields["overlay"]
    return replies.Prediction(
        **{
            **fields,
            "model": Model(**fields["model"]),
            "labels": tuple(Label(**label) for label in fields["labels"]),
            "heatmap": heatmap
            and Heatmap(heatmap["height"], heatmap["width"], tuple(heatmap["values"])),
            "overlay": overlay
            and Overlay(
                overlay["format"],
                overlay["width"],
                overlay["height"],
                bytes.fromhex(overlay["picture"]),
            ),
            "timings": Timings(**fields["timings"]),
        }
    )
