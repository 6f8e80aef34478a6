"""dermald for a Django site. Two lines add it:

    INSTALLED_APPS = [..., "dermald.django"]
    urlpatterns = [..., path("skin/", include("dermald.django.urls"))]

For a site's own views: `predict` and `apredict` ask the daemon that `settings.DERMALD` describes
and remember its answers where a cache is named there; `get_client()` and `get_async_client()` give
the clients behind them. Importing this package opens nothing.
"""

from .clients import get_async_client, get_client
from .predictions import apredict, predict

__all__ = ["apredict", "get_async_client", "get_client", "predict"]
