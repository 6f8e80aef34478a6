"""`health/`: whether the site answers, for a hosting platform. Public; tells nothing but states.

It stays 200 whatever the daemon does: the platform would restart the whole service, which helps
neither a daemon that renews itself nor the site's other pages. `?daemon=required` makes it 503
while predictions fail, for monitors that shall wake somebody.
"""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, JsonResponse

from ..conf import DEFAULT_ALIAS
from .access import open_to_all
from .state import GOOD, adaemon_state, daemon_state


@open_to_all
def health(request: HttpRequest, alias: str = DEFAULT_ALIAS) -> JsonResponse:
    return _answer(request, daemon_state(alias))


@open_to_all
async def ahealth(request: HttpRequest, alias: str = DEFAULT_ALIAS) -> JsonResponse:
    return _answer(request, await adaemon_state(alias))


def _answer(request: HttpRequest, state: str) -> JsonResponse:
    required = request.GET.get("daemon") == "required"
    if required and state not in GOOD:
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return JsonResponse({"status": "unavailable", "daemon": state}, status=status)
    return JsonResponse({"status": "ok", "daemon": state})
