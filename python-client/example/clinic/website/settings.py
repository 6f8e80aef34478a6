"""A site with accounts. It runs with SQLite and no broker; what differs between hosts comes from
the environment:

CLINIC_FOLDER      database and kept photos (default: `data` beside manage.py)
CLINIC_HOSTS       the site's names, with spaces between them
CLINIC_HTTPS       1 where visitors come by https, through a proxy that sets X-Forwarded-Proto
CLINIC_BACKGROUND  "tasks": a worker (`manage.py db_worker`) predicts for kept photos
SECRET_KEY         or everybody is signed out at each start, and two processes do not agree
"""

import os
from pathlib import Path
from typing import Any

from django.core.management.utils import get_random_secret_key

HERE = Path(__file__).resolve().parents[1]
FOLDER = Path(os.environ.get("CLINIC_FOLDER") or HERE / "data")
FOLDER.mkdir(mode=0o700, exist_ok=True)
HTTPS = os.environ.get("CLINIC_HTTPS") == "1"
BACKGROUND = os.environ.get("CLINIC_BACKGROUND") or None

SECRET_KEY = os.environ.get("SECRET_KEY") or get_random_secret_key()
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost", *os.environ.get("CLINIC_HOSTS", "").split()]
ROOT_URLCONF = "website.urls"
WSGI_APPLICATION = "website.wsgi.application"
INSTALLED_APPS = [
    "uploads",
    "dermald.django",
    "dermald.django.background",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "website.headers.StrictHeaders",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # Every page is for people who are signed in, unless it says otherwise.
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "clinic.sqlite3",
        # As Django's manual wants it where several processes write.
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Kept photos: below no URL, readable by the site's user only.
MEDIA_ROOT = FOLDER / "media"
FILE_UPLOAD_PERMISSIONS = 0o600
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o700
# All other photos stay in memory: Django would put larger ones into a file under /tmp.
FILE_UPLOAD_MAX_MEMORY_SIZE = 16 * 2**20

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "upload"
LOGOUT_REDIRECT_URL = "login"

USE_TZ = True
TIME_ZONE = os.environ.get("TZ") or "Asia/Ho_Chi_Minh"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("vi", "Tiếng Việt")]
LOCALE_PATHS = [HERE / "locale"]
LANGUAGE_COOKIE_SAMESITE = "Lax"

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600

# W007 is about photos that forms send as text, which none here does; the others about a domain's
# further names, which this site knows nothing of.
SILENCED_SYSTEM_CHECKS = ["dermald.W007", "security.W005", "security.W021"]

# The socket comes from $DERMALD_SOCKET. The model is for `manage.py dermald serve`.
DERMALD: dict[str, dict[str, Any]] = {
    "default": {"BUNDLE": HERE.parents[2] / "models" / "demo", "BACKGROUND": BACKGROUND}
}
if BACKGROUND == "tasks":
    INSTALLED_APPS.append("django_tasks_db")
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
