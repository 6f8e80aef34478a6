"""Draws what the box recorded: memory over time by process, with answers and renewals.

    python tests/bench/memory_plot.py box.json box.png

Needs matplotlib, which the environment of the model tooling has.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

WIDTH_INCHES = 11.0
HEIGHT_INCHES = 2.6
COLOURS = {"site": "#4c78a8", "daemon": "#f58518"}


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    recorded = json.loads(source.read_text(encoding="utf-8"))
    stays = recorded["stays"]
    figure, axes = pyplot.subplots(
        len(stays),
        1,
        figsize=(WIDTH_INCHES, HEIGHT_INCHES * len(stays)),
        squeeze=False,
        layout="constrained",
    )
    for axis, stay in zip(axes[:, 0], stays, strict=True):
        draw(axis, stay, recorded["limits"]["memory_mib"])
    axes[-1, 0].set_xlabel("seconds since the start command")
    figure.savefig(target, dpi=110)


def draw(axis: Any, stay: dict[str, Any], limit: float) -> None:
    samples = stay["samples"]
    at = [sample["at"] for sample in samples]
    names = sorted({name for sample in samples for name in sample["by_name"]}, reverse=True)
    heights = [[of(sample, name, "pss") for sample in samples] for name in names]
    colours = [COLOURS.get(name, "#999999") for name in names]
    axis.stackplot(at, heights, labels=[f"{name}, PSS" for name in names], colors=colours)
    anonymous = [sum(of(sample, name, "anonymous") for name in names) for sample in samples]
    axis.plot(at, anonymous, color="black", linewidth=0.8, label="anonymous in all")
    axis.axhline(limit, color="#b00020", linestyle="--", linewidth=0.8)
    mark(axis, stay)
    axis.set_ylim(0, limit * 1.08)
    axis.set_xlim(0, at[-1])
    axis.set_ylabel("MB")
    # The whole story of what failed is in the report.
    fate = (stay["fate"] or "").partition(":")[0]
    axis.set_title(f"{stay['title']}: {fate}" if fate else stay["title"], loc="left")
    axis.legend(loc="upper right", fontsize=8, ncols=4)


def mark(axis: Any, stay: dict[str, Any]) -> None:
    """Answers as ticks beneath, renewals as lines; what the daemon does not tell is said."""
    axis.plot(stay["answered"], [0] * len(stay["answered"]), "|", color="black", markersize=9)
    if stay["healthy"] is not None:
        axis.axvline(stay["healthy"], color="#54a24b", linewidth=0.8, label="healthy")
    for number, moment in enumerate(stay["renewals"] or []):
        axis.axvline(moment, color="#b279a2", label="renewed" if number == 0 else None)
    if stay["renewals"] is None and any("daemon" in one["by_name"] for one in stay["samples"]):
        text = "this daemon does not tell of renewals"
        axis.text(0.01, 0.8, text, transform=axis.transAxes, fontsize=8)


def of(sample: dict[str, Any], name: str, figure: str) -> float:
    return float(sample["by_name"].get(name, {}).get(figure, 0.0))


if __name__ == "__main__":
    main()
