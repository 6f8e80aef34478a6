"""The upload: a file or the camera's photo, and whether it may be kept."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from dermald.django.forms import PhotoField, PhotoInput


class UploadForm(forms.Form):
    """target: the class to explain, by its place in the model; None for the most probable one.
    `cleaned_data["photo"]` is whichever of the two was given."""

    image = PhotoField(required=False, label=_("Photo from this device"))
    # A phone opens its camera, without any script; other devices ask for a file here too.
    camera = PhotoField(
        required=False, label=_("or take one"), widget=PhotoInput({"capture": "environment"})
    )
    target = forms.IntegerField(required=False, min_value=0, max_value=9999)
    keep = forms.BooleanField(required=False, label=_("Keep this photo in my history"))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        data["photo"] = data.get("image") or data.get("camera")
        if data["photo"] is None and not self.errors:
            raise ValidationError(self.fields["image"].error_messages["required"], "required")
        return data

    def first_error(self) -> ValidationError:
        return next(iter(self.errors.as_data().values()))[0]
