"""When a photo is not classified: what the visitor gets to read, and what the log of the team says.

Owns statuses and sentences; asks no daemon.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, RequestDataTooBig, ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render

from ..._errors import (
    Busy,
    DeadlineExceeded,
    DermaldError,
    GoingAway,
    PictureError,
    Unreachable,
)
from ..._visitors import FAILED, TOO_LARGE, problem_of

# What may stop a request on its way to an answer. All else is a bug, and Django's to tell.
REFUSALS = (DermaldError, ImproperlyConfigured, RequestDataTooBig, ValidationError)
TEMPLATE = "dermald/classify.html"

_log = logging.getLogger("dermald")
_STATUSES: tuple[tuple[type[DermaldError], HTTPStatus], ...] = (
    (PictureError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (Busy, HTTPStatus.SERVICE_UNAVAILABLE),
    (GoingAway, HTTPStatus.SERVICE_UNAVAILABLE),
    (DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
    (Unreachable, HTTPStatus.SERVICE_UNAVAILABLE),
    (DermaldError, HTTPStatus.BAD_GATEWAY),
)
_FORM_STATUSES = {
    "required": HTTPStatus.BAD_REQUEST,
    "picture_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


@dataclass(frozen=True, slots=True)
class _Refusal:
    """code: stable. sentence: for the visitor. reason: for the log, at `level`."""

    code: str
    sentence: str
    status: HTTPStatus
    reason: str
    level: int = logging.WARNING
    retry_after: float | None = None


def refusal(
    request: HttpRequest,
    error: Exception,
    template: str = TEMPLATE,
    context: Mapping[str, object] | None = None,
) -> HttpResponse:
    """The page, or the JSON, for one of `REFUSALS`; the reason goes to the log. A template of the
    site's own gets the sentence as `problem`, beside `context`."""
    said = _judged(error)
    _log.log(said.level, "no prediction: %s (%s)", said.reason, said.code)
    if wants_json(request):
        body = {"error": {"code": said.code, "message": said.sentence}}
        response: HttpResponse = JsonResponse(body, status=said.status)
    else:
        shown = {
            **(context or {}),
            "problem": said.sentence,
            "show_command": said.code == "unreachable" and sees_commands(request),
        }
        response = render(request, template, shown, status=said.status)
    if said.retry_after is not None:
        response["Retry-After"] = str(max(1, round(said.retry_after)))
    return response


def wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def sees_commands(request: HttpRequest) -> bool:
    """Whether whoever looks could start a daemon."""
    return settings.DEBUG or bool(getattr(getattr(request, "user", None), "is_staff", False))


def _judged(error: Exception) -> _Refusal:
    if isinstance(error, DermaldError):
        return _of_the_daemon(error)
    if isinstance(error, ValidationError):
        code, (sentence, *_) = str(error.code), error.messages
        status = _FORM_STATUSES.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)
        return _Refusal(code, sentence, status, "the form refused the upload", logging.INFO)
    if isinstance(error, RequestDataTooBig):
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        reason = f"above DATA_UPLOAD_MAX_MEMORY_SIZE ({settings.DATA_UPLOAD_MAX_MEMORY_SIZE})"
        return _Refusal("picture_too_large", TOO_LARGE.sentence(), status, reason, logging.INFO)
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return _Refusal("misconfigured", FAILED.sentence(), status, str(error), logging.ERROR)


def _of_the_daemon(error: DermaldError) -> _Refusal:
    # A visitor's wrong file is no matter for the team.
    level = logging.INFO if isinstance(error, PictureError) else logging.WARNING
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    if error.code in ("picture_too_large", "frame_too_large"):
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    elif error.code == "invalid_request":
        # Such as a class that the model does not have. Other faults of requests are of versions.
        status = HTTPStatus.BAD_REQUEST
    return _Refusal(
        error.code,
        problem_of(error).sentence(),
        status,
        f"{error.message} Fault: {error.fault}",
        level,
        error.retry_after,
    )
