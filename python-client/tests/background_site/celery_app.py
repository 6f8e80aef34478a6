"""Celery, as its manual has it for Django. The client is used before the workers are forked."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "background_site.settings")
app = Celery("background_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_finalize.connect
def warm(**_: object) -> None:
    if "SITE_WARM" in os.environ:
        from dermald.django import get_client

        get_client().health()
