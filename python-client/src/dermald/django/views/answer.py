"""A prediction as JSON and as what the template shows. Knows no request."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import asdict
from typing import TYPE_CHECKING

from ..._results import Overlay, Prediction, Timings

if TYPE_CHECKING:
    from django.core.files.uploadedfile import UploadedFile

# The daemon reads more than a browser shows.
SHOWN_BY_BROWSERS = ("image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp")
# Base64 adds a third, and the page is held in memory several times over.
_SENT_BACK_BYTES = 512 * 1024


def as_json(prediction: Prediction) -> dict[str, object]:
    overlay = prediction.overlay
    return {
        "labels": [asdict(label) for label in prediction.labels],
        "model": asdict(prediction.model),
        "explained": prediction.explained,
        "heatmap": asdict(prediction.heatmap) if prediction.heatmap else None,
        "overlay": overlay and {**asdict(overlay), "data": b64encode(overlay.data).decode()},
        "timings": asdict(prediction.timings),
        "notice": prediction.notice,
        "explanation": prediction.explanation,
    }


def as_page(prediction: Prediction, photo: str | None) -> dict[str, object]:
    """What `dermald/result.html` and `dermald/slider.html` show. photo: its URL, where it is to be
    seen."""
    explained = [label for label in prediction.labels if label.index == prediction.explained]
    return {
        "prediction": prediction,
        "bars": [
            {
                "title": label.title,
                "percent": label.probability * 100,
                # For an attribute of SVG, which knows no decimal comma.
                "width": f"{label.probability * 100:.2f}%",
            }
            for label in prediction.labels
        ],
        "explained": explained[0].title if explained else None,
        "photo": photo,
        "overlay": _overlay_url(prediction.overlay),
        "milliseconds": _milliseconds(prediction.timings),
    }


def _milliseconds(timings: Timings) -> dict[str, float]:
    return {
        name.removesuffix("_us"): microseconds / 1000
        for name, microseconds in asdict(timings).items()
    }


def photo_url(upload: UploadedFile[bytes] | None, prediction: Prediction) -> str | None:
    """What lies under the heatmap; without one, an upload that is small enough to be sent back. A
    phone's photo of 4 MB would make a page of 5.5 MB, and cost the site ten times that."""
    if prediction.photo is not None:
        return _data_url("image/jpeg", prediction.photo)
    if (
        upload is None
        or upload.content_type not in SHOWN_BY_BROWSERS
        or (upload.size or 0) > _SENT_BACK_BYTES
    ):
        return None
    return _data_url(upload.content_type, b"".join(upload.chunks()))


def _overlay_url(overlay: Overlay | None) -> str | None:
    return None if overlay is None else _data_url(overlay.media_type, overlay.data)


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{b64encode(data).decode()}"
