"""The panels of curves over the steps: near-zero share, learning rate, update ratio, loss."""

from __future__ import annotations

import math
from collections.abc import Sequence, Sized

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from adaptlr.show.legend import group_colours, groups, legend, stage_colours, stage_names
from adaptlr.trace import Trace

USUAL_RATIO = (1e-3, 5e-2)  # first update ratios of runs that trained well (measured: adaptlr.judge.thresholds)


def draw_near_zero(ax: Axes, trace: Trace) -> None:
    """Share of near-zero activations, a curve a stage."""
    if not (names := stage_names(trace)):
        raise ValueError("this trace holds no activations: no stage was sampled")
    colours = stage_colours(trace)
    for name in names:
        samples = [(r.step, s.quiet_frac) for r in trace.readings for s in r.stages if s.name == name]
        ax.plot(*zip(*samples, strict=True), color=colours[name], lw=1.6, label=name, marker=_dots(samples))
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    _curve(ax, "Activations near zero, by stage  (100% = the stage is dead)", "share near zero")


def draw_lr(ax: Axes, trace: Trace) -> None:
    """Learning rate, scheduled and used, by group."""
    if not groups(trace):
        raise ValueError("this trace holds no parameter groups: no learning rate was read")
    for (index, label), colour in zip(groups(trace).items(), group_colours(trace), strict=True):
        rows = [(r.step, g.lr, g.effective_lr) for r in trace.readings for g in r.groups if g.index == index]
        steps, scheduled, effective = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        ax.plot(steps, _positive(effective), color=colour, lw=2, label=label, marker=_dots(steps))
        ax.plot(steps, _positive(scheduled), color=colour, lw=1.2, ls=(0, (4, 2)))
    ax.set_yscale("log")
    styles = [
        Line2D([], [], color="#555555", ls=(0, (4, 2)), label="scheduled by your code"),
        Line2D([], [], color="#555555", lw=2),
    ]
    styles[1].set_label("used, after adaptlr")
    _curve(ax, "Learning rate, by parameter group", "learning rate", styles)


def draw_update_ratio(ax: Axes, trace: Trace) -> None:
    """Update ratio by group, over the usual band."""
    if not groups(trace):
        raise ValueError("this trace holds no parameter groups: no update was measured")
    band = ax.axhspan(*USUAL_RATIO, color="#2ca02c", alpha=0.13, lw=0)
    band.set_label("usual in runs that train well")
    for (index, label), colour in zip(groups(trace).items(), group_colours(trace), strict=True):
        rows = [
            (r.step, math.nan if g.update_ratio is None else g.update_ratio)
            for r in trace.readings
            for g in r.groups
            if g.index == index
        ]
        steps, ratios = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        ax.plot(steps, _positive(ratios), color=colour, lw=1.4, label=label, marker=_dots(steps))
    ax.set_yscale("log")
    _curve(ax, "Size of each update relative to the weights, by parameter group", "update ratio")


def draw_loss(ax: Axes, trace: Trace) -> None:
    """Training loss, with a cross where it was not finite."""
    steps, loss = (np.array(column, dtype=float) for column in zip(*((r.step, r.loss) for r in trace.readings), strict=True))
    finite = np.isfinite(loss)
    ax.plot(steps, np.where(finite, loss, np.nan), color="#333333", lw=1.4, label="training loss", marker=_dots(steps))
    if not finite.all():
        cross = {"marker": "x", "ls": "", "color": "#d6204e", "ms": 5, "label": "not finite (NaN or inf)"}
        ax.plot(steps[~finite], np.full((~finite).sum(), 0.93), transform=ax.get_xaxis_transform(), **cross)
    if finite.any() and loss[finite].min() > 0 and loss[finite].max() > 20 * loss[finite].min():
        ax.set_yscale("log")
    _curve(ax, "Loss", "loss")


def _curve(ax: Axes, title: str, ylabel: str, styles: Sequence[Line2D] = ()) -> None:
    ax.set_title(title, loc="left", size=9, weight="bold", pad=8)
    ax.set_ylabel(ylabel, size=8)
    ax.grid(alpha=0.25, lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    legend(ax, styles)


def _dots(points: Sized) -> str:
    """A few points are drawn as dots too: a line through one of them could not be seen."""
    return "." if len(points) < 30 else ""


def _positive(values: np.ndarray) -> np.ndarray:
    """What a log axis can show; the rest as gaps."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)
