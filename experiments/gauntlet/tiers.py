"""How much is run: which columns, learning rates, late breaks, methods and seeds. And what that will cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.gauntlet.cells import GRID, OWN, REVERSED, SLICE, Cell, Column, edge, hot_group, uniform
from experiments.gauntlet.methods import METHODS

LATE = ("ramp", "shift", "nan-batch", "scaled-batch")
Run = tuple[Cell, str]


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A size of the gauntlet."""

    name: str
    columns: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    edges: tuple[float, ...] = (2.0, 5.0)
    late: tuple[str, ...] = LATE
    late_columns: tuple[str, ...] | None = None  # None: all
    timing_columns: tuple[str, ...] = ()


def first_runs(columns: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The plain grid, from which each column's oracle and best learning rate are taken."""
    return [(Cell(column=Column.parse(c), plan=uniform(lr), seed=s), "plain") for c in columns for lr in GRID for s in seeds]


def other_runs(
    tier: Tier, columns: Sequence[str], seeds: Sequence[int], methods: Sequence[str], best: Mapping[str, float]
) -> list[Run]:
    """Everything else. Plain is always among it: each cell is judged against it."""
    out: list[Run] = []
    for name in columns:
        column, lr = Column.parse(name), best[name]
        grid = [uniform(x) for x in GRID]
        extra = [SLICE, REVERSED, hot_group(lr), *(edge(lr, f) for f in tier.edges)]
        late = tier.late if tier.late_columns is None or name in tier.late_columns else ()
        for method in dict.fromkeys(("plain", *methods)):
            own = METHODS[method].own_lr
            plans = [OWN] if own else extra if method == "plain" else [*grid, *extra]
            for seed in seeds:
                out += [(Cell(column=column, plan=p, seed=seed), method) for p in plans]
                out += [(Cell(column=column, plan=OWN if own else uniform(lr), seed=seed, fault=f), method) for f in late]
    return out


_SMOKE = (
    "digits/mlp/sgd/flat",
    "digits/resnet/adam/flat",
    "cancer/mlp/adamw/one-cycle",
)
TIERS: dict[str, Tier] = {
    t.name: t
    for t in (
        Tier(
            name="smoke",
            columns=_SMOKE,
            methods=("plain", "adaptlr"),
            seeds=(0,),
            late=(),
            timing_columns=("digits/resnet/adam/flat",),
        ),
    )
}
