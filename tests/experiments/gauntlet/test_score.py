"""Rows -> oracle, recovered, and the numbers of the summary: each definition on a handful of imagined runs."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.gauntlet.cells import OWN, SLICE, Column, edge, hot_group
from experiments.gauntlet.recovered import oracles, score
from experiments.gauntlet.score import summarise
from tests.experiments.gauntlet.rows import COLUMN, event, row


def line(rows: list[dict[str, Any]], method: str = "adaptlr") -> dict[str, Any]:
    return summarise(score(rows), {})[method]


GRID = [row(0.9, lr=0.1), row(0.8, lr=0.1, seed=1), row(0.5, lr=1.0), row(0.5, lr=1.0, seed=1), row(0.6, lr=0.001)]


def test_the_oracle_is_the_best_mean_of_seeds_on_the_plain_grid_alone() -> None:
    rows = [
        *GRID,
        row(0.99, lr=0.1, method="adaptlr"),
        row(0.99, plan=edge(0.1, 2)),
        row(0.99, lr=10.0, fault="ramp"),
        row(0.99, lr=1.0, error="boom"),
    ]
    oracle = oracles(rows)[COLUMN.name]
    assert oracle.value == pytest.approx(0.85)
    assert oracle.lr == 0.1


@pytest.mark.parametrize(("metric", "share"), [(0.85, 1.0), (0.675, 0.5), (0.5, 0.0), (0.3, 0.0), (0.92, 1.2)])
def test_recovered_is_the_share_of_the_oracle_over_chance_and_never_below_it(metric: float, share: float) -> None:
    cells = score([*GRID, row(metric, lr=1.0, method="adaptlr")])
    assert next(c for c in cells if c.method == "adaptlr").recovered == pytest.approx(share)


def test_a_run_that_crashed_has_recovered_nothing_and_is_counted() -> None:
    crashed = {k: v for k, v in row(0.0, lr=1.0, method="adaptlr").items() if k not in ("metric", "findings", "decisions")}
    out = line([*GRID, {**crashed, "error": "RuntimeError: boom"}])
    assert out["worst"] == 0.0
    assert out["errors"] == 1


def test_mean_worst_cell_and_worst_seed() -> None:
    rows = [
        *GRID,
        row(0.85, lr=1.0, method="adaptlr"),
        row(0.50, lr=1.0, method="adaptlr", seed=1),
        row(0.85, lr=0.1, method="adaptlr"),
    ]
    out = line(rows)
    assert out["worst"] == pytest.approx(0.5)  # mean of the two seeds
    assert out["worst_seed"] == pytest.approx(0.0)
    assert out["mean"] == pytest.approx(0.75)


def test_only_decisions_that_change_something_in_healthy_runs_are_false_positives() -> None:
    rows = [
        *GRID,
        row(0.9, lr=0.1, method="adaptlr", decisions=[event(3, "too hot")]),
        row(0.8, lr=0.1, seed=1, method="adaptlr", decisions=[event(3, "too cold", changes=False)]),
        row(0.8, lr=1.0, method="adaptlr", decisions=[event(1, "too hot")]),  # ruined: stepping in is right
    ]
    assert line(rows)["false_positive_rate"] == pytest.approx(0.5)


def test_healthy_runs_that_were_changed_are_counted_by_plan() -> None:
    rows = [
        *GRID,
        row(0.9, plan=SLICE),
        row(0.9, plan=SLICE, method="adaptlr", decisions=[event(3, "starved group")]),
        row(0.9, lr=0.1, method="adaptlr"),
        row(0.84, lr=0.01),
        row(0.84, lr=0.01, method="adaptlr", decisions=[event(7, "too cold")]),
        row(0.8, lr=1.0, method="adaptlr", decisions=[event(1, "too hot")]),
    ]
    assert line(rows)["false_positives_by_plan"] == {
        "best": {"healthy_runs": 1, "changed": 0},
        "grid": {"healthy_runs": 1, "changed": 1},
        "starving": {"healthy_runs": 1, "changed": 1},
    }


@pytest.mark.parametrize(("metric", "harm"), [(0.86, 0.0), (0.845, 0.0), (0.80, 1.0)])
def test_harm_is_a_loss_of_more_than_one_standard_error_against_plain(metric: float, harm: float) -> None:
    # from seed to seed plain varies by 0.07 at lr 0.1: a standard error of 0.05 for the mean of two
    tight = [row(0.85, lr=0.1), row(0.85, lr=0.1, seed=1), *GRID[2:]]
    rows = [*tight, row(metric, lr=0.1, method="adaptlr"), row(metric, lr=0.1, method="adaptlr", seed=1)]
    assert line(rows)["harm_rate"] == harm


def test_the_standard_error_is_the_spread_of_seeds_where_that_is_larger_than_the_validation_parts() -> None:
    cell = next(c for c in score(GRID) if c.healthy)
    assert cell.plain_se == pytest.approx(0.0707 / 2**0.5 / 0.35, rel=1e-3)
    one_seed = next(c for c in score([r for r in GRID if r["seed"] == 0]) if c.healthy)
    assert one_seed.plain_se == pytest.approx(0.01 / 0.4)


@pytest.mark.parametrize(
    ("plan", "lr", "kind", "groups", "right"),
    [
        (None, 1.0, "too hot", (0,), True),
        (None, 1.0, "collapse", (0,), True),
        (None, 1.0, "too cold", (0,), False),
        (None, 0.001, "too cold", (0,), True),
        (None, 0.001, "divergence", (0,), False),
        (SLICE, 0.0, "starved group", (0, 1), True),
        (SLICE, 0.0, "too cold", (0, 1), False),
        (hot_group(0.1), 0.0, "too hot", (1,), True),
        (hot_group(0.1), 0.0, "too hot", (0, 2), False),
        (hot_group(0.1), 0.0, "starved group", (0, 2), False),
    ],
)
def test_diagnosis_is_the_first_findings_kind_against_the_planted_fault(plan, lr, kind, groups, right) -> None:
    findings = [event(9, "too hot", groups=(0, 1, 2)), event(2, kind, groups=groups)]  # not in order: the step counts
    rows = [*GRID, row(0.5, lr=lr, plan=plan), row(0.7, lr=lr, plan=plan, method="adaptlr", findings=findings)]
    out = line(rows)
    assert out["detection"] == 1.0
    assert out["diagnosis"] == float(right)


def test_what_was_not_found_was_not_diagnosed() -> None:
    out = line(
        [*GRID, row(0.5, lr=1.0, method="adaptlr"), row(0.8, lr=1.0, seed=1, method="adaptlr", findings=[event(1, "too hot")])]
    )
    assert (out["detection"], out["diagnosis"]) == (0.5, 0.5)


@pytest.mark.parametrize(("large", "steps"), [(3, 2.0), (None, 5.0), (7, 5.0)])
def test_steps_are_counted_from_the_first_update_that_was_too_large(large: int | None, steps: float) -> None:
    decisions = [event(1, "too cold"), event(4, "too hot", changes=False), event(5, "divergence")]
    out = line([*GRID, row(0.8, lr=1.0, method="adaptlr", decisions=decisions, first_large_step=large)])
    assert out["steps_to_first_right_decision"] == steps
    assert out["far_too_hot_flat"] == {"runs": 1, "decided": 1, "within_2_steps": int(steps <= 2), "most_steps": int(steps)}


def test_peers_that_do_not_speak_have_no_detection_and_optimizers_no_false_positives() -> None:
    rows = [*GRID, row(0.8, plan=OWN, method="prodigy")]
    out = line(rows, "prodigy")
    assert out["detection"] is out["diagnosis"] is out["false_positive_rate"] is out["steps_to_first_right_decision"] is None


def test_a_method_with_its_own_learning_rate_counts_in_every_cell_of_the_column_and_in_no_other() -> None:
    other = Column(task="wine", net="mlp", optimizer="sgd", schedule="flat")
    rows = [*GRID, row(0.85, plan=OWN, method="prodigy"), row(0.9, lr=0.1, column=other), row(0.5, lr=1.0, column=other)]
    cells = [c for c in score(rows) if c.method == "prodigy"]
    assert sorted(c.plan for c in cells) == ["0.001", "0.1", "1"]
    assert all(c.column == COLUMN.name and c.recovered == pytest.approx(1.0) for c in cells)


def test_late_breaks_are_scored_apart_against_the_unbroken_run() -> None:
    late = [row(m, lr=0.1, method=method, fault="ramp") for method, m in (("plain", 0.5), ("adaptlr", 0.815))]
    late += [row(m, lr=0.1, method=method, fault="nan-batch") for method, m in (("plain", 0.5), ("adaptlr", 0.85))]
    out = line([*GRID, row(0.85, lr=0.1, method="adaptlr"), *late])
    assert out["cells"] == 1
    assert out["late_breaks"]["worst"] == pytest.approx(0.9)
    assert out["late_breaks"]["ramp"]["mean"] == pytest.approx(0.9)
    assert out["late_breaks"]["nan-batch"]["mean"] == pytest.approx(1.0)


def test_of_a_late_break_counts_what_was_found_from_the_break_on() -> None:
    found = [
        row(0.85, lr=0.1, method="adaptlr", fault="ramp", fault_step=60, findings=[event(10, "too cold"), event(62, "too hot")]),
        row(0.85, lr=0.1, method="adaptlr", fault="nan-batch", fault_step=60, findings=[event(10, "non-finite")]),
        row(0.85, lr=0.1, method="adaptlr", fault="shift", fault_step=60),
    ]
    late = [row(0.5, lr=0.1, fault=f) for f in ("ramp", "nan-batch", "shift")]
    out = line([*GRID, *late, *found])["late_breaks"]
    assert out["detection"] == out["diagnosis"] == pytest.approx(0.5), "a shift is nobody's wrong learning rate"
