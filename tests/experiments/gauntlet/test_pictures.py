"""The curves: each method can be told from the others, and none is out of view."""

from __future__ import annotations

from matplotlib.figure import Figure

from experiments.gauntlet.pictures import against_lr
from experiments.gauntlet.recovered import score
from tests.experiments.gauntlet.rows import row


def test_each_method_has_a_colour_of_its_own_and_is_in_view() -> None:
    peers = ("prodigy", "schedule-free-default", "lr-find", "dog", "d-adaptation")
    rows = [row(metric, lr=lr, method=m) for m in ("plain", "adaptlr", *peers) for lr, metric in ((0.1, 0.8), (1.0, 0.6))]
    ahead = [row(0.99, lr=lr, method="clip") for lr in (0.1, 1.0)]
    ax = against_lr(score([*rows, *ahead]), Figure().subplots())
    assert len({line.get_color() for line in ax.lines if line.get_marker() == "."}) == len(peers) + 3
    best = max(y for line in ax.lines for y in line.get_ydata())  # type: ignore[union-attr]
    assert best > 1.15
    assert ax.get_ylim()[1] > best
