"""The upload page: a photo in, classes and overlay out. Nothing is stored.

Browsers get HTML in the visitor's language; who prefers JSON (`Accept: application/json`) gets the
same as JSON.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from django import forms
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from ..._errors import Busy, DeadlineExceeded, DermaldError, GoingAway, PictureError, Unreachable
from ..._results import RenderOverlay
from ..._visitors import problem_of
from ..conf import daemon_settings
from ..forms import PhotoField
from ..predictions import apredict, predict
from .answer import as_json, as_page
from .state import adaemon_state, daemon_state

if TYPE_CHECKING:
    from ..predictions import Options

_log = logging.getLogger("dermald")
_TEMPLATE = "dermald/classify.html"
# Upright and as wide as a page shows it, and the photo of the same size beside it.
_PAGE_OVERLAY = RenderOverlay(format="jpeg", longest_side=800, photo=True)
_METHODS = ["GET", "HEAD", "POST"]
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


class UploadForm(forms.Form):
    image = PhotoField()


@never_cache
@require_http_methods(_METHODS)
def classify(request: HttpRequest) -> HttpResponse:
    """GET shows the form; POST classifies `image`, a file or a camera's text."""
    if request.method != "POST":
        missing = _sees_commands(request) and daemon_state() == "unreachable"
        return render(request, _TEMPLATE, {"show_command": missing})
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return _refused_form(request, form)
    try:
        prediction = predict(form.cleaned_data["image"], **_options(request))
    except DermaldError as error:
        return _refusal(request, error)
    if _wants_json(request):
        return JsonResponse(as_json(prediction))
    return render(request, _TEMPLATE, as_page(form.cleaned_data["image"], prediction))


@never_cache
@require_http_methods(_METHODS)
async def aclassify(request: HttpRequest) -> HttpResponse:
    """`classify` for ASGI: no thread waits for the daemon."""
    if request.method != "POST":
        missing = _sees_commands(request) and await adaemon_state() == "unreachable"
        return render(request, _TEMPLATE, {"show_command": missing})
    form = UploadForm(request.POST, request.FILES)
    if not form.is_valid():
        return _refused_form(request, form)
    try:
        prediction = await apredict(form.cleaned_data["image"], **_options(request))
    except DermaldError as error:
        return _refusal(request, error)
    if _wants_json(request):
        return JsonResponse(as_json(prediction))
    return render(request, _TEMPLATE, as_page(form.cleaned_data["image"], prediction))


def _options(request: HttpRequest) -> Options:
    daemon = daemon_settings()
    explain = daemon.explain
    if explain == "overlay" and not _wants_json(request):
        explain = _PAGE_OVERLAY
    # The page's language, so that classes and notice are in it.
    return {"explain": explain, "top_k": daemon.top_k, "language": get_language()}


def _sees_commands(request: HttpRequest) -> bool:
    """Whether whoever looks could start a daemon."""
    return settings.DEBUG or bool(getattr(getattr(request, "user", None), "is_staff", False))


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"


def _refused_form(request: HttpRequest, form: UploadForm) -> HttpResponse:
    (error, *_) = form.errors.as_data()["image"]
    sentence, code = form.errors["image"][0], str(error.code)
    status = _FORM_STATUSES.get(code, HTTPStatus.UNPROCESSABLE_ENTITY)
    return _problem(request, str(sentence), str(sentence), status, code)


def _refusal(request: HttpRequest, error: DermaldError) -> HttpResponse:
    # A visitor's wrong file is no matter for the team.
    level = logging.INFO if isinstance(error, PictureError) else logging.WARNING
    _log.log(level, "no prediction: %s (%s, %s)", error.message, error.code, error.fault)
    status = next(code for kind, code in _STATUSES if isinstance(error, kind))
    if error.code in ("picture_too_large", "frame_too_large"):
        status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    sentence = problem_of(error).sentence()
    response = _problem(request, sentence, error.message, status, error.code)
    if error.retry_after is not None:
        response["Retry-After"] = str(max(1, round(error.retry_after)))
    return response


def _problem(
    request: HttpRequest, sentence: str, message: str, status: HTTPStatus, code: str
) -> HttpResponse:
    if _wants_json(request):
        return JsonResponse({"error": {"code": code, "message": message}}, status=status)
    show = code == "unreachable" and _sees_commands(request)
    return render(request, _TEMPLATE, {"problem": sentence, "show_command": show}, status=status)
