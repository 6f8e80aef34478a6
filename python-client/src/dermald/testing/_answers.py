"""The replies of a fake daemon, made from a request and a step. Opens nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from .._png import plain_square
from .._results import Heatmap, Overlay, RenderOverlay, Timings
from .._wire import replies, requests
from .model import FakeModel
from .steps import Answer, Refusal

_HEATMAP_SIDE = 7
_COLOUR = (180, 90, 60)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client wanted to know."""

    picture: bytes
    top_k: int
    target: int | None
    explain: requests.Explain
    language: str | None
    priority: str

    @classmethod
    def in_request(cls, request: requests.Predict) -> Self:
        explain = request.explain
        if isinstance(explain, RenderOverlay):
            # 0.4 came as a float of 32 bits, and would not equal itself.
            explain = replace(explain, alpha=round(explain.alpha, 6))
        return cls(
            bytes(request.picture),
            request.top_k,
            request.target,
            explain,
            request.language,
            request.priority,
        )


def answer(model: FakeModel, request: requests.Predict, step: Answer) -> replies.Prediction:
    labels = model.ranked(step.labels or _falling(model), request.language)
    explains = request.explain != "none" and model.explains and step.explanation is None
    top = request.target if request.target is not None else labels[0].index
    said = {
        "notice": model.notice.get(request.language or "en"),
        "explanation": step.explanation if request.explain != "none" else None,
    }
    is_overlay = isinstance(request.explain, RenderOverlay)
    texts = ((key, text.encode()) for key, text in said.items() if text)
    shows_photo = explains and is_overlay and any(key == "photo" for key, _ in request.extensions)
    photo = (("photo", _overlay(model.side).data),) if shows_photo else ()
    return replies.Prediction(
        id=request.id,
        model=model.identity(),
        labels=labels[: request.top_k or None],
        explained=top if explains else None,
        heatmap=_heatmap() if explains and not is_overlay else None,
        overlay=_overlay(model.side) if explains and is_overlay else None,
        timings=Timings(1, 0, 2, 3, 4),
        extensions=(*texts, *photo),
    )


def refusal(request_id: int, step: Refusal) -> replies.Error:
    after = None if step.retry_after is None else round(step.retry_after * 1000)
    message = f"A test said {step.code}."
    return replies.Error(request_id, step.code, step.fault, step.retryable, after, message)


def too_old(version: int) -> replies.Error:
    message = f"This daemon speaks version {version} of the protocol only."
    return replies.Error(None, "unsupported_version", "caller", False, None, message)


def _falling(model: FakeModel) -> dict[str, float]:
    """Halves of what is left, in the model's order."""
    shares = [0.5**place for place in range(1, len(model.labels) + 1)]
    shares[-1] += 1 - sum(shares)
    return dict(zip(model.labels, shares, strict=True))


def _overlay(side: int) -> Overlay:
    return Overlay("png", side, side, plain_square(side, _COLOUR))


def _heatmap() -> Heatmap:
    count = _HEATMAP_SIDE * _HEATMAP_SIDE
    values = tuple(place / (count - 1) for place in range(count))
    return Heatmap(_HEATMAP_SIDE, _HEATMAP_SIDE, values)
