"""Photos that somebody chose to keep. Who did not choose so leaves nothing here."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.db import models
from django.utils import timezone

from dermald.django.background import StoredPrediction


def place_of(upload: Upload, _: str) -> str:
    """A folder for each owner. The file's own name may tell who is in the picture."""
    return f"photos/{upload.owner.pk}/{upload.id}"


class Upload(models.Model):
    """result: the answer as JSON, in the form of `StoredPrediction.result`; None while a worker has
    it to find (`prediction`). Overlays are drawn when they are looked at."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads"
    )
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    photo = models.FileField(upload_to=place_of)
    result = models.JSONField(null=True)
    prediction = models.ForeignKey(
        StoredPrediction, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    objects: ClassVar[models.Manager[Upload]] = models.Manager()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return str(self.id)

    @property
    def labels(self) -> list[dict[str, Any]]:
        """The classes that were found first, most probable first; empty while there are none."""
        found = self.result or (self.prediction and self.prediction.result)
        return found["labels"] if found else []

    def predictions(self) -> models.QuerySet[StoredPrediction]:
        """All that workers were asked about the photo."""
        return StoredPrediction.objects.filter(storage="default", name=self.photo.name)


def remove_what_belongs_to(instance: Upload, **_: object) -> None:
    """Photo and answers go with the row, also with its owner's. A file that cannot be removed stops
    the deletion: better a row that can be deleted again than a photo that nobody knows of."""
    instance.predictions().delete()
    instance.photo.delete(save=False)
