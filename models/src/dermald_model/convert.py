"""The subcommand `convert`: from a model file of any framework to a bundle."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dermald_model import labels, manifest
from dermald_model.manifest import Label
from dermald_model.preprocessing import HELP, PIXELS, Pixels
from dermald_model.refusal import Refusal
from dermald_model.sources.source import LAST_CONV, LAST_MAP, Source, Wish

if TYPE_CHECKING:
    from rich.console import Console

    from dermald_model.conversion import Built


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the subcommand."""
    parser = commands.add_parser(
        "convert",
        help="turn a .keras, .h5, .tflite or .onnx file into a bundle",
        description="Turns a classifier into a bundle that dermald serves, with Grad-CAM computed "
        "by the graph itself. What the file does not tell is asked for by the name of its flag.",
    )
    add = parser.add_argument
    add("model", type=Path, help="the file: .keras, .h5, .tflite or .onnx")
    add("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to make")
    add("--force", action="store_true", help="overwrite a bundle that is there")
    add("--labels", metavar="LIST", help=f"the classes in output order: {labels.FORMS}")
    add("--pixels", choices=PIXELS, help=HELP)
    add(
        "--layer",
        default=LAST_CONV,
        metavar="NAME",
        help="the layer that Grad-CAM looks at: "
        f"{LAST_CONV} (default: the last convolution, before its norm and activation), "
        f"{LAST_MAP} (the last tensor with height and width), or a layer's name",
    )
    add(
        "--score",
        choices=manifest.CHOICES["score"],
        default="softmax",
        help="what is differentiated: the class's probability (default) or its logit",
    )
    add("--method", choices=manifest.CHOICES["method"], default="gradcam")
    add("--no-gradcam", action="store_true", help="leave Grad-CAM out")
    add("--input-size", type=_size, metavar="SIDE|HxW", help="another input size, such as 224")
    add("--open-batch", action="store_true", help="take several pictures a run (dermald sends one)")
    add("--output", metavar="NAME", help="which output has the classes (.onnx with several)")
    add("--custom", type=Path, metavar="FILE.py", help="defines layers of your own (.keras, .h5)")
    add(
        "--resize",
        choices=manifest.CHOICES["resize"],
        default="lanczos",
        help="how photos were resized for the training (default: lanczos)",
    )
    add(
        "--fit",
        choices=manifest.CHOICES["fit"],
        default="stretch",
        help="what happened to photos of another aspect ratio (default: stretch)",
    )
    add("--name", help="the model's name (default: the file's)")
    add("--version", default="1.0.0")
    add("--description", default="", help="one sentence for people")
    add("--licence", default="not stated", help="under which the weights may be used")
    add("--notice", default="", help="shown with every answer, such as 'This is no diagnosis.'")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Converts; returns the exit code. Fails with Refusal."""
    from rich.console import Console

    from dermald_model import bundle
    from dermald_model.conversion import build, compare
    from dermald_model.sources import read

    console = Console(stderr=True)
    with console.status(f"reading {arguments.model}") as status:
        wish = Wish(
            None if arguments.no_gradcam else arguments.layer,
            arguments.input_size,
            arguments.open_batch,
            arguments.output,
            arguments.custom,
        )
        source = read(arguments.model, wish)
        pixels = _pixels(arguments, source)
        status.update("writing Grad-CAM into the graph")
        built = build(source, pixels, arguments.score, arguments.method)
        status.update("trying it against the original")
        difference = compare(built, source)
        names = _labels(arguments, built.classes)
        status.update(f"writing {arguments.out}")
        with bundle.new(arguments.out, arguments.force) as folder:
            description = describe(arguments, source, pixels, built, names)
            bundle.write(folder, built.model, description)
    _tell(console, arguments, source, built, difference)
    return 0


def describe(
    arguments: argparse.Namespace,
    source: Source,
    pixels: Pixels,
    built: "Built",
    names: tuple[Label, ...],
) -> manifest.Manifest:
    """The manifest, without the hashes of files that are not written yet."""
    return manifest.Manifest(
        name=arguments.name or arguments.model.stem,
        version=arguments.version,
        description=arguments.description,
        origin=f"Converted from {arguments.model.name} ({source.kind}) by dermald-model.",
        licence=arguments.licence,
        notice={"en": arguments.notice} if arguments.notice else {},
        files={},
        input=manifest.Input(
            source.input,
            source.width,
            source.height,
            layout=source.layout,
            resize=arguments.resize,
            fit=arguments.fit,
            scale=pixels.scale,
            mean=pixels.mean,
            std=pixels.std,
        ),
        output=manifest.Output(built.output, built.activation),
        gradcam=built.gradcam,
        labels=names,
    )


def _pixels(arguments: argparse.Namespace, source: Source) -> Pixels:
    if arguments.pixels:
        return PIXELS[arguments.pixels]
    if source.scaling:
        return PIXELS["0..255"]
    raise Refusal(
        "the file does not tell how pixels are scaled before they reach the network; say so with "
        f"--pixels ({', '.join(PIXELS)})"
    )


def _labels(arguments: argparse.Namespace, classes: int) -> tuple[Label, ...]:
    if not arguments.labels:
        raise Refusal(
            f"the network has {classes} outputs without names; give them in output order with "
            f"--labels ({labels.FORMS})"
        )
    names = labels.read(arguments.labels)
    if len(names) != classes:
        listed = ", ".join(label.name for label in names)
        raise Refusal(f"there are {len(names)} labels ({listed}), but {classes} outputs")
    return names


def _size(text: str) -> tuple[int, int]:
    """`224`, or `height x width`."""
    sides = text.lower().split("x")
    try:
        numbers = [int(side) for side in sides]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(8 <= side <= 4096 for side in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected 224 or 224x320")
    return numbers[0], numbers[-1]


def _tell(
    console: "Console",
    arguments: argparse.Namespace,
    source: Source,
    built: "Built",
    difference: float | None,
) -> None:
    from dermald_model import bundle
    from dermald_model.simplify import parameters

    lines = [f"[bold]{arguments.out}[/] made from a {source.kind}", *source.notes]
    if source.scaling and arguments.pixels in (None, "0..255"):
        lines.append(f"pixels go in as 0..255: layer {source.scaling!r} scales them")
    elif source.scaling:
        lines.append(
            f"[yellow]layer {source.scaling!r} scales pixels inside the network, and --pixels "
            "scales them before it: make sure that the training did so too[/]"
        )
    if built.gradcam:
        lines.append(
            f"{built.gradcam.method} of layer {built.gradcam.layer!r}, {built.gradcam.score} score"
        )
    lines.append(
        f"{parameters(built.model) / 1e6:.1f} million parameters, "
        f"{bundle.size_bytes(arguments.out) / 1e6:.1f} MB, {len(built.model.graph.node)} nodes"
    )
    if difference is not None:
        lines.append(f"largest difference from the original: {difference:.1e}")
    for line in lines:
        console.print(line, highlight=False)
