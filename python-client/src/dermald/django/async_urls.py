"""The same pages for a site under ASGI: `path("skin/", include("dermald.django.async_urls"))`.

What visitors wait for is asynchronous; the team's pages are the ones of `urls`.
"""

from django.urls import path

from . import views

app_name = "dermald"
urlpatterns = [
    path("", views.aclassify, name="classify"),
    path("health/", views.ahealth, name="health"),
    path("memory/", views.memory_status, name="memory_status"),
    path("metrics/", views.metrics, name="metrics"),
    path("status/", views.status, name="status"),
]
