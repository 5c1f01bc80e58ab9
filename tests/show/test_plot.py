"""The picture answers by itself: what the colours mean, what was drawn, where a decision fell and what it did."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from adaptlr.records import Action, Decision, Kind, Reading
from adaptlr.show import plot as module
from adaptlr.show.plot import plot, plot_loss, plot_lr, plot_near_zero, plot_stage, plot_update_ratio
from adaptlr.trace import Trace
from tests.show.fake import STAGES, fake_trace

SINGLE = [plot_near_zero, plot_lr, plot_update_ratio, plot_loss]


@pytest.fixture(scope="module")
def trace() -> Trace:
    return fake_trace(every=5)


@pytest.fixture(scope="module")
def figure(trace: Trace) -> Figure:
    return plot(trace)


@pytest.fixture
def ax() -> Axes:
    return Figure().subplots()


@pytest.fixture(autouse=True)
def no_pyplot_figure() -> Iterator[None]:
    yield
    open_figures = plt.get_fignums()
    plt.close("all")
    assert open_figures == []


def _marks(ax: Axes, label: str = "_decision") -> list[float]:
    return [float(np.asarray(line.get_xdata())[0]) for line in ax.lines if line.get_label() == label]


def _words(ax: Axes) -> list[str]:
    return [t.get_text() for t in ax.texts if isinstance(t, Annotation)]


def _mesh(ax: Axes) -> QuadMesh:
    (mesh,) = (c for c in ax.collections if isinstance(c, QuadMesh))
    return mesh


def _panels(figure: Figure) -> list[Axes]:
    return [a for a in figure.axes if a.get_label() != "<colorbar>"]


def test_the_figure_says_what_it_shows(figure: Figure) -> None:
    text = " ".join(t.get_text() for t in figure.texts)
    assert "Activations (outputs of each stage), not weights" in text
    assert "yellow = many of that size, purple = few or" in text
    assert "Step 59, collapse: rolled back to 0, x1/300" in text


def test_colour_bar_in_words(figure: Figure) -> None:
    (bar,) = (a for a in figure.axes if a.get_label() == "<colorbar>")
    assert "share of the sampled activations" in bar.get_ylabel()
    labels = [t.get_text() for t in bar.get_yticklabels()]
    assert (labels[0], labels[-1]) == ("none\n(purple)", "all\n(yellow)")


def test_panels_and_their_labels(figure: Figure) -> None:
    panels = _panels(figure)
    assert [a.get_ylabel().split("\n")[0] for a in panels] == ["|activation|"] * 5 + [
        "share near zero",
        "learning rate",
        "update ratio",
        "loss",
    ]
    assert [next(t.get_text() for t in a.texts if t.get_text() in STAGES) for a in panels[:5]] == list(STAGES)
    assert panels[-1].get_xlabel() == "training step"
    assert len({(round(a.get_position().x0, 6), round(a.get_position().x1, 6), a.get_xlim()) for a in panels}) == 1  # one time axis


def test_every_panel_marks_every_decision(figure: Figure) -> None:
    for panel in _panels(figure):
        assert sorted(_marks(panel)) == [59, 66]
    assert sorted(_words(figure.axes[0])) == ["1  rolled back to 0, x1/300", "2  group 0 x10"]


def test_what_was_found_and_not_acted_on_is_marked_too() -> None:
    trace = Trace()
    for r in fake_trace(cured=False).readings:
        trace.append(r)
    seen = fake_trace(cured=False).findings[0]
    for step, kind in ((59, Kind.COLLAPSE), (120, Kind.SHIFT)):
        trace.append(dataclasses.replace(seen, step=step, kind=kind))
    watched = plot(trace)
    assert _words(watched.axes[0]) == ["data shift", "collapse"]
    for panel in _panels(watched):
        assert sorted(_marks(panel, "_finding")) == [59, 120]
        assert _marks(panel) == []
    cut = Decision(
        step=59, action=Action.ROLLBACK, scales_before=(1,) * 3, scales_after=(0.1,) * 3, message="", findings=(seen.kind,)
    )
    trace.append(cut)
    acted = plot(trace)
    assert _words(acted.axes[0]) == ["data shift", "1  rolled back, x1/10"]
    assert (_marks(acted.axes[0]), _marks(acted.axes[0], "_finding")) == ([59], [120])


def test_epochs_below_the_steps(figure: Figure) -> None:
    (epochs,) = _panels(figure)[-1].child_axes
    assert epochs.get_xlabel() == "epoch"
    assert list(epochs.get_xticks()) == [0, 64, 128, 192]
    assert [t.get_text() for t in epochs.get_xticklabels()] == ["0", "1", "2", "3"]


def test_heat_map_counts_and_true_steps(trace: Trace, ax: Axes) -> None:
    """An obvious twin: the cell over step 20 and bin 3 is that bin's count over n, in a column centred on step 20."""
    plot_stage(trace, "conv2_x", ax)
    mesh = _mesh(ax)
    array, corners = np.asarray(mesh.get_array()), np.asarray(mesh.get_coordinates())
    column = next(i for i in range(array.shape[1]) if corners[0, i, 0] <= 20 < corners[0, i + 1, 0])
    assert (corners[0, column, 0] + corners[0, column + 1, 0]) / 2 == 20
    stage = trace.readings[20].stages[1]
    assert array[3, column] == stage.hist[3] / stage.n
    assert array[-1, column] == stage.over_range_frac
    assert list(corners[:41, 0, 1]) == pytest.approx([i * 0.25 for i in range(41)])
    assert "activations (outputs of the stage), not weights" in ax.get_title(loc="left")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0", "5", "", ">10"]


def test_irregular_sampling_keeps_true_steps(ax: Axes) -> None:
    dense = fake_trace(every=1, steps=60)
    trace = Trace()
    for r in dense.readings:
        trace.append(r if r.step in {0, 1, 2, 10, 50} else dataclasses.replace(r, stages=()))
    plot_stage(trace, "conv1", ax)
    assert list(np.asarray(_mesh(ax).get_coordinates())[0, :, 0]) == [-0.5, 0.5, 1.5, 6, 30, 70]
    plot_near_zero(trace, near_zero := Figure().subplots())
    assert list(np.asarray(near_zero.lines[0].get_xdata())) == [0, 1, 2, 10, 50]


def test_learning_rates_scheduled_and_used(trace: Trace, ax: Axes) -> None:
    plot_lr(trace, ax)
    used, scheduled = (np.asarray(line.get_ydata()) for line in ax.lines[4:6])
    assert ax.lines[5].get_linestyle() == "--"
    assert ax.get_yscale() == "log"
    assert used[:60] == pytest.approx(scheduled[:60])
    assert used[61:] == pytest.approx(scheduled[61:] / 300)
    legend = ax.get_legend()
    assert legend is not None
    words = [t.get_text().replace("\n", " ") for t in legend.get_texts()]
    assert words == [
        "group 0: conv1, conv2_x, conv3_x",
        "group 1: conv4_x",
        "group 2: conv5_x",
        "scheduled by your code",
        "used, after adaptlr",
    ]


def test_update_ratio_band(trace: Trace, ax: Axes) -> None:
    plot_update_ratio(trace, ax)
    box = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (box.y0, box.y1) == pytest.approx((1e-3, 5e-2))
    assert ax.get_yscale() == "log"


def test_loss_scale_and_nonfinite_marks(ax: Axes) -> None:
    trace = Trace()
    for step, loss in enumerate([2.0, 200.0, math.inf, math.nan, 1.0]):
        trace.append(Reading(step=step, loss=loss))
    plot_loss(trace, ax)
    assert ax.get_yscale() == "log"
    (crosses,) = (line for line in ax.lines if line.get_label() == "not finite (NaN or inf)")
    assert list(np.asarray(crosses.get_xdata())) == [2, 3]
    plot_loss(fake_trace(steps=20), narrow := Figure().subplots())
    assert narrow.get_yscale() == "linear"


def test_nonfinite_activations_are_marked(ax: Axes) -> None:
    trace = Trace()
    for r in fake_trace(steps=10, every=1).readings:
        bad = 0.5 if r.step >= 7 else 0.0
        trace.append(dataclasses.replace(r, stages=tuple(dataclasses.replace(s, nonfinite_frac=bad) for s in r.stages)))
    plot_stage(trace, "conv1", ax)
    assert list(np.asarray(ax.lines[0].get_xdata())) == [7, 8, 9]
    assert "x = NaN or inf" in [t.get_text() for t in ax.texts]


def _crowd(steps: list[int]) -> Trace:
    trace = Trace()
    for r in fake_trace(steps=200, every=50, cured=False).readings:
        trace.append(r)
    for i, step in enumerate(steps):
        action = list(Action)[i % 4]
        trace.append(
            Decision(step=step, action=action, scales_before=(1, 1, 1), scales_after=(0.5, 1, 1), message="m", restored_step=0)
        )
    return trace


@pytest.mark.parametrize("steps", [[3, 4, 5, 20, 24, 30, 60, 64, 68, 72, 74, 100, 140, 198], list(range(0, 200, 8)), [199] * 9])
@pytest.mark.parametrize("whole", [True, False])
def test_crowded_words_never_overlap(steps: list[int], whole: bool) -> None:
    trace = _crowd(steps)
    ax = plot(trace).axes[0] if whole else plot_loss(trace, Figure(figsize=(9, 3), layout="constrained").subplots())
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    words = [t for t in ax.texts if isinstance(t, Annotation)]
    assert words
    texts = [Text.get_window_extent(t) for t in words]  # without the stem
    for i, a in enumerate(texts):
        assert not any(a.overlaps(b) for b in texts[i + 1 :])
    assert {int(x) for x in _marks(ax)} <= set(steps)


def test_close_decisions_share_a_mark(ax: Axes) -> None:
    plot_loss(_crowd([50, 51, 52, 150]), ax)
    assert sorted(_marks(ax)) == [50, 150]
    assert any("(and 2 more)" in w for w in _words(ax))


@pytest.mark.parametrize("draw", SINGLE)
def test_given_axes_leave_pyplot_alone(draw, trace: Trace, ax: Axes) -> None:
    assert draw(trace, ax) is ax
    assert ax.get_title(loc="left")
    assert ax.get_xlabel() == "training step"
    assert plt.get_fignums() == []


@pytest.mark.parametrize("draw", [*SINGLE, lambda t: plot_stage(t, "conv1")])
def test_without_axes_pyplot_makes_one(draw, trace: Trace) -> None:
    ax = draw(trace)
    assert plt.get_fignums() != []
    plt.close(ax.figure)


def test_a_path_will_do(trace: Trace, tmp_path: Path, ax: Axes) -> None:
    path = trace.save(tmp_path / "run.jsonl")
    plot_loss(path, ax)
    assert len(plot(str(path), stages=["conv5_x"]).axes) == 6


def test_little_to_draw() -> None:
    trace = Trace()
    with pytest.raises(ValueError, match="no readings yet: train for a step"):
        plot(trace)
    trace.append(Reading(step=3, loss=1.0))
    assert len(plot(trace).axes) == 1
    for draw, what in [
        (plot_near_zero, "no activations"),
        (plot_lr, "no parameter groups"),
        (plot_update_ratio, "no parameter groups"),
    ]:
        with pytest.raises(ValueError, match=what):
            draw(trace, Figure().subplots())
    with pytest.raises(ValueError, match=r"no activations of stage 'conv9'.*it holds conv1, conv2_x"):
        plot(fake_trace(steps=3), stages=["conv9"])
    with pytest.raises(ValueError, match=r"figsize \(3, 2\) is too small"):
        plot(fake_trace(steps=3), figsize=(3, 2))


def test_deep_net_is_thinned_and_says_so() -> None:
    trace = Trace()
    for r in fake_trace(steps=4, every=1).readings:
        trace.append(dataclasses.replace(r, stages=tuple(dataclasses.replace(r.stages[0], name=f"block{i}") for i in range(24))))
    figure = plot(trace)
    names = [t.get_text() for a in figure.axes for t in a.texts if t.get_text().startswith("block")]
    assert len(names) == module.MAX_STAGES
    assert (names[0], names[-1]) == ("block0", "block23")
    assert any("(8 of 24 stages)" in t.get_text() for t in figure.texts)


def test_stage_colours_follow_their_group(trace: Trace, ax: Axes) -> None:
    plot_near_zero(trace, ax)
    by_name = {str(line.get_label()): to_rgb(line.get_color()) for line in ax.lines}
    assert by_name["conv3_x"] == pytest.approx(to_rgb("#0072b2"))  # the deepest of group 0 has its full colour
    assert by_name["conv4_x"] == pytest.approx(to_rgb("#d55e00"))
    assert len(set(by_name.values())) >= 5


def test_the_figure_shows_itself_in_a_notebook() -> None:
    """In a fresh interpreter, without pyplot and without %matplotlib inline, IPython finds a PNG."""
    pytest.importorskip("IPython")
    code = """
import sys
from IPython.core.interactiveshell import InteractiveShell
from tests.show.fake import fake_trace
from adaptlr.show.plot import plot
data, _ = InteractiveShell.instance().display_formatter.format(plot(fake_trace(steps=5)))
assert data["image/png"].startswith(b"\\x89PNG")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
