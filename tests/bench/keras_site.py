"""What gunicorn loads for the baseline: a Django site whose worker runs TensorFlow itself.

As sites and tutorials do it: the model file is loaded at the first upload, Grad-CAM is a gradient
tape around the whole network, run eagerly. Without $ENABLE_GRADCAM it is `model.predict` alone.
Knows nothing of dermald. Needs Django, TensorFlow, Keras, matplotlib and Pillow; the model file is
$KERAS_MODEL.
"""

from __future__ import annotations

import base64
import functools
import io
import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from django.conf import settings
from django.core.management.utils import get_random_secret_key
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import path
from matplotlib import colormaps
from PIL import Image

EXPLAINS = os.environ.get("ENABLE_GRADCAM", "true").lower() in ("true", "1", "yes")
LAST_CONVOLUTION = "top_conv"
OVERLAY_SHARE = 0.4

PAGE = """<!doctype html><form method="post" enctype="multipart/form-data">{% csrf_token %}
<input type="file" name="image"><button>Classify</button></form>
{% for name, probability in classes %}<p>{{ name }}: {{ probability }}</p>{% endfor %}
{% if heatmap %}<img src="data:image/png;base64,{{ heatmap }}">{% endif %}"""


def classify(request: HttpRequest) -> HttpResponse:
    context: dict[str, object] = {}
    if request.method == "POST":
        uploaded: Any = request.FILES["image"]
        probabilities, heatmap = predict(uploaded.read())
        context = {"classes": list(enumerate(probabilities)), "heatmap": heatmap}
    return HttpResponse(engines["django"].from_string(PAGE).render(context, request))


def predict(photo: bytes) -> tuple[list[float], str | None]:
    """Probabilities, and the overlay as base64 of a PNG."""
    network, explainer = load()
    _, height, width, _ = network.input_shape
    small = Image.open(io.BytesIO(photo)).convert("RGB")
    small = small.resize((width, height), Image.Resampling.LANCZOS)
    batch = np.asarray(small, np.float32)[np.newaxis]
    if explainer is None:
        return network.predict(batch, verbose=0)[0].tolist(), None
    with tf.GradientTape() as tape:
        features, probabilities = explainer(batch, training=False)
        score = tf.reduce_max(probabilities[0])
    weights = tf.reduce_mean(tape.gradient(score, features), (0, 1, 2))
    heatmap = np.maximum((features[0] @ weights[:, tf.newaxis])[..., 0].numpy(), 0)
    return probabilities[0].numpy().tolist(), overlay(small, heatmap / max(heatmap.max(), 1e-9))


def overlay(photo: Image.Image, heatmap: Any) -> str:
    grey = Image.fromarray(np.uint8(heatmap * 255)).resize(photo.size, Image.Resampling.BILINEAR)
    coloured = Image.fromarray(np.uint8(colormaps["jet"](np.asarray(grey))[..., :3] * 255))
    file = io.BytesIO()
    Image.blend(photo, coloured, OVERLAY_SHARE).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@functools.cache
def load() -> tuple[Any, Any]:
    """The network, and one that also gives the last convolution's output; at the first use."""
    network = keras.models.load_model(os.environ["KERAS_MODEL"], compile=False)
    if not EXPLAINS:
        return network, None
    layers = list(network.layers)
    place, backbone = next((i, one) for i, one in enumerate(layers) if hasattr(one, "layers"))
    outputs = [backbone.get_layer(LAST_CONVOLUTION).output, backbone.output]
    inner = keras.Model(backbone.inputs, outputs)
    photo = keras.Input(network.input_shape[1:])
    features, rest = inner(functools.reduce(lambda x, layer: layer(x), layers[:place], photo))
    probabilities = functools.reduce(lambda x, layer: layer(x), layers[place + 1 :], rest)
    return network, keras.Model(photo, [features, probabilities])


urlpatterns = [path("", classify)]
settings.configure(
    SECRET_KEY=get_random_secret_key(),
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
    FILE_UPLOAD_MAX_MEMORY_SIZE=16 * 2**20,
)
application = get_wsgi_application()
