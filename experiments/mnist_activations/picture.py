"""A run in one picture: the seed's view of it on the left, adaptlr's on the right, over the same steps."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from adaptlr.show.curves import draw_loss, draw_near_zero, draw_update_ratio
from adaptlr.show.heat_map import draw_stage, word_colour_bar
from adaptlr.show.layout import RunFigure, name_steps, set_steps
from adaptlr.show.legend import stage_names
from adaptlr.show.marks import mark
from adaptlr.trace import Trace
from experiments.mnist_activations.probe import COLUMNS, LABELS, TOP
from experiments.mnist_activations.signals import seed_near_zero

_COLOURS = ("#440154", "#31688e", "#35b779", "#e3a018", "#d6204e")
_HEIGHTS = [1, 1, 1, 1, 1, 1.3, 1.3, 1.3]


def draw_probe(ax: Axes, counts: NDArray[np.float32], label: str) -> None:
    """The seed's heat map of one probe: ``log1p`` of ``histc(40, 0, 10)``, ``counts [steps, 40]``; viridis."""
    ax.imshow(
        np.log1p(counts.T), origin="lower", aspect="auto", extent=(-0.5, len(counts) - 0.5, 0, TOP), vmin=0, vmax=14, cmap="viridis"
    )
    ax.text(0.008, 0.9, label, transform=ax.transAxes, color="white", weight="bold", va="top")
    ax.set_yticks([0, 5, 10])
    ax.set_ylabel("raw output", size=8)


def draw_seed_near_zero(ax: Axes, counts: NDArray[np.float32]) -> None:
    """The seed's near-zero share: the first two bins (0 to 0.5) over all that lay in 0 to 10. ``counts [steps, 5, 40]``."""
    _curves(ax, seed_near_zero(counts), "The seed's near-zero share: outputs of 0 to 0.5 over those of 0 to 10", (-0.04, 1.04))


def draw_left_out(ax: Axes, rest: NDArray[np.float32]) -> None:
    """What the seed's picture leaves out: outputs below 0, above 10, or not finite. ``rest [steps, 5, 5]``."""
    columns = [COLUMNS.index(c) for c in ("negative_frac", "over_frac", "nonfinite_frac")]
    _curves(ax, rest[:, :, columns].sum(2), "Share of outputs that it leaves out: below 0, above 10, or NaN", (-0.04, 1.04))


def draw_spread(ax: Axes, rest: NDArray[np.float32]) -> None:
    """Standard deviation of each probe's output: where it falls smoothly, weight decay is at work, and no gradient."""
    _curves(ax, rest[:, :, COLUMNS.index("std")], "Standard deviation of the raw outputs", None)
    ax.set_yscale("log")
    ax.minorticks_off()


def _curves(ax: Axes, values: NDArray[np.floating[Any]], title: str, limits: tuple[float, float] | None) -> None:
    for i, (label, colour) in enumerate(zip(LABELS, _COLOURS, strict=True)):
        ax.plot(values[:, i], color=colour, lw=1.2, label=label)
    ax.set_title(title, loc="left", size=9, weight="bold", pad=8)
    ax.grid(alpha=0.25, lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=7, ncols=5, loc="best", frameon=True)
    if limits:
        ax.set_ylim(*limits)


def headline(row: Mapping[str, Any]) -> str:
    """What was run, and how it ended."""
    decay = "" if row["wd"] == 0.01 else f", weight decay {row['wd']:g}"
    method = "with AdaptLR" if row["method"] == "adaptlr" else "without AdaptLR's help"
    fit = f"fit({row['epochs']}, {row['lr']:g}){decay}"
    return f"{row['start']} ResNet-18 on MNIST, {fit}, {method}: validation error {row['error']:.3f}"


def picture(folder: Path, row: Mapping[str, Any]) -> Figure:
    """The run that ``experiments.mnist_activations`` wrote to ``folder``."""
    trace = Trace.load(folder / "trace.jsonl")
    with np.load(folder / "seed.npz") as saved:
        counts, rest = saved["counts"], saved["rest"]
    figure = RunFigure(figsize=(17, 13.5), dpi=72)
    grid = figure.add_gridspec(8, 2, height_ratios=_HEIGHTS, left=0.04, right=0.86, top=0.88, bottom=0.07, hspace=0.32, wspace=0.25)
    left = [figure.add_subplot(grid[i, 0]) for i in range(8)]
    right = [figure.add_subplot(grid[i, 1]) for i in range(8)]
    for i, (ax, label) in enumerate(zip(left, LABELS, strict=False)):
        draw_probe(ax, counts[:, i], label)
    for ax, draw, values in ((left[5], draw_seed_near_zero, counts), (left[6], draw_left_out, rest), (left[7], draw_spread, rest)):
        draw(ax, values)
    names = stage_names(trace)[: len(LABELS)]
    draws = [*(partial(draw_stage, name=n) for n in names), draw_near_zero, draw_update_ratio, draw_loss]
    for ax, draw in zip(right, draws, strict=True):
        draw(ax, trace)
        mark(ax, trace, numbers=True, words=ax is right[0])
    for ax in (*left, *right):
        set_steps(ax, trace)
        ax.tick_params(labelbottom=ax in (left[-1], right[-1]), labelsize=8)
        _first_finding(ax, row, words=ax is left[0])
    name_steps(left[-1], trace)
    name_steps(right[-1], trace)
    _words(figure, row)
    _bars(figure, left, right)
    return figure


def _first_finding(ax: Axes, row: Mapping[str, Any], *, words: bool) -> None:
    wrong = [f for f in row["findings"] if f["kind"] != "decay-dominated"]
    if not wrong:
        return
    ax.axvline(wrong[0]["step"], color="#ff7043", lw=1.2, ls=":", zorder=3)
    if words:
        ax.annotate(
            f"dotted: broken, found at step {wrong[0]['step']} ({wrong[0]['kind']})",
            (wrong[0]["step"], 1.0),
            xycoords=ax.get_xaxis_transform(),
            xytext=(4, 4),
            textcoords="offset points",
            color="#c63f17",
            size=8,
            weight="bold",
        )


def _words(figure: Figure, row: Mapping[str, Any]) -> None:
    figure.text(0.04, 0.985, headline(row), size=15, weight="bold", va="top")
    seen = "As the seed drew it: raw outputs of the first convolution of each stage, before BatchNorm and ReLU.\n"
    figure.text(0.04, 0.952, seen + "Values below 0 and above 10 are not drawn.", size=10, va="top")
    ours = "As adaptlr draws it: outputs of the whole stage, after BatchNorm and ReLU, on a fixed scale.\n"
    figure.text(0.4955, 0.952, ours + "Values above 10 have a row of their own. Decisions are numbered.", size=10, va="top")


def _bars(figure: Figure, left: list[Axes], right: list[Axes]) -> None:
    for axes, x in ((left, 0.409), (right, 0.872)):
        upper, lower = axes[0].get_position(), axes[4].get_position()
        cax = figure.add_axes((x, lower.y0, 0.008, upper.y1 - lower.y0))
        source = axes[0].images[0] if axes is left else axes[0].collections[0]
        figure.colorbar(source, cax=cax)
        if axes is right:
            word_colour_bar(cax)
        else:
            cax.set_ylabel("log(1 + number of outputs of that size in a batch)", size=8)
            cax.tick_params(labelsize=7)
