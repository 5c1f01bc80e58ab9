"""Learning rates a hundred times too large and a thousand times too small, under schedules that the gauntlet does not have.

    python -m experiments.everyday.wrong --data data [--seeds 0,1] [--nets mlp,vit] [--out runs/wrong] [--quick]

The five nets of ``experiments.everyday`` under warm restarts, cycles, steps down and a warm-up that takes half of the run.
*Recovered* is how far below guessing the error comes, over the same without adaptlr at the learning rate that is usual. 120 runs a
seed, four minutes on two cores. The folder gets ``table.csv`` and ``summary.json``.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.everyday.runs import NETS, TWO_STARTS, first_done, train
from experiments.parallel import run_all
from experiments.recovery import Run, finished, tell
from experiments.sweep import command_line

SCHEDULES = ("warm restarts", "triangular cycles", "steps down", "long warm-up")
FACTORS = (100.0, 0.001)
_GUESSING = 0.9  # error, of ten classes


def wrong_runs(seeds: Iterable[int], nets: Iterable[str]) -> list[Run]:
    """Plain at the usual learning rate, and adaptlr at the wrong ones."""
    seeds = list(seeds)
    return [
        Run(task=f"{net}, {way}", optimizer=optimizer, schedule="flat", lr=lr * factor, seed=seed, method=method)
        for net in nets
        for way in SCHEDULES
        for optimizer, lr in TWO_STARTS[net]
        for factor, method in ((1.0, "plain"), *((f, "adaptlr") for f in FACTORS))
        for seed in seeds
    ]


def table(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a run with adaptlr: what it recovers, and what was done first."""
    rows = list(rows)
    plain = {(r["task"], r["optimizer"], r["seed"]): r for r in rows if r["method"] == "plain"}
    out = []
    for r in rows:
        if r["method"] == "plain":
            continue
        usual = plain[r["task"], r["optimizer"], r["seed"]]
        recovered = max(0.0, (_GUESSING - r["loss"]) / (_GUESSING - usual["loss"]))
        factor = min(FACTORS, key=lambda f: abs(r["lr"] / usual["lr"] / f - 1))
        line = {key: r[key] for key in ("task", "optimizer", "lr", "seed")}
        out.append(
            {**line, "factor": factor, "error": round(r["loss"], 4), "recovered": round(recovered, 4), "first": first_done(r)}
        )
    return out


def summary(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per schedule and factor: how many runs there are, and the mean and the worst of what they recover."""
    by: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        by[f"{line['task'].split(', ')[1]}, x{line['factor']:g}"].append(line["recovered"])
    return {kind: {"runs": len(v), "mean": round(statistics.fmean(v), 3), "worst": round(min(v), 3)} for kind, v in by.items()}


def publish(runs: Sequence[Run], out: Path, *, seeds: Sequence[int]) -> None:
    """``table.csv`` and ``summary.json`` in ``out``, the latter on the screen too."""
    rows = finished(runs, out)
    lines = table(rows)
    made_by = sorted({r["commit"] for r in rows if r.get("commit")})
    tell(out, lines, seeds=seeds, recovered=summary(lines), commits_of_runs=made_by)


def main() -> None:
    asked = command_line(
        __doc__, out="runs/wrong", tasks=NETS, quick="mlp", called="nets", data="FashionMNIST, as torchvision has it"
    )
    runs = wrong_runs(asked.seeds, asked.tasks)
    run_all(runs, train, asked.out, jobs=asked.jobs, data=asked.data)
    publish(runs, asked.out, seeds=asked.seeds)


if __name__ == "__main__":
    main()
