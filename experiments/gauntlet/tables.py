"""The results as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments.gauntlet.faults import FAULTS
from experiments.gauntlet.methods.ablation import WITHOUT
from experiments.gauntlet.published import decided
from experiments.gauntlet.recovered import Scored

_COLUMNS = (
    ("mean", "mean"),
    ("p5", "p5"),
    ("worst", "worst"),
    ("worst_seed", "worst seed"),
    ("detection", "detection"),
    ("diagnosis", "diagnosis"),
    ("false_positive_rate", "false positives"),
    ("harm_rate", "harm"),
    ("steps_to_first_right_decision", "steps to right"),
    ("wall_over_plain", "wall / plain"),
)


def markdown(summary: Mapping[str, Any], cells: Sequence[Scored]) -> str:
    """The whole page: methods over all columns, both halves, late breaks, and column by column."""
    parts = ["# The gauntlet", "", f"`{summary['command']}`", "", "## All columns", "", method_table(summary["methods"])]
    for half in ("tuned", "held-out"):
        if summary["halves"][half]:
            parts += ["", f"## {half.capitalize()} half of the columns", "", method_table(summary["halves"][half])]
    if any(m["false_positives_by_plan"] for m in summary["methods"].values()):
        parts += ["", "## Healthy runs that were changed, of all healthy ones, by plan", "", changed_table(summary["methods"])]
    if any(m["late_breaks"] for m in summary["methods"].values()):
        parts += ["", "## Late breaks", "", late_table(summary["methods"])]
    if "adaptlr" in summary["methods"] and any(m.startswith(WITHOUT) for m in summary["methods"]):
        parts += ["", "## What each rule is worth", "", ablation_table(cells)]
    parts += ["", "## Column by column: mean recovered, and the worst cell", "", column_table(cells)]
    parts += ["", "## adaptlr's worst cells and what it cost healthy ones", "", worst_table(cells, "adaptlr")]
    return "\n".join(parts) + "\n"


def method_table(methods: Mapping[str, Mapping[str, Any]]) -> str:
    head = ["method", *(title for _, title in _COLUMNS), "cells", "errors"]
    ranked = sorted(methods.items(), key=lambda kv: -(kv[1]["mean"] or 0.0))
    return _table(head, [[m, *(_cell(v[key]) for key, _ in _COLUMNS), v["cells"], v["errors"]] for m, v in ranked])


def changed_table(methods: Mapping[str, Mapping[str, Any]]) -> str:
    of = {m: v["false_positives_by_plan"] for m, v in methods.items() if v["false_positives_by_plan"]}
    plans = sorted({plan for v in of.values() for plan in v})
    rows = [[m, *(f"{v[p]['changed']} of {v[p]['healthy_runs']}" if p in v else "" for p in plans)] for m, v in of.items()]
    return _table(["method", *plans], rows)


def late_table(methods: Mapping[str, Mapping[str, Any]]) -> str:
    with_late = {m: v["late_breaks"] for m, v in methods.items() if v["late_breaks"]}
    faults = sorted({f for v in with_late.values() for f in v if f in FAULTS})
    numbers = ("mean", "worst", "detection", "diagnosis")
    rows = [
        [m, *(_cell(v[key]) for key in numbers), *(f"{v[f]['mean']:.3f} ({v[f]['worst']:.3f})" if f in v else "" for f in faults)]
        for m, v in with_late.items()
    ]
    return _table(["method", *numbers, *faults], rows)


def column_table(cells: Iterable[Scored]) -> str:
    """Mean (worst) of each method in each column; the best mean is bold."""
    by: dict[str, dict[str, list[float]]] = {}
    for c in cells:
        if c.fault == "none":
            by.setdefault(c.column, {}).setdefault(c.method, []).append(c.recovered)
    methods = list(dict.fromkeys(m for v in by.values() for m in v))
    rows = []
    for column, v in sorted(by.items()):
        means = {m: statistics.fmean(s) for m, s in v.items()}
        best = max(means.values())
        row = [column]
        for m in methods:
            text = f"{means[m]:.3f} ({min(v[m]):.2f})" if m in means else ""
            row.append(f"**{text}**" if text and means[m] == best else text)
        rows.append(row)
    return _table(["column", *methods], rows)


def ablation_table(cells: Iterable[Scored]) -> str:
    """What becomes of the runs without late breaks when a rule is off: the most needed rule first."""
    by: dict[str, dict[tuple[str, str], Scored]] = {}
    for c in cells:
        if c.fault == "none":
            by.setdefault(c.method, {})[c.column, c.plan] = c
    rows = []
    for method in (m for m in by if m.startswith(WITHOUT)):
        pairs = [(cell, with_it) for place, cell in by[method].items() if (with_it := by["adaptlr"].get(place))]
        differ = [a.recovered - b.recovered for a, b in pairs if _metrics(a) != _metrics(b)]
        mean = sum(differ) / len(pairs)
        rows.append((mean, method.removeprefix(WITHOUT), len(differ), min(differ, default=0.0), max(differ, default=0.0)))
    head = ["off", "cells that differ", "mean of all", "most lost", "most gained"]
    return _table(head, [[name, n, f"{mean:+.4f}", f"{low:+.2f}", f"{high:+.2f}"] for mean, name, n, low, high in sorted(rows)])


def _metrics(cell: Scored) -> list[Any]:
    return [r["metric"] for r in cell.rows]


def worst_table(cells: Iterable[Scored], method: str, n: int = 25) -> str:
    """The cells in which the method recovered least, and what it decided there."""
    mine = sorted((c for c in cells if c.method == method), key=lambda c: c.recovered)[:n]
    rows = []
    for c in mine:
        said = decided([d for r in c.rows for d in r.get("decisions") or ()][:4]) or "nothing"
        rows.append([c.column, c.plan, c.fault, f"{c.plain:.3f}", f"{c.recovered:.3f}", f"{min(c.shares):.3f}", said])
    return _table(["column", "plan", "break", "plain", method, "worst seed", "decided (step: why)"], rows)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}" if abs(value) < 100 else f"{value:.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(x) for x in row) + " |" for row in rows])
