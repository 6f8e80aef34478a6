"""The example's settings for `asgi_site`; uploads carry no token."""

from site_settings import *  # noqa: F403
from site_settings import MIDDLEWARE

ROOT_URLCONF = "asgi_site"
MIDDLEWARE = [name for name in MIDDLEWARE if "Csrf" not in name]
