"""The pages. Everybody sees their own photos and nobody else's: for others there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from dermald.django.background.views import prediction_state
from dermald.django.photos import media_type
from dermald.django.validators import head_of
from dermald.django.views.answer import SHOWN_BY_BROWSERS, as_page, photo_url
from dermald.django.views.refusals import REFUSALS, refusal

from .asking import at_once, keep, later, works_later
from .forms import UploadForm
from .models import Upload

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    class SignedIn(HttpRequest):
        """What `LoginRequiredMiddleware` lets through."""

        user: User


_UPLOAD, _RESULT = "uploads/upload.html", "uploads/result.html"
_PER_PAGE = 20


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: SignedIn) -> HttpResponse:
    """The form. A photo that shall not be kept is answered at once and forgotten."""
    if request.method != "POST":
        return render(request, _UPLOAD, {"form": UploadForm()})
    form = UploadForm(request.POST, request.FILES)
    try:
        if not form.is_valid():
            raise form.first_error()
        photo, target = form.cleaned_data["photo"], form.cleaned_data["target"]
        if form.cleaned_data["keep"]:
            return redirect(_address(keep(request.user, photo), target))
        answer = at_once(photo, target)
    except REFUSALS as error:
        return refusal(request, error, _UPLOAD, {"form": form})
    shown = as_page(answer, photo_url(photo, answer))
    return render(request, _UPLOAD, {**shown, "form": UploadForm(), "target": answer.explained})


@never_cache
@require_safe
def result(request: SignedIn, id: UUID) -> HttpResponse:
    """Of a kept photo. `?target=` is the class to explain."""
    upload = _own(request, id)
    context: dict[str, object] = {"upload": upload}
    try:
        target = _target(request, upload)
        if works_later():
            prediction = later(upload, target)
            context |= {"waiting": prediction}
            answer = prediction.answer
        else:
            answer = at_once(upload, target)
    except REFUSALS as error:
        return refusal(request, error, _RESULT, context)
    if answer is not None:
        shown = as_page(answer, photo_url(None, answer) or _address_of_file(upload))
        context |= {**shown, "target": answer.explained}
    return render(request, _RESULT, context)


@never_cache
@require_safe
def state(request: SignedIn, id: UUID, prediction: UUID) -> HttpResponse:
    """How far a worker is, as JSON."""
    upload = _own(request, id)
    return prediction_state(request, get_object_or_404(upload.predictions(), pk=prediction).pk)


@never_cache
@require_safe
def photo(request: SignedIn, id: UUID) -> FileResponse:
    """The file as it was uploaded; a browser turns it as its EXIF says."""
    file = _own(request, id).photo
    try:
        kind = media_type(head_of(file))
    except FileNotFoundError as error:
        raise Http404 from error
    return FileResponse(file, content_type=kind or "application/octet-stream")


@never_cache
@require_safe
def history(request: SignedIn) -> HttpResponse:
    kept = Upload.objects.filter(owner=request.user).select_related("prediction")
    kept = kept.defer("prediction__overlay_data")
    page = Paginator(kept, _PER_PAGE).get_page(request.GET.get("page"))
    return render(request, "uploads/history.html", {"page": page})


@never_cache
@require_POST
def delete(request: SignedIn, id: UUID) -> HttpResponse:
    with transaction.atomic():
        _own(request, id).delete()
    messages.success(request, _("The photo and its result are deleted."))
    return redirect("history")


def _own(request: SignedIn, id: UUID) -> Upload:
    return get_object_or_404(Upload, pk=id, owner=request.user)


def _target(request: SignedIn, upload: Upload) -> int | None:
    text = request.GET.get("target", "")
    if not text:
        return None
    known: dict[str, int] = {str(label["index"]): label["index"] for label in upload.labels}
    if text not in known:
        raise Http404
    return known[text]


def _address(upload: Upload, target: int | None) -> str:
    address = reverse("result", args=[upload.pk])
    return address if target is None else f"{address}?target={target}"


def _address_of_file(upload: Upload) -> str | None:
    """None for what a browser does not show, such as TIFF, and for what is gone."""
    try:
        kind = media_type(head_of(upload.photo))
    except FileNotFoundError:
        return None
    return reverse("photo", args=[upload.pk]) if kind in SHOWN_BY_BROWSERS else None
