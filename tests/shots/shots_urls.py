"""The example's pages, and a login for those of the team."""

from django.contrib.auth.views import LoginView
from django.urls import path
from site_urls import urlpatterns as example

urlpatterns = [*example, path("login/", LoginView.as_view())]
