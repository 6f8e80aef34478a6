"""Who may see what: `health` is for everybody, the rest for users who are signed in."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..conf import DEFAULT_ALIAS, daemon_settings

# Of a view, blocking or not.
View = Callable[..., Any]


def open_to_all(view: View) -> View:
    """For everybody, also under Django's LoginRequiredMiddleware."""
    guarded = never_cache(require_safe(view))
    guarded.login_required = False  # type: ignore[attr-defined]  # as login_not_required does
    return guarded


def for_signed_in(
    view: View, *, staff: bool = False, token: Callable[..., str | None] | None = None
) -> View:
    """For users who are signed in. `token`: what a bearer may show instead of a login,
    by what the URL says."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        if token is not None and _bears(request, token(*args, **options)):
            return view(request, *args, **options)
        user = getattr(request, "user", None)
        if user is None or not user.is_authenticated:
            return _ask_to_sign_in(request, can=user is not None)
        if staff and not user.is_staff:
            raise PermissionDenied
        return view(request, *args, **options)

    made = never_cache(require_safe(guarded))
    # It asks by itself, and takes a token that the middleware knows nothing of.
    made.login_required = False  # type: ignore[attr-defined]
    return made


def scraper_token(alias: str = DEFAULT_ALIAS) -> str | None:
    """METRICS_TOKEN of the daemon that a page is about; None while its settings are wrong."""
    try:
        return daemon_settings(alias).metrics_token
    except ImproperlyConfigured:
        return None


def _ask_to_sign_in(request: HttpRequest, *, can: bool) -> HttpResponse:
    if can and request.get_preferred_type(["application/json", "text/html"]) == "text/html":
        # Here accounts are installed; importing this where they are not would fail.
        from django.contrib.auth.views import redirect_to_login

        return redirect_to_login(request.get_full_path())
    return JsonResponse({"error": {"code": "login_required"}}, status=403)


def _bears(request: HttpRequest, token: str | None) -> bool:
    shown = request.headers.get("Authorization", "")
    return token is not None and hmac.compare_digest(shown.encode(), f"Bearer {token}".encode())
