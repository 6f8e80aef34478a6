"""The demonstration network in Keras and how it is trained; it knows nothing of ONNX or files.

Importing this module imports TensorFlow.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# TensorFlow reads this when it is imported: warnings and errors only.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from dermald_model.demo_graph import BatchNorm, Conv, Network

# What goes in (pictures, wanted classes) and what shall come out (wanted classes, wanted cells).
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
Batch = tuple[Pair, Pair]

# Filters, kernel and stride of each convolution. Three strides of 2 take 128 pixels to a 16 x 16
# map; their kernels are 4 wide, because a kernel of 3 with a stride of 2 looks half a pixel off
# its cell's centre, which adds up to half a cell. One cell sees 50 pixels: less would show it only
# the inside of a large dark spot, which looks like dark skin.
LAYERS = ((16, 4, 2), (16, 3, 1), (32, 4, 2), (32, 3, 1), (64, 4, 2), (64, 3, 1), (64, 1, 1))

# Trained on labels alone, the network answered to edges, from just outside the lesion as readily
# as from inside: the hottest point was in the mask for 86 % of the pictures. So the loss also asks
# for heat inside. The weight is small, and the division makes many cells count, not only one.
_INSIDE_WEIGHT = 0.3
_SOFTENING = 8.0


@dataclass(frozen=True)
class Lessons:
    """Training pictures and what is known of them.

    `pixels` is uint8 [count, size, size, 3]. `cells` is true for those cells of the feature map,
    [count, rows, columns], where heat is welcome: in the lesion, or anywhere on clear skin.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    cells: NDArray[np.bool_]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train."""

    seed: int
    epochs: int
    batch: int = 32
    rate: float = 3e-3


def build(size: int, classes: int) -> Any:
    """The untrained network, for pixels in 0..255 and the wanted class as a unit vector.

    Its outputs are the probabilities and, for the wanted class, each cell's share of the heat.
    """
    image = keras.Input((size, size, 3), name="image")
    wanted = keras.Input((classes,), name="wanted")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(image)
    for number, (filters, kernel, stride) in enumerate(LAYERS, 1):
        x = keras.layers.Conv2D(
            filters, kernel, stride, padding="same", use_bias=False, name=f"conv_{number}"
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.95, name=f"norm_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    dense = keras.layers.Dense(classes, name="classes")
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    logits = dense(keras.layers.Dropout(0.2, name="dropout")(pooled))
    probabilities = keras.layers.Softmax(name="probabilities")(logits)
    # The closed form of Grad-CAM, as in the module gradcam: the bias is the same for all cells.
    others = keras.ops.stop_gradient((1 - wanted) * probabilities)
    direction = wanted - others / (keras.ops.sum(others, -1, keepdims=True) + 1e-9)
    heat = keras.ops.sum(dense(x) * direction[:, None, None, :], -1)
    shares = keras.ops.softmax(keras.layers.Flatten()(heat) / _SOFTENING, -1)
    return keras.Model([image, wanted], [probabilities, shares])


def train(lessons: Lessons, plan: Plan) -> Any:
    """The trained network. The same lessons, plan, versions and kind of CPU give the same one."""
    keras.utils.set_random_seed(plan.seed)
    tf.config.experimental.enable_op_determinism()
    model = build(lessons.pixels.shape[1], int(lessons.labels.max()) + 1)
    steps = len(lessons.pixels) // plan.batch
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, plan.epochs * steps, warmup_target=plan.rate, warmup_steps=steps
    )
    # A little smoothing keeps probabilities away from 1, where the tape's heatmaps lose digits.
    labelled = keras.losses.CategoricalCrossentropy(label_smoothing=0.05)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-3),
        [labelled, _outside],
        loss_weights=[1.0, _INSIDE_WEIGHT],
        metrics=[["accuracy"], []],
    )
    model.fit(_batches(lessons, plan), epochs=plan.epochs, steps_per_epoch=steps, verbose=1)
    return model


def _outside(cells: Any, shares: Any) -> Any:
    """0 when all heat is in the wanted cells, and the more the less of it is."""
    return -keras.ops.log(keras.ops.sum(cells * shares, -1) + 1e-6)


def weights(model: Any) -> Network:
    """The trained weights as plain arrays."""
    convs = []
    for number, (_, _, stride) in enumerate(LAYERS, 1):
        norm = model.get_layer(f"norm_{number}")
        gamma, beta, mean, variance = (np.asarray(w) for w in norm.get_weights())
        values = BatchNorm(gamma, beta, mean, variance, float(norm.epsilon))
        kernel = np.asarray(model.get_layer(f"conv_{number}").get_weights()[0])
        convs.append(Conv(kernel, stride, values))
    dense, bias = model.get_layer("classes").get_weights()
    return Network(model.input_shape[0][1], convs, np.asarray(dense), np.asarray(bias))


def _batches(lessons: Lessons, plan: Plan) -> Iterator[Batch]:
    """Endless shuffled batches, varied anew each time."""
    rng = np.random.default_rng(plan.seed)
    unit = np.eye(int(lessons.labels.max()) + 1, dtype=np.float32)
    while True:
        order = rng.permutation(len(lessons.pixels))
        for start in range(0, len(order) - plan.batch + 1, plan.batch):
            chosen = order[start : start + plan.batch]
            wanted = unit[lessons.labels[chosen]]
            pictures = lessons.pixels[chosen].astype(np.float32)
            cells = lessons.cells[chosen].astype(np.float32)
            _turn(rng, pictures, cells)
            _cover(rng, pictures)
            yield (_relight(rng, pictures), wanted), (wanted, cells.reshape(len(cells), -1))


def _turn(
    rng: np.random.Generator, pictures: NDArray[np.float32], cells: NDArray[np.float32]
) -> None:
    """Turns pictures over, in place, and their cells with them."""
    for number in range(len(pictures)):
        upside_down, mirrored, across = rng.random(3) < 0.5
        for grid in (pictures[number], cells[number]):
            turned = grid[::-1] if upside_down else grid
            turned = turned[:, ::-1] if mirrored else turned
            grid[...] = (turned.swapaxes(0, 1) if across else turned).copy()


def _cover(rng: np.random.Generator, pictures: NDArray[np.float32]) -> None:
    """Covers small patches, in place, so that the network must not rest on a single detail.

    They hide lesions and skin alike and are small beside a lesion, which stays recognisable.
    """
    side = pictures.shape[1]
    for picture in pictures:
        mean = picture.mean((0, 1))
        for _ in range(int(rng.integers(0, 4))):
            y, x = rng.integers(0, side, 2)
            tall, wide = rng.integers(4, 14, 2)
            picture[y : y + tall, x : x + wide] = mean + rng.normal(0, 12, 3)


def _relight(rng: np.random.Generator, pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """The pictures with other brightness, contrast and colour."""
    count = len(pictures)
    gain = rng.normal(1, 0.08, (count, 1, 1, 1)) * rng.normal(1, 0.03, (count, 1, 1, 3))
    contrast = rng.uniform(0.85, 1.15, (count, 1, 1, 1))
    middle = pictures.mean((1, 2, 3), keepdims=True)
    lit = ((pictures - middle) * contrast + middle) * gain
    varied: NDArray[np.float32] = np.clip(lit, 0, 255).astype(np.float32)
    return varied
