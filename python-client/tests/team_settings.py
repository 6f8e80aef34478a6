"""The example site, and accounts for its team."""

from site_settings import *  # noqa: F403
from site_settings import INSTALLED_APPS, MIDDLEWARE

ROOT_URLCONF = "team_urls"
INSTALLED_APPS = [
    *INSTALLED_APPS,
    "dermald.django.background",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
]
MIDDLEWARE = [
    *MIDDLEWARE,
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "/login/"
