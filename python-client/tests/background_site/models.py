"""What the site stores."""

from django.db import models


class Upload(models.Model):
    image = models.FileField(upload_to="photos")
    result = models.JSONField(null=True)
    question = models.JSONField(default=dict)
