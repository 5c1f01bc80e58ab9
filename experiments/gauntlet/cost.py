"""How long a gauntlet will take, before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from experiments.gauntlet.cells import GRID
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.methods.adapt import AdaptLR
from experiments.gauntlet.store import Row
from experiments.gauntlet.tiers import Run, Tier

#: Processor seconds of one plain run, start to end, measured on one core of the machine that the tiers were cut for.
PLAIN_S = {
    "fashion/resnet": 4.6,
    "fashion/vgg": 3.1,
    "fashion/vit": 2.8,
    "fashion/mlp": 0.5,
    "digits/resnet": 1.4,
    "digits/vgg": 1.3,
    "digits/mlp": 0.15,
    "recall/lstm": 1.1,
    "recall/gru": 1.2,
    "markov/transformer": 1.8,
    "topics/bag": 0.45,
}
_OTHER_S = 0.15  # the tables' nets
#: And what a method multiplies that by, with a constant that matters where a step is tiny.
FACTOR = {"adaptlr": 1.15, "lr-find": 1.9, "prodigy": 1.3, "d-adaptation": 1.2, "dog": 1.3, "auto-trainer": 1.25}
ADDED_S = {"adaptlr": 0.35, "lr-find": 0.5}


def seconds_of(column: str, method: str, plain: dict[str, float] | None = None) -> float:
    like = "adaptlr" if issubclass(METHODS[method], AdaptLR) else method
    net = "/".join(column.split("/")[:2])
    base = (plain or {}).get(net, PLAIN_S.get(net, _OTHER_S))
    return base * FACTOR.get(like, 1.1) + ADDED_S.get(like, 0.0)


def measured(rows: Iterable[Row]) -> dict[str, float]:
    """Seconds of a plain run per task and net, from rows that are there."""
    by_net: dict[str, list[float]] = {}
    for r in rows:
        if r["method"] == "plain" and r["error"] is None:
            by_net.setdefault(f"{r['task']}/{r['net']}", []).append(r["seconds"])
    return {net: median(s) for net, s in by_net.items()}


def total_s(runs: Iterable[Run], plain: dict[str, float] | None = None) -> float:
    """Core-seconds."""
    return sum(seconds_of(cell.column.name, method, plain) for cell, method in runs)


def n_runs(tier: Tier, columns: Sequence[str], seeds: Sequence[int], methods: Sequence[str]) -> dict[tuple[str, str], int]:
    """How many runs there will be of each column and method: known before the best learning rates are."""
    out = {}
    for column in columns:
        late = len(tier.late) if tier.late_columns is None or column in tier.late_columns else 0
        for method in dict.fromkeys(("plain", *methods)):
            cells = 1 if METHODS[method].own_lr else len(GRID) + 3 + len(tier.edges)
            out[column, method] = (cells + late) * len(seeds)
    return out


def estimate_s(tier: Tier, columns: Sequence[str], seeds: Sequence[int], methods: Sequence[str]) -> float:
    """Core-seconds of a gauntlet from its beginning."""
    return sum(n * seconds_of(column, method) for (column, method), n in n_runs(tier, columns, seeds, methods).items())
