"""Asks about photos: at once, or by a worker where the settings name a queue. Knows no request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils.translation import get_language

from dermald.django import predict
from dermald.django.background import StoredPrediction, predict_later
from dermald.django.conf import PAGE_OVERLAY, daemon_settings
from dermald.django.stored import as_kept, predict_stored

from .models import Upload

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from dermald import Prediction


def works_later() -> bool:
    return daemon_settings().background is not None


def keep(owner: User, photo: UploadedFile[bytes]) -> Upload:
    """Stores the photo for its owner, once it is known to be one (or with a worker to find out).
    Raises what `predict` raises."""
    upload = Upload(owner=owner)
    if not works_later():
        upload.result = as_kept(predict(photo, language=get_language()))
    upload.photo.save(photo.name or "", photo, save=False)
    try:
        with transaction.atomic():
            upload.save()
            if works_later():
                upload.prediction = later(upload)
                upload.save(update_fields=["prediction"])
    except BaseException:
        # The file was there before its row.
        upload.photo.delete(save=False)
        raise
    return upload


def at_once(photo: UploadedFile[bytes] | Upload, target: int | None) -> Prediction:
    if isinstance(photo, Upload):
        return predict_stored(
            photo.photo.name or "",
            photo.photo.storage,
            target=target,
            explain=PAGE_OVERLAY,
            language=get_language(),
        )
    return predict(photo, target=target, explain=PAGE_OVERLAY, language=get_language())


def later(upload: Upload, target: int | None = None) -> StoredPrediction:
    """The same question is the same row: a page may ask as often as it is loaded."""
    # The photo under the overlay is the site's own.
    overlay = replace(PAGE_OVERLAY, photo=False)
    return predict_later(upload.photo, target=target, explain=overlay, language=get_language())
