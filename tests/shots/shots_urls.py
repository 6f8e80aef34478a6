"""The example's pages, a login for those of the team, and pages of daemons that ran for long."""

from django.contrib.auth.views import LoginView
from django.urls import include, path
from site_urls import urlpatterns as example

urlpatterns = [
    *example,
    path("login/", LoginView.as_view()),
    *(
        path(f"{alias}/", include("dermald.django.urls", namespace=alias), {"alias": alias})
        for alias in ("busy", "idle")
    ),
]
