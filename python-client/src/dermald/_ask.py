"""From the arguments of a call to a request, and from the reply to a result.

Shared by the blocking and the asynchronous client; does no I/O beyond reading the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from ._errors import ProtocolError
from ._picture import Picture
from ._results import U32_MAX, Health, Prediction, RenderOverlay
from ._wire import replies, requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ._deadline import Deadline
    from ._dialogue import MakeRequest
    from ._picture import Image
    from ._wire.values import Extensions

# What the model draws when a caller asks for an overlay and says nothing more.
PLAIN_OVERLAY = RenderOverlay()


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """The options of `predict`, checked. Raises `ValueError` for one that is out of range."""

    top_k: int
    target: int | None
    explain: str | RenderOverlay | None
    language: str | None
    priority: str
    traceparent: str | None

    def __post_init__(self) -> None:
        _check_u32("top_k", self.top_k)
        if self.target is not None:
            _check_u32("target", self.target)
        if self.priority not in requests.PRIORITIES:
            raise ValueError(f"priority is {self.priority!r}; it is 'interactive' or 'batch'")
        self.wire_explain()

    def wire_explain(self) -> requests.Explain:
        """`explain` as the wire has it."""
        if isinstance(self.explain, RenderOverlay):
            return self.explain
        if self.explain is None:
            return "none"
        if self.explain == "values":
            return "values"
        if self.explain == "overlay":
            return PLAIN_OVERLAY
        raise ValueError(
            f"explain is {self.explain!r}; it is None, 'values', 'overlay' or a RenderOverlay"
        )

    def extensions(self) -> Extensions:
        wants_photo = isinstance(self.explain, RenderOverlay) and self.explain.photo
        return (("photo", b""),) if wants_photo else ()


def make_predict(image: Image, options: PredictOptions, deadline: Deadline) -> MakeRequest:
    """A request that can be made again for each attempt; the picture is read at the first."""
    picture = Picture(image)

    def make(request_id: int, frame_bytes: int) -> requests.Request:
        return requests.Predict(
            id=request_id,
            picture=picture.data(frame_bytes),
            top_k=options.top_k,
            target=options.target,
            explain=options.wire_explain(),
            deadline_ms=deadline.remaining_ms(),
            priority=options.priority,
            language=options.language,
            traceparent=options.traceparent,
            extensions=options.extensions(),
        )

    return make


def make_health(request_id: int, _frame_bytes: int) -> requests.Request:
    return requests.Health(request_id)


def make_status(request_id: int, _frame_bytes: int) -> requests.Request:
    return requests.Status(request_id)


def make_metrics(request_id: int, _frame_bytes: int) -> requests.Request:
    return requests.Metrics(request_id)


def make_renew(request_id: int, _frame_bytes: int) -> requests.Request:
    return requests.Renew(request_id)


def read_prediction(answer: replies.Answer) -> Prediction:
    if not isinstance(answer, replies.Prediction):
        raise _unexpected("a prediction", answer)
    said = dict(answer.extensions)
    return Prediction(
        labels=answer.labels,
        model=answer.model,
        explained=answer.explained,
        heatmap=answer.heatmap,
        overlay=answer.overlay,
        timings=answer.timings,
        notice=_text(said.get("notice")),
        explanation=_text(said.get("explanation")),
        photo=said.get("photo"),
    )


def read_health(answer: replies.Answer) -> Health:
    if not isinstance(answer, replies.Health):
        raise _unexpected("its health", answer)
    said = dict(answer.extensions)
    return Health(
        answer.state, answer.message, _text(said.get("model")), _text(said.get("version"))
    )


def read_status(answer: replies.Answer) -> dict[str, object]:
    import json

    if not isinstance(answer, replies.Status):
        raise _unexpected("its status", answer)
    try:
        status = json.loads(answer.json)
    except ValueError as error:
        raise ProtocolError("The daemon's status is no JSON.") from error
    if not isinstance(status, dict):
        raise ProtocolError("The daemon's status is no JSON object.")
    return status


def read_metrics(answer: replies.Answer) -> str:
    if not isinstance(answer, replies.Metrics):
        raise _unexpected("its metrics", answer)
    return answer.text


def read_renewed(answer: replies.Answer) -> float:
    if not isinstance(answer, replies.Renewed):
        raise _unexpected("a renewal", answer)
    return answer.pause_us / 1e6


def _check_u32(name: str, value: int) -> None:
    if not 0 <= value <= U32_MAX:
        raise ValueError(f"{name} is {value}; it goes from 0 to {U32_MAX}")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _unexpected(asked: str, answer: replies.Answer) -> ProtocolError:
    return ProtocolError(f"The daemon was asked for {asked} and sent {type(answer).__name__}.")
