"""The marks of decisions on a panel: a line at the step, a number on the line, the words above."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from adaptlr.records import Action, Decision
from adaptlr.show.words import short
from adaptlr.trace import Trace

LABEL_ROWS = 4  # lines of words above the marks; decisions too many for them keep their mark alone
_ACTION_COLOUR = {Action.ROLLBACK: "#d6204e", Action.RESCALE: "#b35900", Action.HOLD: "#555555", Action.STOP: "#000000"}
_WORDS = FontProperties(size=8, weight="bold")  # of the words above the marks


def mark(ax: Axes, trace: Trace, *, numbers: bool, words: bool) -> int:
    """A line at each decision; its number on the line, its words above. Returns the rows of words used."""
    first, last = ax.get_xlim()
    figure = ax.get_figure(root=True)
    if words and trace.decisions and figure is not None and figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # the engine now makes room for the legends: only then is the panel's width known
    inches = ax.get_position().width * (figure.get_figwidth() if figure else 1)
    reach: list[float] = []  # per row of words, how far to the left it is taken; from right to left no stem crosses a word
    for cluster in reversed(_clusters(trace.decisions, close=(last - first) * (0.25 if numbers else 0.08) / inches)):
        (number, decision), x = cluster[0], cluster[0][1].step
        colour = _ACTION_COLOUR[decision.action]
        line = ax.axvline(x, color=colour, lw=1.5, zorder=1.9, label="_decision")  # over a heat map, under a curve
        line.set_path_effects([patheffects.withStroke(linewidth=3, foreground="white", alpha=0.8)])
        tag = str(number) if len(cluster) == 1 else f"{number}-{cluster[-1][0]}"
        box = {"boxstyle": "round,pad=0.2,rounding_size=0.8", "fc": colour, "ec": "white", "lw": 0.8}
        if numbers:
            place = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "center", "zorder": 5}
            ax.text(x, 1.0, tag, size=7, color="white", weight="bold", bbox=box, **place)
        if not words:
            continue
        more = f" (and {len(cluster) - 1} more)" if len(cluster) > 1 else ""
        text = f"{tag}  {short(decision)}{more}" if numbers else f"{short(decision)}{more}"
        right = x + (last - first) * (TextPath((0, 0), text, prop=_WORDS).get_extents().width / 72 + 0.08) / inches
        row = next((i for i, left in enumerate(reach) if right < left), len(reach))
        if row < LABEL_ROWS:
            reach[: row + 1] = [x] * (row + 1)
            stem = {"arrowstyle": "-", "color": colour, "lw": 1, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0)}
            where = {"xycoords": ax.get_xaxis_transform(), "xytext": (0, 9 + 11 * row), "textcoords": "offset points"}
            ax.annotate(text, (x, 1.0), **where, arrowprops=stem, fontproperties=_WORDS, color=colour, annotation_clip=False)
    return len(reach)


def _clusters(decisions: Sequence[Decision], close: float) -> list[list[tuple[int, Decision]]]:
    """Decisions, numbered from 1, those that would be drawn over each other together."""
    clusters: list[list[tuple[int, Decision]]] = []
    for numbered in enumerate(decisions, start=1):
        if clusters and numbered[1].step - clusters[-1][0][1].step <= close:
            clusters[-1].append(numbered)
        else:
            clusters.append([numbered])
    return clusters
