"""Tables of the report, of imagined runs."""

from __future__ import annotations

from experiments.gauntlet.methods.ablation import WITHOUT
from experiments.gauntlet.recovered import score
from experiments.gauntlet.score import summarise
from experiments.gauntlet.tables import ablation_table, markdown
from tests.experiments.gauntlet.rows import row


def test_what_a_rule_is_worth_is_the_difference_its_absence_makes() -> None:
    plain = [row(0.9, lr=0.1), row(0.6, lr=1.0), row(0.7, lr=0.01)]
    ours = [row(0.9, lr=lr, method="adaptlr") for lr in (0.1, 1.0, 0.01)]
    off = [row(m, lr=lr, method=f"{WITHOUT}stall") for m, lr in ((0.9, 0.1), (0.8, 1.0), (0.94, 0.01))]
    same = [row(0.9, lr=lr, method=f"{WITHOUT}soon") for lr in (0.1, 1.0, 0.01)]
    late = [row(0.5, method=m, fault="ramp") for m in ("adaptlr", f"{WITHOUT}stall")]
    lines = ablation_table(score([*plain, *ours, *off, *same, *late])).splitlines()
    assert lines[2:] == ["| stall | 2 | -0.0500 | -0.25 | +0.10 |", "| soon | 0 | +0.0000 | +0.00 | +0.00 |"]


def test_a_rule_is_worth_nothing_known_where_nothing_has_it() -> None:
    """``--methods plain,without-stall``: the page is written all the same."""
    cells = score([row(0.9), row(0.6, lr=1.0), row(0.8, lr=1.0, method=f"{WITHOUT}stall")])
    page = markdown({"command": "", "methods": summarise(cells, {}), "halves": {"tuned": {}, "held-out": {}}}, cells)
    assert f"| {WITHOUT}stall | 0.750 |" in page
    assert "What each rule is worth" not in page
