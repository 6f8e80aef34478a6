import base64
import gc
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

MODEL_PATH = os.environ.get("MODEL_PATH", Path(__file__).parent / "dermatology_stage1.keras")
IMG_SIZE_DEFAULT = 300
ENABLE_GRADCAM = os.environ.get("ENABLE_GRADCAM", "true").lower() in ("true", "1", "yes")
CLASS_NAMES = [
    "Acne and Rosacea Photos",
    "Eczema Photos",
    "Heathy",
    "Psoriasis pictures Lichen Planus and related diseases",
    "Scabies Lyme Disease and other Infestations and Bites",
    "Seborrheic Keratoses and other Benign Tumors",
    "Warts Molluscum and other Viral Infections",
]
_loaded_model = None


def get_model():
    global _loaded_model
    if _loaded_model is None:
        import keras

        _loaded_model = keras.models.load_model(MODEL_PATH, compile=False)
    return _loaded_model


def get_img_size():
    return get_model().input_shape[1] or IMG_SIZE_DEFAULT


def cleanup_memory():
    gc.collect()


def preprocess(image_bytes):
    side = get_img_size()
    image = Image.open(io.BytesIO(image_bytes)).convert("RGB")
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    return image, np.asarray(image, dtype=np.float32)[None]


def rank(shares, top_k):
    order = np.argsort(shares)[::-1][:top_k]
    return [{"class": CLASS_NAMES[i], "probability": float(shares[i] * 100)} for i in order]


def predict_skin_simple(image_bytes, top_k=7):
    _, batch = preprocess(image_bytes)
    return rank(get_model()(batch, training=False).numpy()[0], top_k)


def predict_skin_with_explanation(image_bytes, top_k=7, enable_gradcam=None):
    if enable_gradcam is None:
        enable_gradcam = ENABLE_GRADCAM
    if not enable_gradcam:
        return predict_skin_simple(image_bytes, top_k), None
    image, batch = preprocess(image_bytes)
    shares, heatmap = gradcam(batch)
    return rank(shares, top_k), overlay(image, heatmap)


def steps(model):
    """The layers in the order in which they run; a nested model up to its last convolution, and from
    there."""
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            convolution = [x for x in layer.layers if isinstance(x, keras.layers.Conv2D)][-1]
            yield keras.Model(layer.inputs, convolution.output), "convolution"
            place = layer.layers.index(convolution)
            for later in layer.layers[place + 1 :]:
                yield later, "later"
        else:
            yield layer, "other"


def gradcam(batch):
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value, target = tf.convert_to_tensor(batch), None
        for layer, kind in steps(get_model()):
            if type(layer).__name__ == "InputLayer":
                continue
            value = layer(value, training=False)
            if kind == "convolution":
                target = value
                tape.watch(target)
        top = tf.reduce_max(value[0])
    gradient = tape.gradient(top, target)
    weights = tf.reduce_mean(gradient, axis=(0, 1, 2))
    summed = tf.reduce_sum(target[0] * weights, axis=-1)
    heatmap = tf.nn.relu(summed)
    if tf.reduce_max(heatmap) == 0:
        heatmap = tf.abs(summed)
    return value.numpy()[0], (heatmap / tf.reduce_max(heatmap)).numpy()


def overlay(image, heatmap):
    from matplotlib import colormaps

    small = Image.fromarray(np.uint8(heatmap * 255))
    large = np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))
    coloured = Image.fromarray(np.uint8(colormaps["jet"](large) * 255))
    blended = Image.blend(image.convert("RGBA"), coloured, 0.4)
    out = io.BytesIO()
    blended.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()
