"""Registers the app."""

from django.apps import AppConfig


class DermaldBackgroundConfig(AppConfig):
    """An app of its own: who predicts within the request needs no table."""

    name = "dermald.django.background"
    label = "dermald_background"
    verbose_name = "dermald in the background"
