"""The marks of decisions on a panel: a line at the step, a number on the line, the words above.

What was found and nothing was done about has a thinner line, and no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from adaptlr.records import Action
from adaptlr.show.words import short
from adaptlr.trace import Trace

LABEL_ROWS = 4  # lines of words above the marks; moments too many for them keep their mark alone
_FOUND_COLOUR = "#777777"
_ACTION_COLOUR = {Action.ROLLBACK: "#d6204e", Action.RESCALE: "#b35900", Action.HOLD: "#555555", Action.STOP: "#000000"}
_WORDS = FontProperties(size=8, weight="bold")  # of the words above the marks


class Moment(NamedTuple):
    """A step at which something was decided, or found."""

    step: int
    number: int | None  # of the decision, from 1
    colour: str
    words: str


def moments(trace: Trace) -> list[Moment]:
    """All decisions, and findings that none of them answers, in order of their steps."""
    out = [Moment(d.step, i, _ACTION_COLOUR[d.action], short(d)) for i, d in enumerate(trace.decisions, start=1)]
    answered = {(d.step, kind) for d in trace.decisions for kind in d.findings}
    out += [Moment(f.step, None, _FOUND_COLOUR, str(f.kind)) for f in trace.findings if (f.step, f.kind) not in answered]
    return sorted(out, key=lambda m: (m.step, m.number is None))


def mark(ax: Axes, trace: Trace, *, numbers: bool, words: bool) -> int:
    """A line at each moment; a decision's number on the line, the words above. Returns the rows of words used."""
    marked = moments(trace)
    first, last = ax.get_xlim()
    figure = ax.get_figure(root=True)
    if words and marked and figure is not None and figure.get_layout_engine() is not None:
        figure.draw_without_rendering()  # the engine now makes room for the legends: only then is the panel's width known
    inches = ax.get_position().width * (figure.get_figwidth() if figure else 1)
    reach: list[float] = []  # per row of words, how far to the left it is taken; from right to left no stem crosses a word
    for cluster in reversed(_clusters(marked, close=(last - first) * (0.25 if numbers else 0.08) / inches)):
        decided = [m for m in cluster if m.number is not None]
        x, _, colour, what = (decided or cluster)[0]
        label, width = ("_decision", 1.5) if decided else ("_finding", 1.0)
        over_heat_map, style = 1.9, "-" if decided else "--"  # and under a curve
        line = ax.axvline(x, color=colour, lw=width, ls=style, zorder=over_heat_map, label=label)
        line.set_path_effects([patheffects.withStroke(linewidth=2 * width, foreground="white", alpha=0.8)])
        tag = "-".join(dict.fromkeys(str(m.number) for m in (*decided[:1], *decided[-1:])))
        box = {"boxstyle": "round,pad=0.2,rounding_size=0.8", "fc": colour, "ec": "white", "lw": 0.8}
        if numbers and tag:
            place = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "center", "zorder": 5}
            ax.text(x, 1.0, tag, size=7, color="white", weight="bold", bbox=box, **place)
        if not words:
            continue
        more = f" (and {len(cluster) - 1} more)" if len(cluster) > 1 else ""
        text = f"{tag}  {what}{more}" if numbers and tag else f"{what}{more}"
        right = x + (last - first) * (TextPath((0, 0), text, prop=_WORDS).get_extents().width / 72 + 0.08) / inches
        row = next((i for i, left in enumerate(reach) if right < left), len(reach))
        if row < LABEL_ROWS:
            reach[: row + 1] = [x] * (row + 1)
            stem = {"arrowstyle": "-", "color": colour, "lw": 1, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0)}
            where = {"xycoords": ax.get_xaxis_transform(), "xytext": (0, 9 + 11 * row), "textcoords": "offset points"}
            ax.annotate(text, (x, 1.0), **where, arrowprops=stem, fontproperties=_WORDS, color=colour, annotation_clip=False)
    return len(reach)


def _clusters(marked: Sequence[Moment], close: float) -> list[list[Moment]]:
    """Those that would be drawn over each other together."""
    clusters: list[list[Moment]] = []
    for moment in marked:
        if clusters and moment.step - clusters[-1][0].step <= close:
            clusters[-1].append(moment)
        else:
            clusters.append([moment])
    return clusters
