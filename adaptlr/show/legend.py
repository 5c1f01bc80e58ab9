"""What a picture calls its groups and stages, the colours that tell them apart, and the legend that says so."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from adaptlr.trace import Trace

Colour = tuple[float, float, float]

_GROUP_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0548c", "#7a5fbf", "#8a6d00")  # after Okabe and Ito: told apart by everyone


def stage_names(trace: Trace) -> list[str]:
    """Labels of the stages that were sampled, in order."""
    return list(dict.fromkeys(s.name for r in trace.readings for s in r.stages))


def groups(trace: Trace) -> dict[int, str]:
    """Index and label of each parameter group, with its stages."""
    labels: dict[int, str] = {}
    for g in (g for r in trace.readings for g in r.groups):
        if g.index not in labels:
            labels[g.index] = textwrap.fill(": ".join(filter(None, [f"group {g.index}", ", ".join(g.stages)])), 30)
    return dict(sorted(labels.items()))


def group_colours(trace: Trace) -> list[Colour]:
    """A colour for each group, in the order of :func:`groups`."""
    n = len(groups(trace))
    if n <= len(_GROUP_COLOURS):
        return [to_rgb(c) for c in _GROUP_COLOURS[:n]]
    return [to_rgb(c[:3]) for c in colormaps["turbo"](np.linspace(0.05, 0.95, n))]


def stage_colours(trace: Trace) -> dict[str, Colour]:
    """The colour of its group, a stage nearer the input paler."""
    hues = dict(zip(groups(trace), group_colours(trace), strict=True))
    members: dict[int | None, list[str]] = {}
    group_of = {s.name: s.group for r in trace.readings for s in r.stages}
    for name in stage_names(trace):
        members.setdefault(group_of[name], []).append(name)
    colours: dict[str, Colour] = {}
    for group, names in members.items():
        for name, strength in zip(names, np.linspace(0.45 if len(names) > 1 else 1.0, 1.0, len(names)), strict=True):
            r, g, b = (1 - strength * (1 - channel) for channel in hues.get(group if group is not None else -1, (0.3, 0.3, 0.3)))
            colours[name] = (r, g, b)
    return colours


def legend(ax: Axes, styles: Sequence[Line2D] = ()) -> None:
    """The legend, to the right of the panel; of more than 9 entries the first 8."""
    handles = [*ax.get_legend_handles_labels()[0], *styles]
    if len(handles) > 9:
        handles = [*handles[:8], Line2D([], [], ls="", label=f"and {len(handles) - 8} more")]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.005, 1.05), fontsize=8, frameon=False, borderpad=0.2, labelspacing=0.35
    )
