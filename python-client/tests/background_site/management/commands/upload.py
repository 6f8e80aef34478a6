"""Uploads photos as a view would, within a transaction, and tells what became of each as JSON."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files import File
from django.core.management.base import BaseCommand
from django.db import transaction

from background_site.models import Upload
from dermald.django.background import predict_later


class Command(BaseCommand):
    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("photos", nargs="+", type=Path)
        parser.add_argument("--explain")
        parser.add_argument("--priority", default="interactive")
        parser.add_argument("--row-only", action="store_true", help="ask for no prediction")

    def handle(self, *_: Any, photos: list[Path], **options: Any) -> None:  # noqa: ANN401
        for photo in photos:
            begun = time.monotonic()
            told = self._upload(photo, options)
            told["seconds"] = time.monotonic() - begun
            self.stdout.write(json.dumps(told))
            self.stdout.flush()

    def _upload(self, photo: Path, options: dict[str, Any]) -> dict[str, object]:
        with photo.open("rb") as file, transaction.atomic():
            upload = Upload._default_manager.create(image=File(file, name=photo.name))
            if options["row_only"]:
                return {"upload": upload.pk}
            prediction = predict_later(
                upload.image,
                explain=options["explain"],
                priority=options["priority"],
            )
        return {"upload": upload.pk, "id": str(prediction.id), "name": photo.name}
