"""The upload page: a photo in, classes and overlay out. Nothing is stored.

Browsers get HTML; who prefers JSON (`Accept: application/json`) gets the same as JSON.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import asdict
from http import HTTPStatus

from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from .._errors import (
    Busy,
    DeadlineExceeded,
    DermaldError,
    GoingAway,
    PictureError,
    RequestError,
    Unreachable,
)
from .._results import Overlay, Prediction
from .clients import get_client
from .conf import daemon_settings

_TEMPLATE = "dermald/classify.html"
# Of the template, so that classes and notice are in the page's language.
_LANGUAGE = "en"
# What the template has a sentence for.
_PROBLEMS: tuple[tuple[type[DermaldError], str, HTTPStatus], ...] = (
    (PictureError, "picture", HTTPStatus.UNPROCESSABLE_ENTITY),
    (Busy, "busy", HTTPStatus.SERVICE_UNAVAILABLE),
    (GoingAway, "busy", HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceeded, "late", HTTPStatus.GATEWAY_TIMEOUT),
    (Unreachable, "away", HTTPStatus.SERVICE_UNAVAILABLE),
    (RequestError, "failed", HTTPStatus.BAD_GATEWAY),
    (DermaldError, "failed", HTTPStatus.BAD_GATEWAY),
)
_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def classify(request: HttpRequest) -> HttpResponse:
    """GET shows the form; POST classifies the file field `image`."""
    if request.method != "POST":
        return render(request, _TEMPLATE)
    upload = request.FILES.get("image")
    if not isinstance(upload, UploadedFile):
        return _problem(request, "missing", "No photo was chosen.", HTTPStatus.BAD_REQUEST)
    daemon = daemon_settings()
    try:
        prediction = get_client().predict(
            upload, explain=daemon.explain, top_k=daemon.top_k, language=_LANGUAGE
        )
    except DermaldError as error:
        return _refusal(request, error)
    if _wants_json(request):
        return JsonResponse(_as_json(prediction))
    return render(request, _TEMPLATE, _as_page(upload, prediction))


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _refusal(request: HttpRequest, error: DermaldError) -> HttpResponse:
    problem, status = next(
        (name, code) for kind, name, code in _PROBLEMS if isinstance(error, kind)
    )
    if error.code in ("picture_too_large", "frame_too_large"):
        problem, status = "too_large", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    response = _problem(request, problem, error.message, status, error.code)
    if error.retry_after is not None:
        response["Retry-After"] = str(max(1, round(error.retry_after)))
    return response


def _problem(
    request: HttpRequest, problem: str, message: str, status: HTTPStatus, code: str | None = None
) -> HttpResponse:
    if _wants_json(request):
        body = {"error": {"code": code or problem, "message": message}}
        return JsonResponse(body, status=status)
    return render(request, _TEMPLATE, {"problem": problem}, status=status)


def _as_json(prediction: Prediction) -> dict[str, object]:
    overlay = prediction.overlay
    return {
        "labels": [asdict(label) for label in prediction.labels],
        "model": asdict(prediction.model),
        "explained": prediction.explained,
        "heatmap": asdict(prediction.heatmap) if prediction.heatmap else None,
        "overlay": overlay and {**asdict(overlay), "data": b64encode(overlay.data).decode()},
        "timings": asdict(prediction.timings),
        "notice": prediction.notice,
        "explanation": prediction.explanation,
    }


def _as_page(upload: UploadedFile[bytes], prediction: Prediction) -> dict[str, object]:
    timings = prediction.timings
    explained = [label for label in prediction.labels if label.index == prediction.explained]
    return {
        "prediction": prediction,
        "bars": [
            {"title": label.title, "percent": f"{label.probability * 100:.1f}"}
            for label in prediction.labels
        ],
        "explained": explained[0].title if explained else None,
        "photo": _photo_url(upload),
        "overlay": _overlay_url(prediction.overlay),
        "milliseconds": {
            "queue": _milliseconds(timings.queue_us),
            "load": _milliseconds(timings.load_us),
            "decode": _milliseconds(timings.decode_us),
            "inference": _milliseconds(timings.inference_us),
            "render": _milliseconds(timings.render_us),
        },
    }


def _photo_url(upload: UploadedFile[bytes]) -> str:
    data = b"".join(upload.chunks())
    return _data_url(_media_type(data), data)


def _overlay_url(overlay: Overlay | None) -> str | None:
    return None if overlay is None else _data_url(overlay.media_type, overlay.data)


def _media_type(data: bytes) -> str:
    # From the content: what the browser said about the file is the visitor's word.
    for signature, media_type in _SIGNATURES:
        if data.startswith(signature):
            return media_type
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return "application/octet-stream"


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.1f}"
