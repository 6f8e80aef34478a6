"""Registers the app, and that a row takes its files with it."""

from django.apps import AppConfig
from django.db.models.signals import post_delete


class UploadsConfig(AppConfig):
    name = "uploads"

    def ready(self) -> None:
        from .models import Upload, remove_what_belongs_to

        post_delete.connect(remove_what_belongs_to, Upload)
