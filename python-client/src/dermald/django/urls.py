"""The pages to include: `path("skin/", include("dermald.django.urls"))`.

They are about the daemon `default`; another one's say which, and have a namespace of their own:
`path("moles/", include("dermald.django.urls", namespace="moles"), {"alias": "moles"})`.
"""

from django.urls import path

from . import views

app_name = "dermald"
urlpatterns = [
    path("", views.classify, name="classify"),
    path("health/", views.health, name="health"),
    path("memory/", views.memory_status, name="memory_status"),
    path("metrics/", views.metrics, name="metrics"),
    path("status/", views.status, name="status"),
]
