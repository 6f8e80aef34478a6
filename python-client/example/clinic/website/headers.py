"""What a browser is told not to do. Beside Django's own: `SecurityMiddleware`, X-Frame-Options.

Django has a middleware for the content security policy from 6.0 on (`SECURE_CSP`); this one serves
5.2 as well. The nonce is where django-csp puts it and the templates of dermald look for it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class StrictHeaders:
    """Middleware: nothing is loaded but what the server marked with this answer's nonce, and
    pictures of its own."""

    def __init__(self, answer: Callable[[HttpRequest], HttpResponse]) -> None:
        self._answer = answer

    def __call__(self, request: HttpRequest) -> HttpResponse:
        nonce = secrets.token_urlsafe(16)
        request.csp_nonce = nonce  # type: ignore[attr-defined]  # as django-csp does
        response = self._answer(request)
        response["Content-Security-Policy"] = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )
        response["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        response["Cross-Origin-Resource-Policy"] = "same-origin"
        return response
