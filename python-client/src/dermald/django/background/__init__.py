"""Predictions that a worker makes: the visitor does not wait, and the answer is stored once.

    INSTALLED_APPS = [..., "dermald.django", "dermald.django.background"]
    DERMALD = {"default": {"BACKGROUND": "celery"}}  # or "tasks", for django.tasks

    prediction = predict_later(upload.image, explain="overlay", language="vi")

A `StoredPrediction` is a row: what was asked about which stored picture, how far it is, and the
answer. The queue carries nothing but its id. `docs/background.md` tells what becomes of a row when
worker, daemon, broker or picture fail. Importing this package opens nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .later import predict_later
    from .models import StoredPrediction
    from .overdue import requeue

__all__ = ["StoredPrediction", "predict_later", "requeue"]

# Models cannot be imported while Django loads its apps, of which this package is one.
_LATER = {"StoredPrediction": "models", "predict_later": "later", "requeue": "overdue"}


def __getattr__(name: str) -> object:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value
