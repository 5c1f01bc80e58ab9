"""The f-score fix in one picture: F2 by epoch, the update ratios that explain it, and where every seed ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adaptlr.show.curves import draw_update_ratio
from adaptlr.show.layout import RunFigure, set_steps
from adaptlr.show.marks import mark
from adaptlr.trace import Trace
from experiments.audio_tagging.runs import LABELS, METHODS, fit_of

Row = Mapping[str, Any]

COLOURS = dict(zip(METHODS, ("#d6204e", "#2a6fbb", "#2ca02c", "#8c6d31", "#777777"), strict=True))
COMPARED = METHODS[:4]


def draw_f2(ax: Axes, rows: Sequence[Row]) -> None:
    """F2 on the test clips after each epoch: a thin line a seed, a thick one for their mean."""
    for method in COMPARED:
        curves = [[e["f2"] for e in r["log"]] for r in rows if r["method"] == method]
        for curve in curves:
            ax.plot(range(1, len(curve) + 1), curve, color=COLOURS[method], lw=0.8, alpha=0.5)
        if curves:
            ax.plot(range(1, len(curves[0]) + 1), np.mean(curves, axis=0), color=COLOURS[method], lw=2.5, label=LABELS[method])
    ax.set_title("F2 after each epoch (thin: one seed, thick: their mean)", loc="left", size=10, weight="bold")
    ax.set_xlabel("epoch")
    ax.set_ylabel("F2 on test clips (higher is better)")
    ax.set_ylim(bottom=0)
    ax.grid(alpha=0.25)
    ax.legend(fontsize=8, loc="upper left")


def draw_ends(ax: Axes, rows: Sequence[Row]) -> None:
    """F2 at the end on each test set: a bar for the mean, a dot a seed."""
    sets = list(rows[0]["f2"])
    width = 0.8 / len(COMPARED)
    for i, method in enumerate(COMPARED):
        for j, name in enumerate(sets):
            values = [r["f2"][name] for r in rows if r["method"] == method]
            if not values:
                continue
            at = j + (i - (len(COMPARED) - 1) / 2) * width
            ax.bar(at, np.mean(values), width * 0.9, color=COLOURS[method], label=LABELS[method] if j == 0 else None)
            ax.plot([at] * len(values), values, "o", color="black", ms=3)
            ax.annotate(f"{np.mean(values):.2f}", (at, max(values)), (0, 4), textcoords="offset points", ha="center", size=8)
    ax.set_xticks(range(len(sets)), sets)
    ax.set_ylabel("F2 at the end")
    ax.margins(y=0.12)
    ax.set_title("Where each ended (dot: one seed), by test set", loc="left", size=10, weight="bold")


def picture(out: Path, rows: Sequence[Row]) -> Figure:
    """All fits under ``out``; the update ratios are those of the first seed."""
    figure = RunFigure(figsize=(15, 11), dpi=80)
    sides = {"left": 0.055, "right": 0.83, "top": 0.88, "bottom": 0.06}
    grid = figure.add_gridspec(3, 2, **sides, hspace=0.5, wspace=0.2, height_ratios=[1.3, 1, 1])
    draw_f2(figure.add_subplot(grid[0, 0]), rows)
    draw_ends(figure.add_subplot(grid[0, 1]), rows)
    for i, method in enumerate(("slice", "slice+adaptlr")):
        ax = figure.add_subplot(grid[1 + i, :])
        mine = [r for r in rows if r["method"] == method]
        if not mine:
            continue
        trace = Trace.load(out / fit_of(mine[0]).name / "trace.jsonl")
        draw_update_ratio(ax, trace)
        set_steps(ax, trace)
        rows_of_words = mark(ax, trace, numbers=False, words=True)
        title = f"{LABELS[method]}: size of each update relative to the weights, by parameter group (seed {mine[0]['seed']})"
        ax.set_title(title, loc="left", size=10, weight="bold", pad=8 + 12 * rows_of_words)
        ax.set_xlabel("training step")
        ax.set_ylim(1e-9, 1)
    figure.text(0.055, 0.975, "One argument of fit_one_cycle, and the f-score", size=16, weight="bold", va="top")
    say = (
        "ResNet-18, not pretrained, tags of audio clips from spectrograms. slice(1e-6, 1e-2) leaves the first groups of layers at\n"
        "their random start; 1e-2 for all does not. AdaptLR finds the starved groups and feeds them while the fit runs."
    )
    figure.text(0.055, 0.945, say, size=10.5, va="top", color="#333333")
    return figure
