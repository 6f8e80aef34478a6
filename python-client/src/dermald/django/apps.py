"""Registers the app and its system checks."""

from django.apps import AppConfig
from django.core.checks import register


class DermaldConfig(AppConfig):
    """Labelled `dermald`, so that its URLs are `dermald:...`."""

    name = "dermald.django"
    label = "dermald"
    verbose_name = "dermald"

    def ready(self) -> None:
        from . import checks

        register(checks.check_settings, checks.TAG)
        register(checks.check_deployment, checks.TAG, deploy=True)
