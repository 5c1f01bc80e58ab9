"""Rows -> cells: the oracle of each column, and what each method recovered of it. Pure."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

HEALTHY = 0.97  # plain recovers as much: nothing to put right
Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """The best plain fixed learning rate of a column."""

    value: float  # mean of seeds
    lr: float
    top_lr: float  # the largest learning rate of the grid at which plain is healthy
    chance: float

    @property
    def room(self) -> float:
        """What there is to recover."""
        return self.value - self.chance

    def recovered(self, metric: float) -> float:
        """0 is chance, or worse (an untrained net of two classes may well answer worse than chance); above 1 is above the grid."""
        return max(0.0, (metric - self.chance) / self.room) if self.room > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One cell under one method: every seed's row, and what was recovered."""

    column: str
    half: str
    plan: str
    plan_kind: str
    lr: float | None
    fault: str
    method: str
    shares: tuple[float, ...]  # recovered, one a seed
    rows: tuple[Row, ...]
    best_lr: float
    healthy: bool  # the plain run recovers 0.97 and more, and nothing breaks
    plain: float  # what plain recovers, mean of seeds
    plain_se: float  # one standard error of the plain mean, as a share of the oracle

    @property
    def recovered(self) -> float:
        return statistics.fmean(self.shares)

    @property
    def planted(self) -> str:
        """What is wrong: "too hot", "too cold", "starved group", "hot group"; or the late break; for OWN plans the cell's own."""
        if self.fault != "none":
            return self.fault
        if self.plan_kind == "starving":
            return "starved group"
        if self.plan_kind == "hot group":
            return "hot group"
        return "too hot" if self.lr is not None and self.lr > self.best_lr else "too cold"


def oracles(rows: Iterable[Row]) -> dict[str, Oracle]:
    """Per column, from plain rows on the grid. Of equals, the smallest learning rate."""
    metrics: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    chance: dict[str, float] = {}
    for r in rows:
        if r["method"] == "plain" and r["plan_kind"] == "grid" and r["fault"] == "none" and r["error"] is None:
            metrics[r["column"]][r["lr"]].append(r["metric"])
            chance[r["column"]] = r["chance"]
    out = {}
    for column, by_lr in metrics.items():
        lr = max(sorted(by_lr), key=lambda lr: statistics.fmean(by_lr[lr]))
        best = Oracle(value=statistics.fmean(by_lr[lr]), lr=lr, top_lr=lr, chance=chance[column])
        healthy = [x for x, seeds in by_lr.items() if best.recovered(statistics.fmean(seeds)) >= HEALTHY]
        out[column] = dataclasses.replace(best, top_lr=max(healthy, default=lr))
    return out


def score(rows: Sequence[Row]) -> list[Scored]:
    """Every cell under every method. A run that crashed has recovered nothing.

    A method that brings its own learning rate has one run a column and seed: it counts in each of the column's cells.
    """
    best = oracles(rows)
    rows = [r for r in rows if r["column"] in best]
    cells: dict[tuple[str, str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    own: dict[tuple[str, str], dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for r in rows:
        if r["plan_kind"] == "own":
            own[r["column"], r["fault"]][r["method"]].append(r)
        else:
            cells[r["column"], r["fault"], _place(r)][r["method"]].append(r)
    errors = _plain_errors(rows, best)
    out = []
    for (column, fault, _), by_method in cells.items():
        if "plain" not in by_method:
            continue
        oracle = best[column]
        plain_rows = by_method["plain"]
        plain = statistics.fmean(_share(r, oracle) for r in plain_rows)
        first = plain_rows[0]
        for method, runs in {**by_method, **own.get((column, fault), {})}.items():
            ordered = sorted(runs, key=lambda r: r["seed"])
            out.append(
                Scored(
                    column=column,
                    half=first["half"],
                    plan=first["plan"],
                    plan_kind=first["plan_kind"],
                    lr=first["lr"],
                    fault=fault,
                    method=method,
                    shares=tuple(_share(r, oracle) for r in ordered),
                    rows=tuple(ordered),
                    best_lr=oracle.lr,
                    healthy=fault == "none" and plain >= HEALTHY,
                    plain=plain,
                    plain_se=_standard_error(plain_rows, oracle, errors.get(column, 0.0)),
                )
            )
    return out


def _place(row: Row) -> str:
    return f"{row['plan']} {row['lrs']}"


def _share(row: Row, oracle: Oracle) -> float:
    return 0.0 if row["error"] is not None else oracle.recovered(row["metric"])


def _plain_errors(rows: Iterable[Row], best: Mapping[str, Oracle]) -> dict[str, float]:
    """Per column, the standard deviation from seed to seed of what plain recovers in a healthy cell, pooled over those cells.

    Two or three seeds say little of their own spread; the healthy cells of a column together say more.
    """
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for r in rows:
        if r["method"] == "plain" and r["fault"] == "none":
            groups[r["column"]][_place(r)].append(_share(r, best[r["column"]]))
    out = {}
    for column, cells in groups.items():
        healthy = [s for s in cells.values() if statistics.fmean(s) >= HEALTHY and len(s) > 1]
        freedom = sum(len(s) - 1 for s in healthy)
        if freedom:
            out[column] = math.sqrt(sum(statistics.variance(s) * (len(s) - 1) for s in healthy) / freedom)
    return out


def _standard_error(runs: Sequence[Row], oracle: Oracle, spread: float) -> float:
    """Of the plain mean: from seed to seed, or from the size of the validation part, whichever is larger."""
    room = oracle.value - oracle.chance
    sampling = [r["metric_se"] for r in runs if r["error"] is None]
    sampled = statistics.fmean(sampling) / room if sampling and room > 0 else 0.0
    return max(spread / math.sqrt(len(runs)), sampled)
