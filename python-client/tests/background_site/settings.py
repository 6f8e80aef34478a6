"""The site's settings; its folder, broker and queue come from the environment."""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["SITE_FOLDER"])
SECRET_KEY = "of a test"
USE_TZ = True
INSTALLED_APPS = [
    "dermald.django",
    "dermald.django.background",
    "background_site",
    "django_tasks_db",
]
ROOT_URLCONF = "background_site.urls"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "db.sqlite3",
        # As Django's manual wants it where several processes write.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STORAGES = {"default": {"BACKEND": "background_site.storage.Storage"}}
MEDIA_ROOT = FOLDER / "media"

DERMALD: dict[str, dict[str, Any]] = {"default": json.loads(os.environ.get("SITE_DERMALD", "{}"))}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

CELERY_BROKER_URL = os.environ.get("SITE_BROKER", "redis://127.0.0.1:1")
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": float(os.environ.get("SITE_VISIBILITY", "600")),
    "socket_timeout": 2,
    "socket_connect_timeout": 1,
    # Whether that time is over is looked at each second, not every hundred.
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"socket_timeout": 2, "socket_connect_timeout": 1}
CELERY_REDIS_SOCKET_TIMEOUT = 2.0
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 1.0
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"dermald": {"handlers": ["stderr"], "level": "INFO"}},
}
