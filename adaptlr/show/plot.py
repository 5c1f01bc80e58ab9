"""Pictures of a trace: the run at a glance, and each of its panels alone.

The single panels take ``ax=None`` and return the Axes; given an Axes they leave pyplot alone. :func:`plot` makes its figure without
pyplot, so a loop over many runs piles up no open figures, and the figure shows itself in a notebook. Nothing here prints or shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from adaptlr.show.curves import USUAL_RATIO, draw_loss, draw_lr, draw_near_zero, draw_update_ratio
from adaptlr.show.heat_map import colour_bar, draw_stage, word_colour_bar
from adaptlr.show.layout import RunFigure, layout, name_steps, set_steps
from adaptlr.show.legend import groups, stage_names
from adaptlr.show.marks import LABEL_ROWS, mark, moments
from adaptlr.show.words import headline
from adaptlr.trace import Trace

__all__ = [
    "MAX_STAGES",
    "USUAL_RATIO",
    "RunFigure",
    "plot",
    "plot_loss",
    "plot_lr",
    "plot_near_zero",
    "plot_stage",
    "plot_update_ratio",
]

AnyTrace = Trace | str | os.PathLike[str]

MAX_STAGES = 8  # heat maps drawn when no stages are named
TITLE = "Activations (outputs of each stage), not weights"
HOW_TO_READ = (
    "A column is one training step, and shows how large the stage's activations were: yellow = many of that size, purple = few or\n"
    "none. A healthy stage spreads upwards; a dead one is a yellow line at 0 with nothing above it."
)


def plot(trace: AnyTrace, *, stages: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> Figure:
    """The run in one picture: each stage's activations over time, near-zero share, learning rates, update ratios, loss.

    ``stages`` are the labels to draw as heat maps, by default all (of more than 8, 8 spread over the depth). Every decision is
    marked in every panel, and every finding that none answers. Raises ValueError on a trace without readings and on a stage that it
    does not hold.
    """
    trace = _read(trace)
    names = _spread(stage_names(trace)) if stages is None else list(stages)
    curves = [draw_near_zero] if stage_names(trace) else []
    curves += [draw_lr, draw_update_ratio, draw_loss] if groups(trace) else [draw_loss]
    figure, axes = layout(len(names), len(curves), rows=min(len(moments(trace)), LABEL_ROWS), figsize=figsize)
    for ax, draw in zip(axes, [*(partial(draw_stage, name=name) for name in names), *curves], strict=True):
        draw(ax, trace)
        set_steps(ax, trace)
        mark(ax, trace, numbers=True, words=ax is axes[0])
        ax.tick_params(labelbottom=ax is axes[-1])
    name_steps(axes[-1], trace)
    left, inch = axes[0].get_position().x0, 1 / figure.get_figheight()
    figure.text(left, 1 - 0.12 * inch, headline(trace), size=13, weight="bold", va="top")
    if names:
        colour_bar(figure, axes[0], axes[len(names) - 1])
        some = f"  ({len(names)} of {len(stage_names(trace))} stages)" if len(names) < len(stage_names(trace)) else ""
        figure.text(left, 1 - 0.40 * inch, TITLE + some, size=10, va="top")
        figure.text(left, 1 - 0.61 * inch, HOW_TO_READ, size=8.5, va="top", color="#555555", linespacing=1.35)
    return figure


def plot_stage(trace: AnyTrace, stage: str, ax: Axes | None = None) -> Axes:
    """Heat map of one stage: |activation| upwards, steps to the right, the share of activations as colour."""
    ax = _single(partial(draw_stage, name=stage), trace, ax, title=f"{stage}: activations (outputs of the stage), not weights")
    figure = ax.get_figure(root=True)
    if figure is not None:
        word_colour_bar(figure.colorbar(ax.collections[0], ax=ax).ax)
    return ax


def plot_near_zero(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """Share of each stage's activations that are at most 1% of the stage's RMS."""
    return _single(draw_near_zero, trace, ax)


def plot_lr(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """Learning rate per group: as scheduled by the user's code (dashed) and as used, after adaptlr's scale (solid)."""
    return _single(draw_lr, trace, ax)


def plot_update_ratio(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """Size of each step relative to the weights, per group, with the band in which runs usually train well."""
    return _single(draw_update_ratio, trace, ax)


def plot_loss(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """The loss; on a log scale if its range is large, with a cross at each step at which it was not finite."""
    return _single(draw_loss, trace, ax)


def _single(draw: Callable[[Axes, Trace], None], trace: AnyTrace, ax: Axes | None, title: str | None = None) -> Axes:
    trace = _read(trace)
    if ax is None:
        from matplotlib import pyplot as plt  # noqa: PLC0415  (only here: a caller that gives an Axes keeps pyplot out of it)

        ax = plt.subplots(figsize=(9, 3), layout="constrained")[1]
    draw(ax, trace)
    set_steps(ax, trace)
    rows = mark(ax, trace, numbers=False, words=True)
    ax.set_title(title or ax.get_title(loc="left"), loc="left", size=9, weight="bold", pad=8 + 12 * rows)
    name_steps(ax, trace)
    return ax


def _read(trace: AnyTrace) -> Trace:
    trace = trace if isinstance(trace, Trace) else Trace.load(trace)
    if not trace.readings:
        raise ValueError("this trace holds no readings yet: train for a step with adaptlr watching, then draw it")
    return trace


def _spread(names: list[str]) -> list[str]:
    picks = np.linspace(0, len(names) - 1, min(len(names), MAX_STAGES)).round().astype(int)
    return [names[i] for i in picks]
