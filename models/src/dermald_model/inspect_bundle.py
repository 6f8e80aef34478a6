"""The subcommand `inspect`: what a bundle is, in a table."""

import argparse
from pathlib import Path


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declares the subcommand."""
    parser = commands.add_parser("inspect", help="show what a bundle holds")
    parser.add_argument("bundle", type=Path)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints the table; the exit code is 1 when a file is not the one that the manifest names."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(show_header=False, title=str(arguments.bundle))
    for row in rows(arguments.bundle):
        table.add_row(*row)
    console.print(table)
    wrong = damaged(arguments.bundle)
    for name in wrong:
        console.print(f"[red]{name} is not the file that the manifest was written for[/]")
    return 1 if wrong else 0


def rows(folder: Path) -> list[tuple[str, str]]:
    """What is told, line by line. Fails with Refusal when there is no sound manifest or graph."""
    import onnx

    from dermald_model import bundle, manifest, selftest
    from dermald_model.simplify import parameters

    found = manifest.read(folder)
    model = onnx.load(folder / bundle.GRAPH, load_external_data=False)
    takes = found.input
    sizes = ", ".join(f"{name} {(folder / name).stat().st_size:,}" for name in found.files)
    explained = "none"
    if found.gradcam:
        gradcam = found.gradcam
        explained = f"{gradcam.method} of {gradcam.layer}, {gradcam.score} score"
    return [
        ("name", f"{found.name} {found.version}"),
        ("description", found.description),
        ("origin", found.origin),
        ("licence", found.licence),
        ("precision", found.precision),
        ("input", f"{takes.width} x {takes.height}, {takes.layout}, {takes.resize}, {takes.fit}"),
        ("pixels", f"(pixel * {takes.scale:g} - {list(takes.mean)}) / {list(takes.std)}"),
        ("output", f"{len(found.labels)} classes, {found.output.activation}"),
        ("labels", ", ".join(label.name for label in found.labels)),
        ("Grad-CAM", explained),
        (
            "graph",
            f"{len(model.graph.node)} nodes, {parameters(model) / 1e6:.2f} M parameters, "
            f"opset {model.opset_import[0].version}",
        ),
        ("self-test", f"{len(selftest.read(folder))} pictures"),
        ("files, bytes", sizes),
    ]


def damaged(folder: Path) -> list[str]:
    """The files whose hash is not the manifest's."""
    from dermald_model import manifest

    files = manifest.read(folder).files
    return [name for name, digest in files.items() if manifest.sha256(folder / name) != digest]
