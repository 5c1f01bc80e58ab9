"""Rows of imagined runs, for the scoring."""

from __future__ import annotations

from typing import Any

from experiments.gauntlet.cells import Cell, Column, Plan, uniform
from experiments.gauntlet.run import identity

COLUMN = Column(task="cancer", net="mlp", optimizer="sgd", schedule="flat")


def row(
    metric: float, *, plan: Plan | None = None, lr: float = 0.1, method: str = "plain", seed: int = 0, **more: Any
) -> dict[str, Any]:
    """A finished run; chance is 0.5, and one standard error of the metric 0.01."""
    fault = more.pop("fault", "none")
    cell = Cell(column=more.pop("column", COLUMN), plan=plan or uniform(lr), seed=seed, fault=fault)
    return {
        **identity(cell, method),
        "error": None,
        "metric": metric,
        "chance": 0.5,
        "metric_se": 0.01,
        "fault_step": 0,
        "findings": [],
        "decisions": [],
        "first_large_step": None,
        "cpu_seconds": 1.0,
        **more,
    }


def event(step: int, kind: str, *, changes: bool = True, groups: tuple[int, ...] = (0,)) -> dict[str, Any]:
    return {"step": step, "kinds": [kind], "groups": list(groups), "changes": changes, "lower": True, "text": ""}
