"""Deletes what was kept for long enough: `manage.py forget --older-than 30d`, daily from cron."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from ...models import Upload

_UNITS = {"d": "days", "h": "hours"}


def age(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,5})([dh])", text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no age; write 30d for days or 12h for hours")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


class Command(BaseCommand):
    help = "Deletes kept photos with their results, and files that belong to no row any more."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", type=age, required=True, help="such as 30d or 12h")

    def handle(self, *_: object, **options: Any) -> None:  # noqa: ANN401  # as Django has it
        before = timezone.now() - options["older_than"]
        old = list(Upload.objects.filter(created_at__lt=before))
        stuck = [upload for upload in old if not self._deleted(upload)]
        lost = _lost_files(before)
        for file in lost:
            file.unlink(missing_ok=True)
        self.stdout.write(f"{len(old) - len(stuck)} photos deleted, and {len(lost)} files of none.")
        if stuck:
            raise CommandError(f"{len(stuck)} files cannot be removed: their rows stay.")

    def _deleted(self, upload: Upload) -> bool:
        """One by one: a file that cannot be removed keeps its own row only."""
        try:
            upload.delete()
        except OSError as error:
            self.stderr.write(f"{upload.pk}: {error.strerror or type(error).__name__}")
            return False
        return True


def _lost_files(before: datetime) -> list[Path]:
    """Of a process that was killed between the file and its row."""
    root = Path(settings.MEDIA_ROOT)
    old = [file for file in root.glob("photos/*/*") if file.stat().st_mtime < before.timestamp()]
    return [
        file
        for file in old
        if not Upload.objects.filter(photo=file.relative_to(root).as_posix()).exists()
    ]
