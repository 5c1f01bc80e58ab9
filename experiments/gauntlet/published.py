"""Runs that were published with their results, to be compared with and not made again."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.gauntlet.cells import Cell, Column, Plan
from experiments.gauntlet.engine import key, left
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.provenance import fingerprint
from experiments.gauntlet.run import identity
from experiments.gauntlet.store import Row, Store
from experiments.gauntlet.tiers import Run

_NUMBERS, _DIGITS = ("metric", "chance", "metric_se", "cpu_seconds"), 5


def short(row: Mapping[str, Any]) -> Row:
    """What a run came to, and what was decided in it, without all that ``rows.parquet`` holds."""
    kept = {name: row[name] for name in ("method", "column", "half", "plan")}
    place = {"lrs": ";".join(f"{lr:g}" for lr in row["lrs"]), "seed": row["seed"], "fault": row["fault"]}
    numbers = {name: row.get(name) for name in _NUMBERS}
    rounded = {name: value if value is None else round(value, _DIGITS) for name, value in numbers.items()}
    return {**kept, **place, **rounded, "error": row["error"], "decided": decided(row.get("decisions") or ())}


def decided(decisions: Iterable[Mapping[str, Any]]) -> str:
    """Steps, and why."""
    return "; ".join(f"{d['step']}: {'/'.join(d['kinds'])}" for d in decisions)


class Published:
    """The rows of a results folder that can stand in for runs: of methods that decide nothing, made by the same code and packages.

    Raises:
        FileNotFoundError: the folder has no ``rows.csv`` or no ``summary.json``.
        ValueError: its rows say too little, as those of older versions do.
    """

    def __init__(self, folder: Path) -> None:
        summary = json.loads((folder / "summary.json").read_text())
        self.commit: str | None = summary["commit"]
        same = {m for m, made_by in summary["fingerprints"].items() if m in METHODS and made_by == fingerprint(m)}
        self.methods = {m for m in same if not METHODS[m].speaks and not METHODS[m].steps_in}
        with (folder / "rows.csv").open(newline="") as file:
            reader = csv.DictReader(file)
            missing = {"lrs", *_NUMBERS} - set(reader.fieldnames or ())
            if missing:
                raise ValueError(f"{folder / 'rows.csv'} has no {', '.join(sorted(missing))}: it was written by an older version")
            self._rows = {key(_run(row)): row for row in reader if row["method"] in self.methods and not row["error"]}

    def give(self, runs: Sequence[Run], store: Store) -> None:
        """Add to ``store`` what is here of these runs and not there."""
        for cell, method in left(runs, store):
            row = self._rows.get(key((cell, method)))
            if row is None:
                continue
            numbers = {name: float(row[name]) for name in _NUMBERS}
            more = {"error": None, "seconds": numbers["cpu_seconds"], "made_by": fingerprint(method), "published": self.commit}
            store.add(identity(cell, method) | numbers | more)


def _run(row: Mapping[str, str]) -> Run:
    plan = Plan(name=row["plan"], lrs=tuple(float(lr) for lr in row["lrs"].split(";") if lr))
    return Cell(column=Column.parse(row["column"]), plan=plan, seed=int(row["seed"]), fault=row["fault"]), row["method"]
