"""The subcommand `reference`: a model file of the first site's architecture, without its training.

EfficientNetV2-S at 300 x 300, nested in a `Sequential` behind augmentation, seven classes. The
weights are random but seeded; the batch norms hold the statistics of coloured patterns and the head
is scaled, so that its answers differ from picture to picture as a trained network's do. It costs
what the site's model costs, and whoever measures needs nobody's photos. Its answers mean nothing.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABELS = (
    "Acne and Rosacea Photos",
    "Eczema Photos",
    "Heathy",
    "Psoriasis pictures Lichen Planus and related diseases",
    "Scabies Lyme Disease and other Infestations and Bites",
    "Seborrheic Keratoses and other Benign Tumors",
    "Warts Molluscum and other Viral Infections",
)
SIDE = 300
SEED = 7
# Side in pixels and strength in levels.
_SQUARES = ((75, 40), (25, 40), (5, 40), (1, 20))
# Pictures whose statistics the batch norms take over, and the spread of the logits.
_PICTURES = 16
_SPREAD = 0.3
# How much a block adds to what it was given. With as much as it was given, as random weights would
# have it, the network doubles every rounding error many times over; training makes it less.
_BRANCH = 0.1


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the subcommand."""
    parser = commands.add_parser(
        "reference", help="write an untrained model file of the first site's architecture"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.keras")
    parser.add_argument("--labels", type=Path, metavar="FILE.txt", help="also write its labels")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Builds and saves the network; returns the exit code."""
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("building EfficientNetV2-S"):
        network = build()
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        network.save(arguments.out)
    if arguments.labels:
        arguments.labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    megabytes = arguments.out.stat().st_size / 1e6
    console.print(f"[bold]{arguments.out}[/]: {network.count_params():,} parameters, ", end="")
    console.print(f"{megabytes:.1f} MB", highlight=False)
    return 0


def build() -> Any:
    """The network, `Sequential` with the backbone as one of its layers."""
    from dermald_model.sources import keras_file  # noqa: F401 - silences TensorFlow

    import keras  # isort: skip

    keras.utils.set_random_seed(SEED)
    backbone = keras.applications.EfficientNetV2S(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)
    )
    head = keras.layers.Dense(len(LABELS), activation="softmax", name="predictions")
    network = keras.Sequential(
        [
            keras.layers.Input((SIDE, SIDE, 3)),
            keras.layers.RandomFlip("horizontal", name="flip"),
            keras.layers.RandomRotation(0.1, name="rotate"),
            backbone,
            keras.layers.GlobalAveragePooling2D(name="pool"),
            keras.layers.Dropout(0.3, name="drop"),
            head,
        ],
        name="dermatology",
    )
    settle(backbone, pictures())
    _spread(backbone, head)
    return network


def pictures(count: int = _PICTURES, seed: int = SEED) -> NDArray[np.float32]:
    """Squares of random colours at four scales, float32 [count, height, width, 3] in 0..255.

    A network that was never trained tells these apart; skin is too much alike for it, and its
    answers would be differences of nearly equal numbers.
    """
    drawn = np.full((count, SIDE, SIDE, 3), 127.5)
    for number, picture in enumerate(drawn):
        rng = np.random.default_rng([seed, number])
        for square, strength in _SQUARES:
            cells = -(-SIDE // square)
            colours = rng.uniform(-strength, strength, (cells, cells, 3))
            picture += np.kron(colours, np.ones((square, square, 1)))[:SIDE, :SIDE]
    rounded: NDArray[np.float32] = np.clip(drawn, 0, 255).round().astype(np.float32)
    return rounded


def settle(network: Any, batch: NDArray[np.float32], branch: float = _BRANCH) -> None:
    """Makes a random network compute as steadily as a trained one.

    Every batch norm gets the mean and variance of what reaches it. Residual branches become small.
    Kernels lose their mean (weight standardisation, Qiao et al. 2019): otherwise what all pictures
    have in common outweighs what tells them apart, and the norms magnify its rounding errors.
    """
    for layer in network.layers:
        if type(layer).__name__ == "Conv2D":
            kernel, *bias = layer.get_weights()
            layer.set_weights([kernel - kernel.mean((0, 1, 2)), *bias])
    norms = [layer for layer in network.layers if type(layer).__name__ == "BatchNormalization"]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        if any(type(reader).__name__ == "Add" for reader in _readers(norm)):
            norm.gamma.assign(norm.gamma * branch)
    network(batch, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _readers(layer: Any) -> list[Any]:
    """The layers that take a layer's output, dropout passed over."""
    readers = []
    for link in layer._outbound_nodes:
        reader = link.operation
        is_dropout = type(reader).__name__ == "Dropout"
        readers += _readers(reader) if is_dropout else [reader]
    return readers


def _spread(backbone: Any, head: Any) -> None:
    """Scales and shifts the head until the logits of the pictures have one mean and spread."""
    features = np.asarray(backbone(pictures(), training=False)).mean((1, 2))
    kernel, bias = head.get_weights()
    logits = features @ kernel
    kernel *= _SPREAD / logits.std(0)
    head.set_weights([kernel, bias - (features @ kernel).mean(0)])
