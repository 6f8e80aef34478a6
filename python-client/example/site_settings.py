"""The smallest site that shows dermald: no database, no accounts, nothing stored."""

import os
from pathlib import Path

from django.core.management.utils import get_random_secret_key

MODEL = Path(__file__).resolve().parents[2] / "models" / "demo"

# Forms that are open while the site restarts must be loaded again; a real site keeps its key.
SECRET_KEY = os.environ.get("SITE_SECRET_KEY") or get_random_secret_key()
DEBUG = False
# On a host: its own name for the site, and names that the site was given, with spaces between them.
HOSTED_AT = os.environ.get("RENDER_EXTERNAL_HOSTNAME")
ALLOWED_HOSTS = ["127.0.0.1", "localhost", *os.environ.get("SITE_HOSTS", "").split()]
if HOSTED_AT:
    ALLOWED_HOSTS.append(HOSTED_AT)
    # TLS ends at the host's proxy, which sets this header and lets no visitor set it. Without it
    # Django takes a form's origin, https, for another site than this one, http.
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    CSRF_COOKIE_SECURE = True
ROOT_URLCONF = "site_urls"
WSGI_APPLICATION = "site_wsgi.application"
INSTALLED_APPS = ["dermald.django"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
# The visitor's language, as the browser asks for it.
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("vi", "Tiếng Việt")]
# Photos stay in memory: Django would put larger ones into a file under /tmp.
FILE_UPLOAD_MAX_MEMORY_SIZE = 16 * 2**20
# A camera's photo comes as text, a third longer.
DATA_UPLOAD_MAX_MEMORY_SIZE = 22 * 2**20

# The socket comes from $DERMALD_SOCKET. The model is for `manage.py dermald serve`.
DERMALD = {"default": {"TIMEOUT": 30, "BUNDLE": MODEL}}
