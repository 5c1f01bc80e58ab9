"""The page that the panels stand on: the figure, its rows, and the axis of steps and epochs below them."""

from __future__ import annotations

import io
import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from adaptlr.trace import Trace


class RunFigure(Figure):
    """A figure that a notebook shows when it is a cell's value, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def layout(heat_maps: int, curves: int, rows: int, figsize: tuple[float, float] | None) -> tuple[RunFigure, list[Axes]]:
    """One column of panels, all equally wide; the margins are in inches, so that words, legends and colour bar find their room."""
    head, foot, gap = (1.2 if heat_maps else 0.6) + 0.16 * rows, 0.95, 0.45
    width, height = figsize or (11.5, head + foot + gap + 1.05 * heat_maps + 1.5 * curves)
    room = height - head - foot - (gap if heat_maps else 0)
    if width < 6 or room < 0.5 * (heat_maps + curves):
        raise ValueError(f"figsize {figsize} is too small for {heat_maps + curves} panels; leave it out, or draw fewer stages")
    split = (foot + room * 1.5 * curves / (1.05 * heat_maps + 1.5 * curves)) / height
    figure = RunFigure(figsize=(width, height), dpi=110)
    sides = {"left": 0.8 / width, "right": 1 - 2.5 / width}
    axes: list[Axes] = []
    if heat_maps:
        upper = figure.add_gridspec(heat_maps, 1, top=1 - head / height, bottom=split + gap / height, hspace=0.12, **sides)
        axes += [figure.add_subplot(upper[i, 0]) for i in range(heat_maps)]
    lower = figure.add_gridspec(curves, 1, top=split if heat_maps else 1 - head / height, bottom=foot / height, hspace=0.4, **sides)
    return figure, axes + [figure.add_subplot(lower[i, 0]) for i in range(curves)]


def set_steps(ax: Axes, trace: Trace) -> None:
    """Make the panel as wide as the run, so that all panels share one axis of steps."""
    first, last = trace.readings[0].step, trace.readings[-1].step
    ax.set_xlim(first - 0.5, max(last, first + 1) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=8)


def name_steps(ax: Axes, trace: Trace) -> None:
    """Name the axis of steps and, where epochs are known, put a second one below it with a tick where each epoch begins."""
    ax.set_xlabel("training step", size=9)
    starts: dict[int, int] = {}
    for r in trace.readings:
        if r.epoch is not None:
            starts.setdefault(math.floor(r.epoch + 1e-6), r.step)
    if starts:
        every = math.ceil(len(starts) / 12)
        shown = list(starts.items())[::every]
        below = ax.secondary_xaxis("bottom")
        below.spines["bottom"].set_position(("outward", 34))
        below.set_xticks([step for _, step in shown], [str(epoch) for epoch, _ in shown], size=8)
        below.set_xlabel("epoch", size=9)
