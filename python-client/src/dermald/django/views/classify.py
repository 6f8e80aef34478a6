"""The upload page: a photo in, classes and overlay out. Nothing is stored.

Browsers get HTML in the visitor's language; who prefers JSON (`Accept: application/json`) gets the
same as JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.shortcuts import render
from django.utils.module_loading import import_string
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods

from ..._results import RenderOverlay
from ..conf import DEFAULT_ALIAS, PAGE_OVERLAY, daemon_settings
from ..forms import PhotoField
from ..predictions import apredict, predict
from .answer import as_json, as_page, photo_url
from .refusals import REFUSALS, TEMPLATE, refusal, sees_commands, wants_json
from .state import adaemon_state, daemon_state

if TYPE_CHECKING:
    from ..._results import Prediction
    from ..predictions import Options

_METHODS = ["GET", "HEAD", "POST"]


class UploadForm(forms.Form):
    """For the daemon of `alias`: its settings say how large a photo may be."""

    def __init__(self, request: HttpRequest, alias: str) -> None:
        super().__init__(request.POST, request.FILES)
        self.fields["image"] = PhotoField(max_bytes=daemon_settings(alias).max_bytes)


def _page(view: Callable[..., Any]) -> Callable[..., Any]:
    """What both views are wrapped in. Where the site looks for tokens against forgery, that is done
    once the request can be read: Django's middleware answers one that is too large with a bare 400.
    """
    protected = csrf_protect(view)

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        try:
            request.POST  # noqa: B018  # reads it
        except RequestDataTooBig as error:
            return refusal(request, error)
        return (protected if _looks_for_tokens() else view)(request, *args, **options)

    @wraps(view)
    async def guarded_later(request: HttpRequest, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        answer = guarded(request, *args, **options)
        return answer if isinstance(answer, HttpResponse) else await answer

    made = csrf_exempt(guarded_later if iscoroutinefunction(view) else guarded)
    return never_cache(require_http_methods(_METHODS)(made))


def _looks_for_tokens() -> bool:
    """Whether the site has Django's middleware against forgery, or one that was made from it."""
    made = (import_string(name) for name in settings.MIDDLEWARE)
    return any(isinstance(one, type) and issubclass(one, CsrfViewMiddleware) for one in made)


@_page
def classify(request: HttpRequest, alias: str = DEFAULT_ALIAS) -> HttpResponse:
    """GET shows the form; POST classifies `image`, a file or a camera's text."""
    if request.method != "POST":
        missing = sees_commands(request) and daemon_state(alias) == "unreachable"
        return render(request, TEMPLATE, {"show_command": missing})
    try:
        photo, options = _question(request, alias)
        return _answer(request, photo, predict(photo, alias=alias, **options))
    except REFUSALS as error:
        return refusal(request, error)


@_page
async def aclassify(request: HttpRequest, alias: str = DEFAULT_ALIAS) -> HttpResponse:
    """`classify` for ASGI: no thread waits for the daemon."""
    if request.method != "POST":
        missing = sees_commands(request) and await adaemon_state(alias) == "unreachable"
        return render(request, TEMPLATE, {"show_command": missing})
    try:
        photo, options = _question(request, alias)
        return _answer(request, photo, await apredict(photo, alias=alias, **options))
    except REFUSALS as error:
        return refusal(request, error)


def _question(request: HttpRequest, alias: str) -> tuple[UploadedFile[bytes], Options]:
    """The photo, and how to ask about it. Raises the form's `ValidationError`."""
    form = UploadForm(request, alias)
    if not form.is_valid():
        raise form.errors.as_data()["image"][0]
    daemon = daemon_settings(alias)
    explain = PAGE_OVERLAY if daemon.explain == "overlay" else daemon.explain
    if wants_json(request) and isinstance(explain, RenderOverlay):
        # Who sent the photo has it.
        explain = replace(explain, photo=False)
    # The page's language, so that classes and notice are in it.
    options: Options = {
        "explain": explain,
        "top_k": daemon.top_k,
        "language": get_language(),
    }
    return form.cleaned_data["image"], options


def _answer(
    request: HttpRequest, photo: UploadedFile[bytes], prediction: Prediction
) -> HttpResponse:
    if wants_json(request):
        return JsonResponse(as_json(prediction))
    return render(request, TEMPLATE, as_page(prediction, photo_url(photo, prediction)))
