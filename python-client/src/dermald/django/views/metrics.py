"""`metrics/`: the daemon's own metrics, passed through for Prometheus."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest, HttpResponse

from ..._errors import DermaldError
from ..clients import get_probe
from ..conf import daemon_settings
from .access import for_signed_in
from .state import PROBE_SECONDS

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def _metrics(request: HttpRequest) -> HttpResponse:
    try:
        text = get_probe().metrics(timeout=PROBE_SECONDS)
    except DermaldError as error:
        # A scrape that fails is what Prometheus' own `up` is for.
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return HttpResponse(f"# {error.code}\n", content_type="text/plain", status=status)
    return HttpResponse(text, content_type=_OPENMETRICS)


metrics = for_signed_in(_metrics, token=lambda: daemon_settings().metrics_token)
