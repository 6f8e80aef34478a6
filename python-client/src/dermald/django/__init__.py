"""dermald for a Django site. Two lines add it:

    INSTALLED_APPS = [..., "dermald.django"]
    urlpatterns = [..., path("skin/", include("dermald.django.urls"))]

`get_client()` gives a site's own views the client that `settings.DERMALD` describes. Importing
this package opens nothing.
"""

from .clients import get_client

__all__ = ["get_client"]
