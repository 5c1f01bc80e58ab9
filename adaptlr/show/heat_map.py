"""The heat map of one stage: how large its activations were, step by step."""

from __future__ import annotations

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from adaptlr.show.legend import stage_names
from adaptlr.trace import Trace

SHARES = LogNorm(1e-4, 1.0, clip=True)  # one colour scale for every stage and run, so that pictures compare


def draw_stage(ax: Axes, trace: Trace, name: str) -> None:
    """Size of the stage's activations upwards, steps to the right, their share as colour; NaN and inf as crosses."""
    samples = [(r.step, s) for r in trace.readings for s in r.stages if s.name == name]
    if not samples:
        raise ValueError(f"no activations of stage {name!r} in this trace; it holds {', '.join(stage_names(trace)) or 'no stages'}")
    steps, top = np.array([step for step, _ in samples], dtype=float), samples[0][1].hist_max
    shares = np.array([s.hist for _, s in samples]).T / np.array([max(s.n, 1) for _, s in samples])
    over = np.array([[s.over_range_frac for _, s in samples]])
    rows = np.ma.masked_invalid(np.vstack([shares, np.full_like(over, np.nan), over]))  # a gap parts the row of what lies above
    y = np.append(np.linspace(0, top, len(shares) + 1), [1.04 * top, 1.14 * top])
    ax.pcolormesh(_edges(steps), y, rows, norm=SHARES, cmap="viridis", rasterized=True)
    bad = [step for step, s in samples if s.nonfinite_frac > 0]
    if bad:
        ax.plot(bad, [1.09 * top] * len(bad), "x", color="#ff3b30", ms=4)
        ax.text(
            bad[0],
            0.94 * top,
            "x = NaN or inf",
            size=8,
            color="#ff8a80",
            weight="bold",
            va="top",
            ha="right" if bad[0] > steps.mean() else "left",
        )
    group = samples[-1][1].group
    label = ax.text(0.008, 0.83, name, transform=ax.transAxes, color="white", weight="bold", va="top")
    label.set_path_effects([patheffects.withStroke(linewidth=2, foreground="#2a0845")])
    ax.set_yticks([0, top / 2, top, 1.09 * top], ["0", f"{top / 2:g}", "", f">{top:g}"])
    ax.set_ylabel("|activation|" if group is None else f"|activation|\n(group {group})", size=8)


def colour_bar(figure: Figure, top: Axes, bottom: Axes) -> None:
    """One colour bar beside the heat maps from ``top`` to ``bottom``."""
    upper, lower, inch = top.get_position(), bottom.get_position(), 1 / figure.get_figwidth()
    cax = figure.add_axes((upper.x1 + 0.2 * inch, lower.y0, 0.18 * inch, upper.y1 - lower.y0), label="<colorbar>")
    figure.colorbar(top.collections[0], cax=cax)
    word_colour_bar(cax)


def word_colour_bar(ax: Axes) -> None:
    """Say on the bar what its colours mean."""
    words = ["none\n(purple)", "0.1%", "1%", "10%", "all\n(yellow)"]
    ax.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1.0], words, size=8)
    ax.get_yticklabels()[0].set_verticalalignment("bottom")
    ax.get_yticklabels()[-1].set_verticalalignment("top")
    ax.minorticks_off()
    ax.set_ylabel("share of the sampled activations\nthat are of this size (log scale)", size=8)


def _edges(steps: np.ndarray) -> np.ndarray:
    """Column edges half-way between the sampled steps, so that a column is centred on its true step."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]])
