"""Where a page asks how far its prediction is."""

from django.urls import path

from dermald.django.background.views import prediction_state

urlpatterns = [path("predictions/<uuid:id>/", prediction_state)]
