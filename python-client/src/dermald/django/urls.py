"""The pages to include: `path("skin/", include("dermald.django.urls"))`."""

from django.urls import path

from .views import classify

app_name = "dermald"
urlpatterns = [path("", classify, name="classify")]
