"""The subcommand `verify`: how far a bundle agrees with the model that it came from."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dermald_model.refusal import Refusal

if TYPE_CHECKING:
    from dermald_model.agreement import Agreement, Pair
    from dermald_model.measure import Cost


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the subcommand."""
    parser = commands.add_parser(
        "verify",
        help="hold a bundle against the model that it came from, on photos",
        description="Runs a bundle and another model (a .keras or .h5 file under its gradient "
        "tape, a .tflite or .onnx file, or another bundle) on the same photos, prints how far they "
        "agree and what each costs, and draws a page to look at.",
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--against", type=Path, required=True, metavar="MODEL")
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=200, help="at most so many photos (200)")
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="the page (default: no page). It holds the photos: keep it as you keep them",
    )
    parser.add_argument("--rows", type=int, default=24, help="photos on the page (24)")
    parser.add_argument("--no-cost", action="store_true", help="do not measure time and memory")
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Verdict:
    """Everything that is told, for the table and the page."""

    names: tuple[str, str]
    labels: list[str]
    agreement: "Agreement"
    costs: "tuple[Cost, Cost] | None"
    photos: list[Path]
    pairs: "list[Pair]"


def run(arguments: argparse.Namespace) -> int:
    """Compares; returns the exit code. Fails with Refusal."""
    from rich.console import Console

    verdict = compare(arguments)
    console = Console()
    for table in tables(verdict):
        console.print(table)
    if arguments.html:
        from dermald_model.page import write

        write(arguments.html, verdict, arguments.bundle, arguments.rows)
        console.print(f"drawn: {arguments.html}", highlight=False)
    return 0


def compare(arguments: argparse.Namespace) -> Verdict:
    """Runs both on the photos. Fails with Refusal."""
    from rich.console import Console
    from rich.progress import track

    from dermald_model import manifest, photos
    from dermald_model.agreement import Pair, summarise
    from dermald_model.measure import cost
    from dermald_model.subjects import subject

    files = photos.find(arguments.photos, arguments.count)
    console = Console(stderr=True)
    with console.status("loading both models"):
        theirs = subject(arguments.against, arguments.bundle)
        ours = subject(arguments.bundle, arguments.bundle)
    pairs = []
    for file in track(files, "comparing", console=console):
        photo = photos.load(file)
        pair = Pair(theirs.answer(photo), ours.answer(photo))
        if len(pair.reference.probabilities) != len(pair.candidate.probabilities):
            counts = len(pair.candidate.probabilities), len(pair.reference.probabilities)
            raise Refusal(f"the bundle has {counts[0]} classes, {arguments.against} {counts[1]}")
        pairs.append(pair)
    costs = None
    if not arguments.no_cost:
        with console.status("measuring, each in a process of its own"):
            costs = (
                cost(arguments.against, arguments.bundle, files),
                cost(arguments.bundle, arguments.bundle, files),
            )
    labels = [label.name for label in manifest.read(arguments.bundle).labels]
    return Verdict((theirs.name, ours.name), labels, summarise(pairs), costs, files, pairs)


def agreement_rows(agreement: "Agreement") -> list[tuple[str, str]]:
    """What is said of an agreement, in words and numbers."""
    low, high = agreement.interval
    rows = [
        ("photos", str(agreement.photos)),
        (
            "same most probable class",
            f"{agreement.share:.1%} (95 % interval {low:.1%} to {high:.1%})",
        ),
        (
            "largest change of a probability",
            f"mean {agreement.mean_change:.2g}, 95th percentile {agreement.p95_change:.2g}, "
            f"worst {agreement.worst_change:.2g}",
        ),
    ]
    if agreement.correlation is not None:
        rows.append(("correlation of the heatmaps", f"{agreement.correlation:.4f}"))
    if agreement.overlap is not None:
        rows.append(("overlap of the hottest fifths", f"{agreement.overlap:.1%}"))
    return rows


def cost_rows(costs: "tuple[Cost, Cost]") -> list[tuple[str, str, str]]:
    """What both cost, line by line."""
    first, second = costs
    return [
        ("one picture, ms", f"{first.milliseconds:.0f}", f"{second.milliseconds:.0f}"),
        ("memory, MiB", f"{first.resident_mib:.0f}", f"{second.resident_mib:.0f}"),
        ("of it anonymous, MiB", f"{first.anonymous_mib:.0f}", f"{second.anonymous_mib:.0f}"),
        ("on disk, MB", f"{first.disk_bytes / 1e6:.1f}", f"{second.disk_bytes / 1e6:.1f}"),
    ]


def tables(verdict: Verdict) -> list[Any]:
    """The verdict for a terminal."""
    from rich.table import Table

    agreed = Table("", "agreement", title=f"{verdict.names[1]} against {verdict.names[0]}")
    for row in agreement_rows(verdict.agreement):
        agreed.add_row(*row)
    if verdict.costs is None:
        return [agreed]
    cost = Table("in a Python process of its own", *verdict.names)
    for line in cost_rows(verdict.costs):
        cost.add_row(*line)
    return [agreed, cost]
