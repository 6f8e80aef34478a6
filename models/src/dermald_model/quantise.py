"""The subcommand `quantise`: a smaller bundle that still agrees with the one it came from."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dermald_model import manifest
from dermald_model.refusal import Refusal

if TYPE_CHECKING:
    import onnx
    from rich.console import Console

    from dermald_model.agreement import Agreement

_METHODS = ("minmax", "percentile", "entropy")
# Photos: at least so many to calibrate with and to check with, at most so many to calibrate with.
_FEWEST, _FEWEST_CHECKED, _MOST = 16, 8, 128
# Every so many photos of the calibration folder are held back when no others are given.
_HELD_BACK = 4

_T = TypeVar("_T")


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the subcommand."""
    parser = commands.add_parser(
        "quantise",
        help="make a smaller bundle: int8 to be faster, float16 to travel",
        description="Makes an int8 bundle (faster, smaller in memory) or a float16 bundle (half "
        "the size on its way; `dermald prepare` widens it). It is held against the bundle that it "
        "came from on photos that were not used to make it, and not written below an agreement.",
    )
    add = parser.add_argument
    add("bundle", type=Path, help="the float32 bundle")
    add("--to", choices=("int8", "float16"), required=True)
    add("--out", type=Path, required=True, metavar="BUNDLE", help="the folder to make")
    add("--force", action="store_true", help="overwrite a bundle that is there")
    add(
        "--calibrate",
        type=Path,
        metavar="FOLDER",
        help="photos like those that will be asked about (int8; 64 to 128 are enough)",
    )
    add(
        "--check",
        type=Path,
        metavar="FOLDER",
        help="photos to hold both bundles against each other with, none of them calibrated with "
        f"(default: one in {_HELD_BACK} of --calibrate is held back)",
    )
    add(
        "--calibration",
        choices=_METHODS,
        default=_METHODS[0],
        help="how far the range of a tensor reaches: to the extremes (default), to what nearly all "
        "values stay within, or to where least information is lost",
    )
    spend = parser.add_mutually_exclusive_group()
    spend.add_argument(
        "--time",
        type=_share,
        default=0.57,
        metavar="SHARE",
        help="int8 may take this share of float32's time; what is gained beyond that is spent on "
        "leaving the most sensitive convolutions in float (default: 0.57)",
    )
    spend.add_argument(
        "--leave",
        type=_count,
        metavar="COUNT",
        help="leave so many of the most sensitive convolutions in float, whatever that takes; "
        "which ones does then not depend on how fast this machine is",
    )
    add(
        "--portable",
        action="store_true",
        help="weights of seven bits, exact also on CPUs without VNNI (int8; less faithful)",
    )
    add(
        "--agreement",
        type=_share,
        default=0.98,
        metavar="SHARE",
        help="of the photos must have the same most probable class (default: 0.98)",
    )
    add(
        "--change",
        type=_share,
        default=0.1,
        metavar="CHANGE",
        help="no probability may change more than this, in 95 of 100 photos (default: 0.1)",
    )
    add(
        "--write-anyway",
        action="store_true",
        help="write the bundle also below --agreement or above --change",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Quantises, compares, writes; returns the exit code. Fails with Refusal."""
    from rich.console import Console

    from dermald_model import bundle, gate, selftest

    console = Console(stderr=True)
    description = _described(arguments)
    photos = _photos(arguments)
    if arguments.to == "int8":
        model, told = _to_int8(arguments, description, photos.calibrate, console)
        tolerances = selftest.INT8_TOLERANCES
    else:
        model, told = _to_float16(arguments)
        tolerances = selftest.FLOAT_TOLERANCES
    described = replace(
        description, precision=arguments.to, origin=f"{description.origin} {told}".strip()
    )
    with bundle.new(arguments.out, arguments.force) as folder:
        bundle.write(folder, model, described, tolerances)
        verdict = gate.compare(arguments.bundle, folder, photos.check, console)
        console.print(told, highlight=False)
        console.print(verdict.table(arguments.to))
        _judge(arguments, verdict.agreement, console)
        if arguments.to == "int8" and verdict.milliseconds[1] > verdict.milliseconds[0]:
            console.print("[yellow]int8 is not faster on this machine, only smaller[/]")
    console.print(f"[bold]{arguments.out}[/] written", highlight=False)
    return 0


@dataclass(frozen=True)
class Photos:
    """Files to calibrate with, and others to check with; without files, drawn pictures."""

    calibrate: list[Path]
    check: list[Path]


def _described(arguments: argparse.Namespace) -> manifest.Manifest:
    try:
        description = manifest.read(arguments.bundle)
    except OSError as error:
        reason = error.strerror or error
        raise Refusal(f"{arguments.bundle} cannot be read as a bundle: {reason}") from error
    if description.precision in ("int8", arguments.to):
        raise Refusal(
            f"{arguments.bundle} is {description.precision} already; start from the bundle that it "
            "was made from"
        )
    if arguments.out.exists() and not arguments.force:
        # Also checked when writing; minutes of work would be lost by then.
        raise Refusal(f"{arguments.out} exists; choose another folder or overwrite it with --force")
    return description


def _photos(arguments: argparse.Namespace) -> Photos:
    from dermald_model import photos

    if arguments.calibrate is None and arguments.to == "int8":
        raise Refusal(
            "int8 needs photos like those that will be asked about; name their folder with "
            "--calibrate"
        )
    found = photos.find(arguments.calibrate) if arguments.calibrate else []
    if arguments.check is not None:
        check = photos.find(arguments.check)
        same = {path.resolve() for path in found} & {path.resolve() for path in check}
        if same and arguments.to == "int8":
            raise Refusal(f"{min(same)} is in both --calibrate and --check; that proves nothing")
    else:
        check = found[_HELD_BACK - 1 :: _HELD_BACK]
        found = [path for path in found if path not in set(check)]
    needed = ((found, _FEWEST, "calibrate with"), (check, _FEWEST_CHECKED, "check with"))
    for files, fewest, purpose in needed:
        if len(files) < fewest and arguments.to == "int8":
            raise Refusal(f"{len(files)} photos are too few to {purpose}; at least {fewest}")
    if len(found) > _MOST:
        found = [found[number * len(found) // _MOST] for number in range(_MOST)]
    return Photos(found, check)


def _judge(arguments: argparse.Namespace, found: "Agreement", console: "Console") -> None:
    from dermald_model import gate

    failed = gate.failed(found, arguments.agreement, arguments.change)
    if failed and not arguments.write_anyway:
        raise Refusal(
            f"nothing is written: {' and '.join(failed)}; calibrate with more and more varied "
            "photos, allow more --time, or insist with --write-anyway"
        )
    for sentence in failed:
        console.print(f"[yellow]written although {sentence}[/]", highlight=False)
    if not failed and found.interval[0] < arguments.agreement:
        console.print(
            f"[yellow]{found.photos} photos only show that at least {found.interval[0]:.1%} agree; "
            "--check with more shows more[/]",
            highlight=False,
        )


def _to_float16(arguments: argparse.Namespace) -> tuple["onnx.ModelProto", str]:
    from dermald_model import bundle, float16

    model, stayed = float16.narrowed(bundle.load_model(arguments.bundle))
    told = "Weights stored as float16."
    if stayed:
        told = f"Weights stored as float16, but {', '.join(stayed)} would lose too much."
    return model, told


def _to_int8(
    arguments: argparse.Namespace,
    description: manifest.Manifest,
    files: list[Path],
    console: "Console",
) -> tuple["onnx.ModelProto", str]:
    from dermald_model import bundle, float16, int8, photos, quantisation

    model = bundle.load_model(arguments.bundle)
    if description.precision == "float16":
        model = float16.widened(model)

    def track(things: Sequence[_T], what: str) -> Iterable[_T]:
        from rich.progress import track

        return track(things, what, console=console)

    pictures = [
        bundle.to_tensor(photos.load(file), description.input)
        for file in track(files, "reading photos")
    ]
    largest = int8.PORTABLE if arguments.portable else int8.FULL
    wish = quantisation.Wish(arguments.calibration, largest, arguments.time, arguments.leave)
    made = quantisation.to_int8(model, description, pictures, wish, track)
    return made.model, made.told


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; expected one such as 0.98")
    return share


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no count; expected one such as 12")
    return int(text)
