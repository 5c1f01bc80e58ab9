"""Runs at many learning rates, and what they come to: the share of the best fixed one's result that each recovers."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments.record import finite, versions, write
from experiments.tables import write_csv

LRS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
METHODS = ("plain", "adaptlr")
HEALTHY = 0.97  # plain recovers as much: nothing to put right


@dataclass(frozen=True, kw_only=True)
class Run:
    task: str
    optimizer: str
    schedule: str
    lr: float
    seed: int
    method: str  # one of METHODS, or what else an experiment compares

    @property
    def name(self) -> str:
        name = f"{self.task}-{self.optimizer}-{self.schedule}-{self.lr:g}-{self.method}-seed{self.seed}"
        return name.replace(" ", "-")


def runs_at_all_lrs(
    loops: Mapping[str, Iterable[tuple[str, str]]], seeds: Iterable[int], methods: Sequence[str] = METHODS
) -> list[Run]:
    """By every method; ``loops`` are the optimizers and schedules of each task."""
    seeds = list(seeds)
    return [
        Run(task=task, optimizer=o, schedule=s, lr=lr, seed=seed, method=method)
        for task, pairs in loops.items()
        for o, s in pairs
        for lr in LRS
        for seed in seeds
        for method in methods
    ]


def keep(run: Run, out: Path, *, begin: float, loss: float, **more: Any) -> None:
    """Write the folder of a run that is over: the loss that it began with, and the one at its end, by which it is judged."""
    (out / run.name).mkdir(parents=True, exist_ok=True)
    write(out / run.name / "run.json", {**asdict(run), "begin": begin, "loss": finite(loss), **versions(), **more})


def publish(runs: Iterable[Run], out: Path, *, seeds: Sequence[int], **more: Any) -> None:
    """What the finished runs in ``out`` come to: ``table.csv`` and ``summary.json`` there, the latter on the screen too."""
    cells = recovered(finished(runs, out))
    tell(out, cells, seeds=seeds, **more, methods=summary(cells))


def finished(runs: Iterable[Run], out: Path) -> list[dict[str, Any]]:
    """What :func:`keep` wrote of each."""
    return [json.loads((out / r.name / "run.json").read_text()) for r in runs]


def commits(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those that finished runs were made at."""
    return sorted({r["commit"] for r in rows if r.get("commit")})


def tell(out: Path, lines: Sequence[Mapping[str, Any]], **summary: Any) -> None:
    """``lines`` to ``table.csv`` in ``out``; ``summary``, with versions, to ``summary.json`` there, and to the screen."""
    write_csv(out / "table.csv", lines)
    told = {**summary, "versions": versions()}
    write(out / "summary.json", told)
    print(json.dumps(told, indent=1))


def recovered(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a cell and method, mean of seeds: the share of the way from the loss at the beginning down to the best fixed
    learning rate's that a run ends with. More than all of it counts as 1, and less than nothing as 0."""
    by_cell: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for r in rows:
        by_cell[r["task"], r["optimizer"], r["schedule"], r["lr"], r["method"]].append(r)
    best: dict[tuple[Any, ...], float] = {}
    for (*column, _, method), runs in by_cell.items():
        if method == "plain" and all(r["loss"] is not None for r in runs):
            mean = statistics.fmean(r["loss"] for r in runs)
            best[tuple(column)] = min(best.get(tuple(column), mean), mean)
    out = []
    for (task, optimizer, name, lr, method), runs in sorted(by_cell.items()):
        least = best[task, optimizer, name]
        begin = statistics.fmean(r["begin"] for r in runs)
        shares = [0.0 if r["loss"] is None else min(1.0, max(0.0, (begin - r["loss"]) / (begin - least))) for r in runs]
        out.append(
            {
                "task": task,
                "optimizer": optimizer,
                "schedule": name,
                "lr": lr,
                "method": method,
                "begin": round(begin, 4),
                "best": round(least, 4),
                "recovered": round(statistics.fmean(shares), 4),
                "worst_seed": round(min(shares), 4),
                "runs": len(runs),
                "runs_with_decision": sum(bool(r.get("decisions")) for r in runs),
            }
        )
    return out


def summary(cells: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per method: mean, 5th percentile and worst cell; task by task; and what was done to healthy ones."""
    cells = list(cells)
    plain = {_place(c): c["recovered"] for c in cells if c["method"] == "plain"}
    out: dict[str, Any] = {}
    for method in dict.fromkeys(c["method"] for c in cells):
        mine = [c for c in cells if c["method"] == method]
        healthy = [c for c in mine if plain[_place(c)] >= HEALTHY]
        every = sorted(c["recovered"] for c in mine)
        out[method] = {
            "mean": round(statistics.fmean(every), 3),
            "p5": round(every[len(every) // 20], 3),
            "worst": every[0],
            "by_task": {
                t: round(statistics.fmean(c["recovered"] for c in mine if c["task"] == t), 3)
                for t in dict.fromkeys(c["task"] for c in mine)
            },
            "healthy_runs": sum(c["runs"] for c in healthy),
            "healthy_runs_with_decision": sum(c["runs_with_decision"] for c in healthy),
            "worst_healthy": min((c["recovered"] for c in healthy), default=None),
        }
    return out


def _place(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["task"], cell["optimizer"], cell["schedule"], cell["lr"]
