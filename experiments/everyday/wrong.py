"""Learning rates a hundred times too large and a thousand times too small, under schedules and optimizers that the gauntlet lacks.

    python -m experiments.everyday.wrong --data data [--seeds 0,1] [--nets mlp,vit] [--out runs/wrong] [--quick]

The five nets of ``experiments.everyday`` under warm restarts, cycles, steps down and a warm-up that takes half of the run; and
under Lion, Muon, Adafactor and Adadelta, at the learning rate that is usual too, as under Prodigy, which has none that could be
wrong. *Recovered* is how far below guessing the error comes, over the same without adaptlr at the learning rate that is usual.
210 runs a seed, ten minutes on two cores. The folder gets ``table.csv`` and ``summary.json``.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.everyday.runs import NETS, TWO_STARTS, first_done, train
from experiments.everyday.ways import USUAL
from experiments.recovery import Run, commits, finished, tell
from experiments.sweep import command_line, make

SCHEDULES = ("warm restarts", "triangular cycles", "steps down", "long warm-up")
FACTORS = (100.0, 0.001)
#: With the learning rates of their authors and libraries.
OTHER_OPTIMIZERS = {"lion": 3e-4, "muon": 2e-2, "adafactor": 1e-2, "adadelta": 1.0, "prodigy": 1.0}
_GUESSING = 0.9  # error, of ten classes


def wrong_runs(seeds: Iterable[int], nets: Iterable[str]) -> list[Run]:
    """Plain at the usual learning rate, and adaptlr at the wrong ones; of an optimizer that is not asked elsewhere, at all."""
    seeds, nets = list(seeds), list(nets)
    kinds = [
        *((net, way, optimizer, lr, FACTORS) for net in nets for way in SCHEDULES for optimizer, lr in TWO_STARTS[net]),
        *((net, USUAL, o, lr, (1.0, *(FACTORS if o != "prodigy" else ()))) for net in nets for o, lr in OTHER_OPTIMIZERS.items()),
    ]
    return [
        Run(task=f"{net}, {way}", optimizer=optimizer, schedule="flat", lr=lr * factor, seed=seed, method=method)
        for net, way, optimizer, lr, factors in kinds
        for factor, method in ((1.0, "plain"), *((f, "adaptlr") for f in factors))
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
        factor = min((1.0, *FACTORS), key=lambda f: abs(r["lr"] / usual["lr"] / f - 1))
        line = {key: r[key] for key in ("task", "optimizer", "lr", "seed")}
        out.append(
            {**line, "factor": factor, "error": round(r["loss"], 4), "recovered": round(recovered, 4), "first": first_done(r)}
        )
    return out


def summary(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per schedule, or optimizer, and factor: how many runs, how many of them were changed, mean and worst of what they recover."""
    by: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        way = line["task"].split(", ")[1]
        by[f"{line['optimizer'] if way == USUAL else way}, x{line['factor']:g}"].append(line)
    return {
        kind: {
            "runs": len(mine),
            "changed": sum(bool(line["first"]) for line in mine),
            "mean": round(statistics.fmean(line["recovered"] for line in mine), 3),
            "worst": round(min(line["recovered"] for line in mine), 3),
        }
        for kind, mine in by.items()
    }


def publish(runs: Sequence[Run], out: Path, *, seeds: Sequence[int]) -> None:
    """``table.csv`` and ``summary.json`` in ``out``, the latter on the screen too."""
    rows = finished(runs, out)
    lines = table(rows)
    tell(out, lines, seeds=seeds, recovered=summary(lines), commits_of_runs=commits(rows))


def main() -> None:
    asked = command_line(
        __doc__, out="runs/wrong", tasks=NETS, quick="mlp", called="nets", data="FashionMNIST, as torchvision has it"
    )
    make(asked, wrong_runs, train, publish)


if __name__ == "__main__":
    main()
