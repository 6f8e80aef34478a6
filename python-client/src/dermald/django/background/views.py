"""How far a prediction is, for a page that asks again and again."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from .models import StoredPrediction


@never_cache
@require_safe
def prediction_state(request: HttpRequest, id: UUID) -> JsonResponse:
    """`StoredPrediction.as_dict()` as JSON. Whose it is only the site knows: wrap it in what the
    site asks of whoever sees results."""
    prediction = get_object_or_404(StoredPrediction.objects.defer("overlay_data"), pk=id)
    return JsonResponse(prediction.as_dict())
