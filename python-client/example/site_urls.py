"""The upload page under /skin/, and the way there."""

from django.urls import include, path
from django.views.generic import RedirectView

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="dermald:classify")),
    path("skin/", include("dermald.django.urls")),
]
