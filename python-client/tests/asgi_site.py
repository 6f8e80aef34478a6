"""The example under ASGI: `gunicorn --worker-class asgi asgi_site:application`.

Its pages are the asynchronous ones; `threads/` tells how many threads the worker has, `rest/` does
nothing for a second.
"""

import asyncio
import threading

from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

application = get_asgi_application()


async def threads(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(threading.active_count()))


async def rest(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(1)
    return HttpResponse("rested")


urlpatterns = [
    path("skin/", include("dermald.django.async_urls")),
    path("threads/", threads),
    path("rest/", rest),
]
