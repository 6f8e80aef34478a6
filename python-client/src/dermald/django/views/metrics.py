"""`metrics/`: the daemon's own metrics, passed through for Prometheus."""

from __future__ import annotations

import logging
from http import HTTPStatus

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse

from ..._errors import DermaldError
from ..clients import get_probe
from ..conf import DEFAULT_ALIAS
from .access import for_signed_in, scraper_token
from .state import PROBE_SECONDS

_log = logging.getLogger("dermald")
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def _metrics(request: HttpRequest, alias: str = DEFAULT_ALIAS) -> HttpResponse:
    try:
        text = get_probe(alias).metrics(timeout=PROBE_SECONDS)
    except DermaldError as error:
        return _no_metrics(error.code)
    except ImproperlyConfigured as error:
        _log.error("no metrics of the daemon: %s", error)
        return _no_metrics("misconfigured")
    return HttpResponse(text, content_type=_OPENMETRICS)


def _no_metrics(code: str) -> HttpResponse:
    """A scrape that fails is what Prometheus' own `up` is for."""
    status = HTTPStatus.SERVICE_UNAVAILABLE
    return HttpResponse(f"# {code}\n", content_type="text/plain", status=status)


metrics = for_signed_in(_metrics, token=scraper_token)
