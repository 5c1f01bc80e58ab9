"""Pictures: recovered against the learning rate, and columns by learning rate as a heat map. They return what they drew on."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.gauntlet.cells import GRID
from experiments.gauntlet.recovered import Scored

_EMPHASIS = {"adaptlr": ("C3", 3.0), "plain": ("black", 2.0)}
_OTHERS = ("C0", "C1", "C2", "C4", "C5", "C6", "C8", "C9")


def against_lr(cells: Iterable[Scored], ax: Axes) -> Axes:
    """One line a method: recovered at each learning rate of the grid, mean of columns. A tuned lr is a peak, a rescue a plateau."""
    by: dict[str, dict[float, list[float]]] = {}
    for c in cells:
        if c.fault == "none" and c.plan_kind == "grid" and c.lr is not None:
            by.setdefault(c.method, {}).setdefault(c.lr, []).append(c.recovered)
    others, highest = itertools.cycle(_OTHERS), 1.0
    for method, at in sorted(by.items(), key=lambda kv: kv[0] in _EMPHASIS):
        lrs = sorted(at)
        means = [statistics.fmean(at[lr]) for lr in lrs]
        colour, width = _EMPHASIS[method] if method in _EMPHASIS else (next(others), 1.2)
        ax.plot(lrs, means, label=method, color=colour, linewidth=width, marker=".")
        highest = max(highest, *means)
    ax.set_xscale("log")
    ax.set_ylim(-0.05, max(1.15, highest + 0.05))
    ax.axhline(1.0, color="grey", linewidth=0.5)
    ax.set_xlabel("learning rate")
    ax.set_ylabel("recovered (1 = best fixed lr)")
    return ax


def curves(cells: Sequence[Scored]) -> Figure:
    """All columns together, then each by itself."""
    columns = sorted({c.column for c in cells})
    wide = 4
    deep = math.ceil(len(columns) / wide)
    figure = Figure(figsize=(4 * wide, 4.5 + 2.6 * deep), layout="constrained")
    grid = figure.add_gridspec(deep + 1, wide, height_ratios=[1.8, *[1] * deep])
    top = against_lr(cells, figure.add_subplot(grid[0, :]))
    top.set_title("mean of all columns")
    top.legend(loc="lower center", ncols=6, fontsize="small")
    for i, column in enumerate(columns):
        ax = against_lr([c for c in cells if c.column == column], figure.add_subplot(grid[1 + i // wide, i % wide]))
        ax.set_title(column, fontsize="small")
        ax.set_xlabel("")
        ax.set_ylabel("")
    return figure


def heat_map(cells: Sequence[Scored], methods: Sequence[str]) -> Figure:
    """One panel a method: columns by plans, colour is what was recovered; what breaks late stands at the right."""
    columns = sorted({c.column for c in cells})
    places = _places(cells)
    wide = min(3, len(methods))
    deep = math.ceil(len(methods) / wide)
    size = (2.0 + 0.26 * len(places) * wide, deep * (1.4 + 0.2 * len(columns)))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(deep, wide, squeeze=False, sharey=True, sharex=True)
    image = None
    for ax, method in zip(axes.flat, methods, strict=False):
        values = np.full((len(columns), len(places)), np.nan)
        for c in cells:
            if c.method == method:
                values[columns.index(c.column), places.index(_place(c))] = c.recovered
        image = ax.imshow(values, vmin=0, vmax=1.05, cmap="RdYlGn", aspect="auto")
        ax.set_xticks(range(len(places)), places, rotation=90, fontsize="x-small")
        ax.set_yticks(range(len(columns)), columns, fontsize="x-small")
        ax.set_title(method)
    for ax in axes.flat[len(methods) :]:
        ax.set_visible(False)
    for ax in axes.flat[max(0, len(methods) - wide) : len(methods)]:
        ax.tick_params(labelbottom=True)  # the lowest of its column, also where the last row is not full
    figure.suptitle(
        "Rows: columns of the benchmark. Across: learning rates, then plans, then late breaks. White: not run", size="small"
    )
    if image is not None:
        figure.colorbar(image, ax=axes, shrink=0.6, label="recovered")
    return figure


def _place(c: Scored) -> str:
    return c.plan if c.fault == "none" else c.fault


def _places(cells: Iterable[Scored]) -> list[str]:
    grid = [f"{lr:g}" for lr in GRID]
    found = dict.fromkeys(_place(c) for c in sorted(cells, key=lambda c: (c.fault != "none", c.plan_kind == "edge")))
    return [p for p in grid if p in found] + [p for p in found if p not in grid]
