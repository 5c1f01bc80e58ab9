"""The measurements in one picture: a step's time over plain's, and adaptlr's own time as layers grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Details = Mapping[str, Mapping[str, Mapping[str, Any]]]
_COLOURS = ("#1b6ca8", "#0b3c5d", "#e08e45", "#b5562a", "#888888")


def draw(details: Details, sweep: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Left: by model and method, the ratio of medians with the quartiles of a round's ratio. Right: the sweep of widths."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    methods = [m for m in next(iter(details.values())) if m != "plain"]
    for k, method in enumerate(methods):
        at = [i + 0.15 * (k - (len(methods) - 1) / 2) for i in range(len(details))]
        ratios = [d[method]["ratio"] for d in details.values()]
        quartiles = [d[method]["round_ratio_quartiles"] for d in details.values()]
        left.vlines(at, [q[0] for q in quartiles], [q[1] for q in quartiles], color=_COLOURS[k], linewidth=2, alpha=0.5)
        left.plot(at, ratios, "o", color=_COLOURS[k], label=method)
    left.axhline(1, color="black", linewidth=0.8)
    left.set_yscale("log")
    ticks = [1, 1.05, 1.1, 1.2, 1.5, 2, 3]
    left.set_yticks(ticks, [f"{t:g}" for t in ticks])
    left.minorticks_off()
    left.set_ylim(bottom=0.97)
    left.set_xticks(range(len(details)), list(details), fontsize=8)
    left.set_ylabel("time of a step / plain (median; line: quartiles)")
    left.legend(fontsize=8)
    widths = [row["width"] for row in sweep]
    right.plot(widths, [row["step_ms"] for row in sweep], "o-", color="#888888", label="the whole step")
    right.plot(widths, [row["own_ms"] for row in sweep], "o-", color=_COLOURS[1], label="of it, adaptlr")
    right.fill_between(
        widths,
        [row["own_quartiles_ms"][0] for row in sweep],
        [row["own_quartiles_ms"][1] for row in sweep],
        color=_COLOURS[1],
        alpha=0.2,
    )
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_xticks(widths, [str(w) for w in widths])
    right.set_xlabel("width of a three-layer net")
    right.set_ylabel("ms a step")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=110)
