from django.urls import path

from . import views

urlpatterns = [
    path("health/", views.health),
    path("memory/", views.memory_status),
    path("upload/", views.upload),
    path("upload/file/", views.upload),
    path("result/<int:number>/", views.result, name="result"),
]
