"""A storage on which some pictures never arrive, by their names."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage

HANGS_SECONDS = 60.0


class Storage(FileSystemStorage):
    def open(self, name: str, mode: str = "rb") -> File[Any]:
        if "stuck" in name:
            time.sleep(HANGS_SECONDS)
        if "stone" in name:
            # What is told to end does not.
            end = time.monotonic() + HANGS_SECONDS
            while time.monotonic() < end:
                with suppress(Exception):
                    time.sleep(end - time.monotonic())
        return super().open(name, mode)
