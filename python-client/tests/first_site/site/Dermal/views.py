import base64
import platform
import resource

from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from . import AI_detection
from .AI_detection import cleanup_memory, predict_skin_with_explanation
from .models import Diagnosis


def health(request):
    return HttpResponse("ok")


def memory_status(request):
    with open("/proc/self/statm") as file:
        virtual, resident, *_ = map(int, file.read().split())
    page, total = resource.getpagesize() / 2**20, 512
    return JsonResponse(
        {
            "status": "ok",
            "memory": {
                "rss_mb": resident * page,
                "vms_mb": virtual * page,
                "percent": resident * page / total * 100,
            },
            "model_loaded": AI_detection._loaded_model is not None,
            "python_version": platform.python_version(),
            "gradcam_enabled": AI_detection.ENABLE_GRADCAM,
        }
    )


@csrf_exempt
@require_POST
def upload(request):
    try:
        results, heatmap = predict_skin_with_explanation(image_bytes(request))
        stored = Diagnosis.objects.create(results=results, heatmap=heatmap)
    except Exception as error:
        return JsonResponse({"error": str(error)}, status=400)
    finally:
        cleanup_memory()
    return redirect("result", stored.pk)


def image_bytes(request):
    if "image" in request.FILES:
        return request.FILES["image"].read()
    _, _, encoded = request.POST["image"].partition(";base64,")
    return base64.b64decode(encoded)


def result(request, number):
    return render(request, "Dermal/result.html", {"it": get_object_or_404(Diagnosis, pk=number)})
