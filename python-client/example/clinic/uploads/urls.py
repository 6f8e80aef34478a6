"""Upload, history, and the pages of one kept photo."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.upload, name="upload"),
    path("history/", views.history, name="history"),
    path("photos/<uuid:id>/", views.result, name="result"),
    path("photos/<uuid:id>/file/", views.photo, name="photo"),
    path("photos/<uuid:id>/delete/", views.delete, name="delete"),
    path("photos/<uuid:id>/state/<uuid:prediction>/", views.state, name="state"),
]
