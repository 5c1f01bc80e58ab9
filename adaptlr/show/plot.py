"""Pictures of a trace: the run at a glance, and each of its panels alone.

The single panels take ``ax=None`` and return the Axes; given an Axes they leave pyplot alone. :func:`plot` makes its figure without
pyplot, so a loop over many runs piles up no open figures, and the figure shows itself in a notebook. Nothing here prints or shows.
"""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Callable, Sequence, Sized
from functools import partial

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator, PercentFormatter

from adaptlr.records import Action, Decision
from adaptlr.show.live import headline, short
from adaptlr.trace import Trace

AnyTrace = Trace | str | os.PathLike[str]
Colour = tuple[float, float, float]

USUAL_RATIO = (1e-3, 5e-2)  # first update ratios of runs that trained well (measured; see DESIGN)
SHARES = LogNorm(1e-4, 1.0, clip=True)  # one colour scale for every stage and run, so that pictures compare
MAX_STAGES = 8  # heat maps drawn when no stages are named
LABEL_ROWS = 4  # lines of words above the marks; decisions too many for them keep their mark alone
TITLE = "Activations (not weights) of each stage, after the non-linearity"
HOW_TO_READ = (
    "A column is one training step, and shows how large the stage's activations were: yellow = many of that size, purple = few or\n"
    "none. A healthy stage spreads upwards; a dead one is a yellow line at 0 with nothing above it."
)
_ACTION_COLOUR = {Action.ROLLBACK: "#d6204e", Action.RESCALE: "#b35900", Action.HOLD: "#555555", Action.STOP: "#000000"}
_GROUP_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0548c", "#7a5fbf", "#8a6d00")  # after Okabe and Ito: told apart by everyone
_WORDS = FontProperties(size=8, weight="bold")  # of the words above the marks


class RunFigure(Figure):
    """A figure that a notebook shows when it is a cell's value, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def plot(trace: AnyTrace, *, stages: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> Figure:
    """The run in one picture: each stage's activations over time, near-zero share, learning rates, update ratios, loss.

    ``stages`` are the labels to draw as heat maps, by default all (of more than 8, 8 spread over the depth). Every decision is
    marked in every panel. Raises ValueError on a trace without readings and on a stage that it does not hold.
    """
    trace = _read(trace)
    names = _spread(_stage_names(trace)) if stages is None else list(stages)
    curves = [_draw_near_zero] if _stage_names(trace) else []
    curves += [_draw_lr, _draw_update_ratio, _draw_loss] if _groups(trace) else [_draw_loss]
    figure, axes = _layout(len(names), len(curves), rows=min(len(trace.decisions), LABEL_ROWS), figsize=figsize)
    for ax, draw in zip(axes, [*(partial(_draw_stage, name=name) for name in names), *curves], strict=True):
        draw(ax, trace)
        _set_steps(ax, trace)
        _mark(ax, trace, numbers=True, words=ax is axes[0])
        ax.tick_params(labelbottom=ax is axes[-1])
    _name_steps(axes[-1], trace)
    left, inch = axes[0].get_position().x0, 1 / figure.get_figheight()
    figure.text(left, 1 - 0.12 * inch, headline(trace), size=13, weight="bold", va="top")
    if names:
        _colour_bar(figure, axes[0], axes[len(names) - 1])
        some = f"  ({len(names)} of {len(_stage_names(trace))} stages)" if len(names) < len(_stage_names(trace)) else ""
        figure.text(left, 1 - 0.40 * inch, TITLE + some, size=10, va="top")
        figure.text(left, 1 - 0.61 * inch, HOW_TO_READ, size=8.5, va="top", color="#555555", linespacing=1.35)
    return figure


def plot_stage(trace: AnyTrace, stage: str, ax: Axes | None = None) -> Axes:
    """Heat map of one stage: |activation| upwards, steps to the right, the share of activations as colour."""
    ax = _single(partial(_draw_stage, name=stage), trace, ax, title=f"{stage}: activations (not weights), after the non-linearity")
    figure = ax.get_figure(root=True)
    if figure is not None:
        _word_colour_bar(figure.colorbar(ax.collections[0], ax=ax).ax)
    return ax


def plot_near_zero(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """Share of each stage's activations that are at most 1% of the stage's RMS."""
    return _single(_draw_near_zero, trace, ax)


def plot_lr(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """Learning rate per group: as scheduled by the user's code (dashed) and as used, after adaptlr's scale (solid)."""
    return _single(_draw_lr, trace, ax)


def plot_update_ratio(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """Size of each step relative to the weights, per group, with the band in which runs usually train well."""
    return _single(_draw_update_ratio, trace, ax)


def plot_loss(trace: AnyTrace, ax: Axes | None = None) -> Axes:
    """The loss; on a log scale if its range is large, with a cross at each step at which it was not finite."""
    return _single(_draw_loss, trace, ax)


# ---- what is in the panels


def _draw_stage(ax: Axes, trace: Trace, name: str) -> None:
    samples = [(r.step, s) for r in trace.readings for s in r.stages if s.name == name]
    if not samples:
        raise ValueError(
            f"no activations of stage {name!r} in this trace; it holds {', '.join(_stage_names(trace)) or 'no stages'}"
        )
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


def _draw_near_zero(ax: Axes, trace: Trace) -> None:
    if not (names := _stage_names(trace)):
        raise ValueError("this trace holds no activations: no stage was sampled")
    colours = _stage_colours(trace)
    for name in names:
        samples = [(r.step, s.quiet_frac) for r in trace.readings for s in r.stages if s.name == name]
        ax.plot(*zip(*samples, strict=True), color=colours[name], lw=1.6, label=name, marker=_dots(samples))
    ax.set_ylim(-0.04, 1.04)
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    _curve(ax, "Activations near zero, by stage  (100% = the stage is dead)", "share near zero")


def _draw_lr(ax: Axes, trace: Trace) -> None:
    if not _groups(trace):
        raise ValueError("this trace holds no parameter groups: no learning rate was read")
    for (index, label), colour in zip(_groups(trace).items(), _group_colours(trace), strict=True):
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


def _draw_update_ratio(ax: Axes, trace: Trace) -> None:
    if not _groups(trace):
        raise ValueError("this trace holds no parameter groups: no update was measured")
    band = ax.axhspan(*USUAL_RATIO, color="#2ca02c", alpha=0.13, lw=0)
    band.set_label("usual in runs that train well")
    for (index, label), colour in zip(_groups(trace).items(), _group_colours(trace), strict=True):
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


def _draw_loss(ax: Axes, trace: Trace) -> None:
    steps, loss = (np.array(column, dtype=float) for column in zip(*((r.step, r.loss) for r in trace.readings), strict=True))
    finite = np.isfinite(loss)
    ax.plot(steps, np.where(finite, loss, np.nan), color="#333333", lw=1.4, label="training loss", marker=_dots(steps))
    if not finite.all():
        cross = {"marker": "x", "ls": "", "color": "#d6204e", "ms": 5, "label": "not finite (NaN or inf)"}
        ax.plot(steps[~finite], np.full((~finite).sum(), 0.93), transform=ax.get_xaxis_transform(), **cross)
    if finite.any() and loss[finite].min() > 0 and loss[finite].max() > 20 * loss[finite].min():
        ax.set_yscale("log")
    _curve(ax, "Loss", "loss")


# ---- the marks of decisions


def _mark(ax: Axes, trace: Trace, *, numbers: bool, words: bool) -> int:
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


# ---- axes, legends, colours


def _layout(heat_maps: int, curves: int, rows: int, figsize: tuple[float, float] | None) -> tuple[RunFigure, list[Axes]]:
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


def _single(draw: Callable[[Axes, Trace], None], trace: AnyTrace, ax: Axes | None, title: str | None = None) -> Axes:
    trace = _read(trace)
    if ax is None:
        from matplotlib import pyplot as plt  # noqa: PLC0415  (only here: a caller that gives an Axes keeps pyplot out of it)

        ax = plt.subplots(figsize=(9, 3), layout="constrained")[1]
    draw(ax, trace)
    _set_steps(ax, trace)
    rows = _mark(ax, trace, numbers=False, words=True)
    ax.set_title(title or ax.get_title(loc="left"), loc="left", size=9, weight="bold", pad=8 + 12 * rows)
    _name_steps(ax, trace)
    return ax


def _read(trace: AnyTrace) -> Trace:
    trace = trace if isinstance(trace, Trace) else Trace.load(trace)
    if not trace.readings:
        raise ValueError("this trace holds no readings yet: train for a step with adaptlr watching, then draw it")
    return trace


def _set_steps(ax: Axes, trace: Trace) -> None:
    first, last = trace.readings[0].step, trace.readings[-1].step
    ax.set_xlim(first - 0.5, max(last, first + 1) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.tick_params(labelsize=8)


def _name_steps(ax: Axes, trace: Trace) -> None:
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


def _curve(ax: Axes, title: str, ylabel: str, styles: Sequence[Line2D] = ()) -> None:
    ax.set_title(title, loc="left", size=9, weight="bold", pad=8)
    ax.set_ylabel(ylabel, size=8)
    ax.grid(alpha=0.25, lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    _legend(ax, styles)


def _legend(ax: Axes, styles: Sequence[Line2D] = ()) -> None:
    handles = [*ax.get_legend_handles_labels()[0], *styles]
    if len(handles) > 9:
        handles = [*handles[:8], Line2D([], [], ls="", label=f"and {len(handles) - 8} more")]
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.005, 1.05), fontsize=8, frameon=False, borderpad=0.2, labelspacing=0.35
    )


def _colour_bar(figure: Figure, top: Axes, bottom: Axes) -> None:
    upper, lower, inch = top.get_position(), bottom.get_position(), 1 / figure.get_figwidth()
    cax = figure.add_axes((upper.x1 + 0.2 * inch, lower.y0, 0.18 * inch, upper.y1 - lower.y0), label="<colorbar>")
    figure.colorbar(top.collections[0], cax=cax)
    _word_colour_bar(cax)


def _word_colour_bar(ax: Axes) -> None:
    words = ["none\n(purple)", "0.1%", "1%", "10%", "all\n(yellow)"]
    ax.set_yticks([1e-4, 1e-3, 1e-2, 1e-1, 1.0], words, size=8)
    ax.get_yticklabels()[0].set_verticalalignment("bottom")
    ax.get_yticklabels()[-1].set_verticalalignment("top")
    ax.minorticks_off()
    ax.set_ylabel("share of the sampled activations\nthat are of this size (log scale)", size=8)


def _groups(trace: Trace) -> dict[int, str]:
    labels: dict[int, str] = {}
    for g in (g for r in trace.readings for g in r.groups):
        if g.index not in labels:
            labels[g.index] = textwrap.fill(": ".join(filter(None, [f"group {g.index}", ", ".join(g.stages)])), 30)
    return dict(sorted(labels.items()))


def _group_colours(trace: Trace) -> list[Colour]:
    n = len(_groups(trace))
    if n <= len(_GROUP_COLOURS):
        return [to_rgb(c) for c in _GROUP_COLOURS[:n]]
    return [to_rgb(c[:3]) for c in colormaps["turbo"](np.linspace(0.05, 0.95, n))]


def _stage_colours(trace: Trace) -> dict[str, Colour]:
    """The colour of its group, a stage nearer the input paler."""
    hues = dict(zip(_groups(trace), _group_colours(trace), strict=True))
    members: dict[int | None, list[str]] = {}
    group_of = {s.name: s.group for r in trace.readings for s in r.stages}
    for name in _stage_names(trace):
        members.setdefault(group_of[name], []).append(name)
    colours: dict[str, Colour] = {}
    for group, names in members.items():
        for name, strength in zip(names, np.linspace(0.45 if len(names) > 1 else 1.0, 1.0, len(names)), strict=True):
            r, g, b = (1 - strength * (1 - channel) for channel in hues.get(group if group is not None else -1, (0.3, 0.3, 0.3)))
            colours[name] = (r, g, b)
    return colours


def _stage_names(trace: Trace) -> list[str]:
    return list(dict.fromkeys(s.name for r in trace.readings for s in r.stages))


def _spread(names: list[str]) -> list[str]:
    picks = np.linspace(0, len(names) - 1, min(len(names), MAX_STAGES)).round().astype(int)
    return [names[i] for i in picks]


def _edges(steps: np.ndarray) -> np.ndarray:
    """Column edges half-way between the sampled steps, so that a column is centred on its true step."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate([[2 * steps[0] - middle[0]], middle, [2 * steps[-1] - middle[-1]]])


def _dots(points: Sized) -> str:
    """A few points are drawn as dots too: a line through one of them could not be seen."""
    return "." if len(points) < 30 else ""


def _positive(values: np.ndarray) -> np.ndarray:
    """What a log axis can show; the rest as gaps."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)
