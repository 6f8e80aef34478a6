"""Predictions of pictures that lie in a storage, and the form in which an answer is kept.

What `dermald.django.background` and `manage.py dermald backfill` have in common. Knows no queue and
no row.
"""

from __future__ import annotations

import random
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Unpack

from django.core.files.storage import storages

from .._errors import DermaldError, PictureError
from .._results import Heatmap, Label, Model, Prediction, Timings
from .conf import DEFAULT_ALIAS
from .predictions import predict

if TYPE_CHECKING:
    from django.core.files.storage import Storage

    from .._results import Overlay
    from .predictions import Options

# A daemon that stops or renews itself is back within a second, a full queue moves on at the pace of
# an inference. An operator's repair takes minutes: the pauses double until the longest.
FIRST_PAUSE = 1.0


def predict_stored(
    name: str,
    storage: Storage | str = "default",
    *,
    alias: str = DEFAULT_ALIAS,
    **options: Unpack[Options],
) -> Prediction:
    """`dermald.django.predict` for the picture `name` of a storage, or of an entry of STORAGES.

    A picture that is no longer there is a `PictureError` with code `picture_missing`. What else the
    storage raises is passed on.
    """
    place = storages[storage] if isinstance(storage, str) else storage
    try:
        with place.open(name) as file:
            return predict(file, alias=alias, **options)
    except FileNotFoundError as error:
        # The name itself may tell who is in the picture.
        raise PictureError(
            "The picture is gone from its storage.", code="picture_missing"
        ) from error


def as_kept(answer: Prediction) -> dict[str, object]:
    """The answer as JSON that outlives the daemon: without the overlay's bytes, and without how
    long it took."""
    heatmap = answer.heatmap
    return {
        "labels": [asdict(label) for label in answer.labels],
        "model": asdict(answer.model),
        "explained": answer.explained,
        "heatmap": heatmap and {**asdict(heatmap), "values": list(heatmap.values)},
        "notice": answer.notice,
        "explanation": answer.explanation,
    }


def from_kept(kept: dict[str, Any], overlay: Overlay | None = None) -> Prediction:
    """The answer out of what `as_kept` made of it."""
    heatmap = kept["heatmap"]
    return Prediction(
        labels=tuple(Label(**label) for label in kept["labels"]),
        model=Model(**kept["model"]),
        explained=kept["explained"],
        heatmap=heatmap and Heatmap(**{**heatmap, "values": tuple(heatmap["values"])}),
        overlay=overlay,
        timings=Timings(0, 0, 0, 0, 0),
        notice=kept["notice"],
        explanation=kept["explanation"],
    )


def is_final(error: Exception) -> bool:
    """Whether the same picture fails again wherever and whenever it is asked about.

    All else may be this worker's machine, its daemon or its moment: another attempt may do.
    """
    if not isinstance(error, DermaldError):
        return False
    return error.fault == "caller" or error.code == "picture_failed"


def pause_after(error: Exception, attempts: int, longest: float) -> float:
    """Seconds before the attempt that follows the `attempts`-th: twice as long each time up to
    `longest`, and random so that those who were refused together do not come back together. Never
    shorter than the daemon asked for."""
    backoff = min(FIRST_PAUSE * 2 ** min(attempts - 1, 16), longest)
    asked = error.retry_after if isinstance(error, DermaldError) else None
    return max(asked or 0.0, random.uniform(backoff / 2, backoff))
