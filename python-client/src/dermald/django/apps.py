"""Registers the app."""

from django.apps import AppConfig


class DermaldConfig(AppConfig):
    """Labelled `dermald`, so that its URLs are `dermald:...`."""

    name = "dermald.django"
    label = "dermald"
    verbose_name = "dermald"
