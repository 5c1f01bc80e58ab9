"""Runs eight times as long, at the learning rate that is best for short ones: does adaptlr leave them alone?

    python -m experiments.other_losses.longer [--seeds 0,1] [--tasks density,words] [--out runs/longer] [--quick]

The tasks, optimizers and schedules of ``experiments.other_losses``, 1,280 to 4,000 steps, at the best of its learning rates as its
published table has it; without adaptlr, with it, and with it told nothing of the run's length. 186 runs a seed, a quarter of an
hour on two cores. What is finished is not run again: after a change of adaptlr, remove its runs. The folder gets ``table.csv`` and
``summary.json``; losses are those of the validation part.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.everyday.runs import METHODS, first_done
from experiments.other_losses.runs import train
from experiments.other_losses.tasks import TASKS
from experiments.recovery import Run, commits, finished, tell
from experiments.sweep import command_line, make

TIMES = 8
_TABLE = Path(__file__).parents[2] / "docs/results/other_losses/table.csv"


def best_lrs(table: Path = _TABLE) -> dict[tuple[str, str, str], float]:
    """Of each task, optimizer and schedule, as a table of ``experiments.other_losses`` has it: where plain recovers most."""
    best: dict[tuple[str, str, str], tuple[float, float]] = {}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["method"] == "plain":
                column = row["task"], row["optimizer"], row["schedule"]
                best[column] = max(best.get(column, (-1.0, 0.0)), (float(row["recovered"]), float(row["lr"])))
    return {column: lr for column, (_, lr) in best.items()}


def long_runs(seeds: Iterable[int], tasks: Iterable[str]) -> list[Run]:
    seeds, tasks = list(seeds), list(tasks)
    return [
        Run(task=task, optimizer=optimizer, schedule=schedule, lr=lr, seed=seed, method=method)
        for (task, optimizer, schedule), lr in best_lrs().items()
        if task in tasks
        for seed in seeds
        for method in METHODS
    ]


def table(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a run with adaptlr: its loss and that without, and what was done first."""
    rows = list(rows)
    plain = {_of(r): r["loss"] for r in rows if r["method"] == "plain"}
    return [
        {
            **{key: r[key] for key in ("task", "optimizer", "schedule", "lr", "seed", "method", "begin")},
            "loss_plain": plain[_of(r)],
            "loss": r["loss"],
            "decisions": len(r["decisions"]),
            "first": first_done(r),
        }
        for r in rows
        if r["method"] != "plain"
    ]


def _of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("task", "optimizer", "schedule", "lr", "seed"))


def summary(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per method: how many runs there are, how many were changed, and how many of those end lower and higher than without."""
    lines, out = list(lines), dict[str, Any]()
    for method in dict.fromkeys(line["method"] for line in lines):
        mine = [line for line in lines if line["method"] == method]
        changed = [line for line in mine if line["decisions"]]
        out[method] = {
            "runs": len(mine),
            "changed": len(changed),
            "lower": sum(_is_lower(line["loss"], line["loss_plain"]) for line in changed),
            "higher": sum(_is_lower(line["loss_plain"], line["loss"]) for line in changed),
            "others_differ": sum(line["loss"] != line["loss_plain"] for line in mine if not line["decisions"]),
        }
    return out


def _is_lower(loss: float | None, other: float | None) -> bool:
    """Than the other loss; None is one that is not finite."""
    return loss is not None and (other is None or loss < other)


def publish(runs: Sequence[Run], out: Path, *, seeds: Sequence[int]) -> None:
    """``table.csv`` and ``summary.json`` in ``out``, the latter on the screen too."""
    rows = finished(runs, out)
    lines = table(rows)
    tell(out, lines, seeds=seeds, times=TIMES, methods=summary(lines), commits_of_runs=commits(rows))


def main() -> None:
    asked = command_line(__doc__, out="runs/longer", tasks=TASKS, quick="directions")
    make(asked, long_runs, partial(train, times=TIMES), publish)


if __name__ == "__main__":
    main()
