"""Cells -> one line of numbers a method. Pure; the definitions are those of docs/gauntlet.md."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.recovered import Row, Scored

#: What a first finding has to say, per planted fault: adaptlr's kinds, and AutoTrainer's names of symptoms.
_HOT = frozenset(
    {"too hot", "divergence", "collapse", "non-finite", "bad batch", "decay-dominated", "exploding", "dying", "oscillating"}
)
_COLD = frozenset({"too cold", "slow", "vanishing"})
RIGHT: dict[str, frozenset[str]] = {
    "too hot": _HOT,
    "too cold": _COLD,
    "starved group": frozenset({"starved group"}),
    "hot group": _HOT,
    "ramp": _HOT,
    "nan-batch": frozenset({"non-finite"}),
    "scaled-batch": frozenset({"bad batch", "too hot", "divergence", "non-finite", "exploding"}),
}
FAR = 10.0  # so many times the best learning rate is far too hot


def summarise(cells: Iterable[Scored], walls: Mapping[str, float]) -> dict[str, dict[str, Any]]:
    """Per method, the numbers of the summary. None where a number does not apply or nothing was there to count."""
    by_method: dict[str, list[Scored]] = {}
    for c in cells:
        by_method.setdefault(c.method, []).append(c)
    return {method: _line(method, mine, walls.get(method)) for method, mine in by_method.items()}


def _line(method: str, cells: Sequence[Scored], wall: float | None) -> dict[str, Any]:
    kind = METHODS[method]
    main = [c for c in cells if c.fault == "none"]
    late = [c for c in cells if c.fault != "none"]
    healthy, ruined = [c for c in main if c.healthy], [c for c in main if not c.healthy]
    shares = [c.recovered for c in main]
    runs = [(c, r) for c in ruined for r in c.rows]
    steps = [s for c, r in runs if (s := steps_to_right(c, r)) is not None]
    far = [(c, r) for c, r in runs if _far_too_hot(c)]
    far_steps = [s for c, r in far if (s := steps_to_right(c, r)) is not None]
    return {
        "mean": _mean(shares),
        "p5": float(np.percentile(shares, 5)) if shares else None,
        "worst": min(shares, default=None),
        "worst_seed": min((s for c in main for s in c.shares), default=None),
        "mean_ruined": _mean([c.recovered for c in ruined]),
        "worst_ruined": min((c.recovered for c in ruined), default=None),
        "detection": _share([bool(r.get("findings")) for _, r in runs]) if kind.speaks else None,
        "diagnosis": _share([right_first(c, r) for c, r in runs]) if kind.speaks else None,
        "false_positive_rate": _share([_changed(r) for c in healthy for r in c.rows]) if kind.steps_in else None,
        "false_positives_by_plan": _by_plan(healthy) if kind.steps_in else None,
        "harm_rate": _share([harmed(c) for c in healthy]),
        "steps_to_first_right_decision": float(statistics.median(steps)) if steps and kind.speaks else None,
        "far_too_hot_flat": {
            "runs": len(far),
            "decided": len(far_steps),
            "within_2_steps": sum(s <= 2 for s in far_steps),
            "most_steps": max(far_steps, default=None),
        }
        if kind.speaks
        else None,
        "wall_over_plain": wall,
        "late_breaks": _late(late),
        "cells": len(main),
        "ruined_cells": len(ruined),
        "healthy_cells": len(healthy),
        "healthy_runs": sum(len(c.rows) for c in healthy),
        "late_cells": len(late),
        "errors": sum(r["error"] is not None for c in cells for r in c.rows) if not kind.own_lr else _own_errors(cells),
    }


def right_first(cell: Scored, row: Row) -> bool:
    """The first finding is one that fits the planted fault; of a hot group it has to name the group."""
    first = min(row.get("findings") or (), key=lambda e: e["step"], default=None)
    return first is not None and _right(cell, first)


def steps_to_right(cell: Scored, row: Row) -> int | None:
    """Steps from the first update that was too large, where that is the fault and was measured, to the first right decision.

    From the start of the run (or of the late break) otherwise. None where no right decision was taken.
    """
    step = next((d["step"] for d in row.get("decisions") or () if d["changes"] and _right(cell, d)), None)
    if step is None:
        return None
    large = row.get("first_large_step") if cell.planted in ("too hot", "hot group") else None
    begin = large if large is not None and large <= step else row["fault_step"]
    return max(0, step - begin)


def harmed(cell: Scored) -> bool:
    """A healthy cell in which the method ends more than one standard error below plain."""
    return cell.plain - cell.recovered > cell.plain_se


def _right(cell: Scored, event: Mapping[str, Any]) -> bool:
    if not RIGHT.get(cell.planted, frozenset()) & set(event["kinds"]):
        return False
    return cell.planted != "hot group" or cell.rows[0]["hot_group"] in event["groups"]


def _far_too_hot(cell: Scored) -> bool:
    flat = cell.column.endswith("/flat")
    return flat and cell.planted == "too hot" and cell.lr is not None and cell.lr >= 0.999 * FAR * cell.best_lr


def _changed(row: Row) -> bool:
    return any(d["changes"] for d in row.get("decisions") or ())


def _by_plan(healthy: Iterable[Scored]) -> dict[str, dict[str, int]]:
    """How many healthy runs there are of each kind of plan, and how many of them were changed; the best learning rate is apart."""
    changed: dict[str, list[bool]] = {}
    for c in healthy:
        kind = "best" if c.plan_kind == "grid" and c.lr == c.best_lr else c.plan_kind
        changed.setdefault(kind, []).extend(_changed(r) for r in c.rows)
    return {kind: {"healthy_runs": len(these), "changed": sum(these)} for kind, these in sorted(changed.items())}


def _late(cells: Sequence[Scored]) -> dict[str, Any] | None:
    """Against the same run without the break, which is the column's oracle: breaks are planted at its learning rate.

    Found, and rightly, is what was found from the break on.
    """
    if not cells:
        return None
    by_fault: dict[str, list[float]] = {}
    for c in cells:
        by_fault.setdefault(c.fault, []).append(c.recovered)
    shares = [c.recovered for c in cells]
    runs = [(c, r) for c in cells if c.planted in RIGHT for r in c.rows]  # a shift of the data is nobody's wrong learning rate
    after = [(c, [f for f in r.get("findings") or () if f["step"] >= r["fault_step"]]) for c, r in runs]
    speaks = METHODS[cells[0].method].speaks
    return {
        "mean": _mean(shares),
        "worst": min(shares),
        "detection": _share([bool(found) for _, found in after]) if speaks else None,
        "diagnosis": _share([bool(found) and _right(c, found[0]) for c, found in after]) if speaks else None,
        **{f: {"mean": _mean(s), "worst": min(s)} for f, s in by_fault.items()},
    }


def _own_errors(cells: Sequence[Scored]) -> int:
    return len({r["key"] for c in cells for r in c.rows if r["error"] is not None})


def _mean(xs: Sequence[float]) -> float | None:
    return statistics.fmean(xs) if xs else None


def _share(xs: Sequence[bool]) -> float | None:
    return sum(xs) / len(xs) if xs else None
