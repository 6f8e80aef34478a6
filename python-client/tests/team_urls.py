"""The example's pages, and the asynchronous ones beside them."""

from django.urls import include, path
from health_check.views import HealthCheckView

from site_urls import urlpatterns as example

urlpatterns = [
    *example,
    path("later/", include("dermald.django.async_urls", namespace="later")),
    path("moles/", include("dermald.django.urls", namespace="moles"), {"alias": "moles"}),
    path(
        "later/moles/",
        include("dermald.django.async_urls", namespace="later-moles"),
        {"alias": "moles"},
    ),
    path(
        "checks/",
        HealthCheckView.as_view(checks=["dermald.django.health_check.DermaldDaemon"]),
    ),
]
