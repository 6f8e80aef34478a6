"""The example site with accounts, in the clinic's strict content security policy."""

import os

from site_settings import *  # noqa: F403
from site_settings import DERMALD, INSTALLED_APPS, MIDDLEWARE, TEMPLATES

ROOT_URLCONF = "shots_urls"
INSTALLED_APPS = [
    *INSTALLED_APPS,
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    "website.headers.StrictHeaders",
    *MIDDLEWARE,
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES[0]["DIRS"] = [os.path.join(os.path.dirname(__file__), "templates")]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["SHOTS_DATABASE"]}
}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
DERMALD = {
    **DERMALD,
    **{alias: {"SOCKET": os.environ[f"SHOTS_{alias.upper()}"]} for alias in ("busy", "idle")},
}
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/skin/"
