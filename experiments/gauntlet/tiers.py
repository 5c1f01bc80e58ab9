"""How much is run: which columns, late breaks, methods and seeds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.gauntlet.cells import GRID, OWN, REVERSED, SLICE, Cell, Column, edge, hot_group, uniform
from experiments.gauntlet.methods import METHODS
from experiments.gauntlet.methods.ablation import WITHOUT
from experiments.gauntlet.optimizers import OPTIMIZERS
from experiments.gauntlet.recovered import Oracle
from experiments.gauntlet.schedules import SCHEDULES
from experiments.gauntlet.tasks import TASKS

LATE = ("ramp", "shift", "nan-batch", "scaled-batch")
ALL_METHODS = tuple(name for name, method in METHODS.items() if method.by_default)
Run = tuple[Cell, str]


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A size of the gauntlet."""

    name: str
    columns: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    edges: tuple[float, ...] = (2.0, 5.0)  # factors on a column's largest healthy one of the grid
    late: tuple[str, ...] = LATE
    late_columns: tuple[str, ...] | None = None  # where runs are broken late; None: in all
    timing_columns: tuple[str, ...] = ()  # where adaptlr's cost is measured step by step


def first_runs(columns: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """The plain grid, from which each column's oracle and best learning rate are taken."""
    return [(Cell(column=Column.parse(c), plan=uniform(lr), seed=s), "plain") for c in columns for lr in GRID for s in seeds]


def other_runs(
    tier: Tier, columns: Sequence[str], seeds: Sequence[int], methods: Sequence[str], best: Mapping[str, Oracle]
) -> list[Run]:
    """Everything else, given the best learning rate of each column. Plain is always among it: each cell is judged against it."""
    grid = [uniform(lr) for lr in GRID]
    out: list[Run] = []
    for name in columns:
        column, lr = Column.parse(name), best[name].lr
        extra = [SLICE, REVERSED, hot_group(lr), *(edge(best[name].top_lr, f) for f in tier.edges)]
        late = tier.late if tier.late_columns is None or name in tier.late_columns else ()
        for method, seed in itertools.product(dict.fromkeys(("plain", *methods)), seeds):
            own = METHODS[method].own_lr
            plans = [OWN] if own else extra if method == "plain" else [*grid, *extra]
            out += [(Cell(column=column, plan=p, seed=seed), method) for p in plans]
            out += [(Cell(column=column, plan=OWN if own else uniform(lr), seed=seed, fault=f), method) for f in late]
    return out


#: Two columns of each half.
_SMOKE = ("digits/mlp/adam/one-cycle", "digits/mlp/adamw/flat", "cancer/mlp/sgd/cosine", "topics/bag/rmsprop/cosine")

#: Every task and net, every optimizer with every schedule, spread so that no two of them always come together.
_STANDARD = (
    "fashion/resnet/adam/one-cycle",
    "fashion/resnet/sgd/flat",
    "fashion/vgg/adam/flat",
    "fashion/vgg/sgd/one-cycle",
    "fashion/vit/adamw/cosine",
    "fashion/mlp/rmsprop/one-cycle",
    "fashion/mlp/sgd/cosine",
    "digits/resnet/rmsprop/cosine",
    "digits/vgg/adamw/one-cycle",
    "digits/mlp/adam/cosine",
    "digits/mlp/sgd/flat",
    "recall/lstm/rmsprop/flat",
    "recall/gru/adam/cosine",
    "markov/transformer/adamw/one-cycle",
    "topics/bag/adam/one-cycle",
    "topics/bag/adamw/flat",
    "cancer/mlp/sgd/one-cycle",
    "cancer/mlp-bn/adamw/flat",
    "wine/mlp/rmsprop/cosine",
    "diabetes/mlp/adam/flat",
)
_STANDARD_LATE = (
    "fashion/mlp/sgd/cosine",
    "fashion/vgg/adam/flat",
    "digits/mlp/adam/cosine",
    "digits/resnet/rmsprop/cosine",
    "recall/gru/adam/cosine",
    "topics/bag/adamw/flat",
    "cancer/mlp-bn/adamw/flat",
)
#: Tasks, nets and most of the optimizers that the others do without. Measured once, then learned from.
_UNSEEN = (
    "characters/lstm/adam/one-cycle",
    "characters/lstm/adamw/flat",
    "ratings/factors/adagrad/flat",
    "ratings/factors/adam/one-cycle",
    "shapes/unet/adamw/flat",
    "friedman/mlp/radam/one-cycle",
    "friedman/mlp/sgd-plain/cosine",
    "garments/lenet/sgd-plain/flat",
    "garments/tanh-mlp/sgd/cosine",
    "garments/patch-conv/nadam/cosine",
    "garments/patch-conv/lamb/one-cycle",
    "pixels/autoencoder/adam/flat",
    "markers/rnn/rmsprop/cosine",
    "markers/post-norm/adam/flat",
)
#: Others again, made when all was chosen, and measured once before three more rules were taken from them.
_FRESH = (
    "spirals/norm-mlp/nesterov/one-cycle",
    "spirals/selu-mlp/adam/flat",
    "signals/conv1d/adamw/cosine",
    "signals/gru/adam/one-cycle",
    "clouds/pointnet/sgd/flat",
    "mixed/embeddings/adam/one-cycle",
    "waves/forecaster/rmsprop/flat",
    "mirror/encoder/adam/cosine",
    "clothes/mobile/sgd/cosine",
    "clothes/mixer/adamw/one-cycle",
    "clothes/weight-norm/adamax/flat",
)
#: Nets of the other tiers, 27 of the 38, with an optimizer and a schedule that they do not have there: drawn at random, most
#: optimizers from Adam, AdamW and SGD. Measured once before three more rules were taken from them.
_DRAWN = (
    "cancer/mlp-bn/sgd/one-cycle",
    "cancer/mlp/adamw/one-cycle",
    "clothes/mixer/sgd/flat",
    "clothes/mobile/adam/cosine",
    "clothes/weight-norm/lamb/flat",
    "clouds/pointnet/nesterov/cosine",
    "diabetes/mlp-bn/sgd-plain/flat",
    "diabetes/mlp/adamw/cosine",
    "digits/resnet/sgd/cosine",
    "fashion/vgg/adamw/one-cycle",
    "fashion/vit/adamax/one-cycle",
    "friedman/mlp/lamb/flat",
    "garments/lenet/adamw/flat",
    "garments/patch-conv/adamax/cosine",
    "markers/post-norm/sgd/one-cycle",
    "markers/rnn/adamw/flat",
    "mixed/embeddings/sgd/one-cycle",
    "pixels/autoencoder/sgd/cosine",
    "ratings/factors/adamw/flat",
    "recall/gru/sgd/cosine",
    "recall/lstm/adamw/cosine",
    "signals/conv1d/nadam/one-cycle",
    "spirals/norm-mlp/adamw/cosine",
    "spirals/selu-mlp/adagrad/cosine",
    "waves/forecaster/sgd/flat",
    "wine/mlp-bn/adamax/flat",
    "wine/mlp/adamw/one-cycle",
)
#: 26 nets drawn again, with an optimizer and a schedule that they have nowhere else, after all rules were chosen; nothing has been
#: learned from these.
_REDRAWN = (
    "cancer/mlp-bn/radam/cosine",
    "cancer/mlp/sgd/flat",
    "clothes/mobile/nadam/one-cycle",
    "clouds/pointnet/adamw/one-cycle",
    "diabetes/mlp-bn/lamb/cosine",
    "diabetes/mlp/sgd/flat",
    "digits/resnet/rmsprop/one-cycle",
    "digits/vgg/adam/cosine",
    "fashion/mlp/adam/flat",
    "fashion/vit/adam/flat",
    "friedman/mlp/adam/cosine",
    "garments/lenet/lamb/flat",
    "garments/tanh-mlp/nesterov/cosine",
    "markers/rnn/nadam/one-cycle",
    "markov/transformer/sgd/flat",
    "mirror/encoder/nesterov/cosine",
    "mixed/embeddings/radam/flat",
    "pixels/autoencoder/nadam/cosine",
    "ratings/factors/adam/flat",
    "recall/gru/lamb/one-cycle",
    "shapes/unet/nadam/flat",
    "signals/gru/rmsprop/cosine",
    "spirals/selu-mlp/adam/cosine",
    "topics/bag/sgd/cosine",
    "waves/forecaster/adamw/one-cycle",
    "wine/mlp/lamb/one-cycle",
)
#: 36 nets drawn once more in the same way. Two draws are left out: a column of ``smoke``, and matrix factors under SGD, of which no
#: fixed learning rate explains a hundredth, so that there is nothing to recover.
_THRICE = (
    "cancer/mlp-bn/adagrad/cosine",
    "cancer/mlp/adam/one-cycle",
    "characters/lstm/adagrad/flat",
    "clothes/mixer/sgd-plain/cosine",
    "clothes/mobile/adam/flat",
    "clothes/weight-norm/sgd/cosine",
    "clouds/pointnet/adagrad/flat",
    "diabetes/mlp-bn/nesterov/flat",
    "diabetes/mlp/radam/flat",
    "digits/resnet/adagrad/cosine",
    "digits/vgg/adagrad/one-cycle",
    "fashion/mlp/adam/one-cycle",
    "fashion/resnet/adamw/cosine",
    "fashion/vgg/adagrad/cosine",
    "fashion/vit/sgd/cosine",
    "friedman/mlp/rmsprop/one-cycle",
    "garments/lenet/lamb/one-cycle",
    "garments/patch-conv/adamw/one-cycle",
    "garments/tanh-mlp/nadam/cosine",
    "markers/post-norm/sgd-plain/cosine",
    "markers/rnn/sgd/cosine",
    "markov/transformer/adamax/cosine",
    "mirror/encoder/adam/one-cycle",
    "mixed/embeddings/nesterov/flat",
    "pixels/autoencoder/adam/one-cycle",
    "recall/gru/adamw/cosine",
    "recall/lstm/adamw/flat",
    "shapes/unet/nadam/cosine",
    "signals/conv1d/adam/flat",
    "signals/gru/adagrad/cosine",
    "spirals/norm-mlp/adam/cosine",
    "spirals/selu-mlp/sgd/one-cycle",
    "topics/bag/adam/cosine",
    "waves/forecaster/nadam/flat",
    "wine/mlp-bn/nadam/one-cycle",
    "wine/mlp/adamax/cosine",
)
#: The cheapest columns of all tiers, every second of them: what takes adaptlr with each rule off in turn.
_ABLATION = (
    "cancer/mlp-bn/sgd/one-cycle",
    "cancer/mlp/adamw/one-cycle",
    "diabetes/mlp-bn/sgd-plain/flat",
    "diabetes/mlp/adam/flat",
    "digits/mlp/sgd/flat",
    "digits/mlp/adam/cosine",
    "cancer/mlp-bn/adamw/flat",
    "topics/bag/adamw/flat",
    "fashion/mlp/rmsprop/one-cycle",
    "spirals/selu-mlp/adagrad/cosine",
    "spirals/norm-mlp/nesterov/one-cycle",
    "clouds/pointnet/sgd/flat",
    "mixed/embeddings/adam/one-cycle",
    "spirals/selu-mlp/adam/flat",
    "recall/lstm/rmsprop/flat",
    "ratings/factors/adagrad/flat",
)
_TIMED = ("fashion/resnet/sgd/flat", "fashion/mlp/sgd/cosine", "markov/transformer/adamw/one-cycle")


def _every_column() -> tuple[str, ...]:
    nets = [f"{t.name}/{net}" for t in TASKS.values() for net in t.nets]
    return tuple(f"{net}/{o}/{s}" for net, o, s in itertools.product(nets, OPTIMIZERS, SCHEDULES))


TIERS: dict[str, Tier] = {
    t.name: t
    for t in (
        Tier(
            name="smoke",
            columns=_SMOKE,
            methods=("plain", "adaptlr"),
            seeds=(0, 1),
            late=("ramp", "nan-batch"),
            late_columns=("digits/mlp/adam/one-cycle",),
            timing_columns=("digits/mlp/adam/one-cycle",),
        ),
        Tier(
            name="standard",
            columns=_STANDARD,
            methods=ALL_METHODS,
            seeds=(0, 1),
            late_columns=_STANDARD_LATE,
            timing_columns=_TIMED,
        ),
        Tier(name="unseen", columns=_UNSEEN, methods=ALL_METHODS, seeds=(0, 1), late_columns=()),
        Tier(name="fresh", columns=_FRESH, methods=ALL_METHODS, seeds=(0, 1), late_columns=()),
        Tier(name="drawn", columns=_DRAWN, methods=ALL_METHODS, seeds=(0, 1), late_columns=()),
        Tier(name="redrawn", columns=_REDRAWN, methods=ALL_METHODS, seeds=(2,), late_columns=()),
        Tier(name="thrice", columns=_THRICE, methods=ALL_METHODS, seeds=(3,), late_columns=()),
        Tier(
            name="ablation",
            columns=_ABLATION,
            methods=("plain", "adaptlr", "adaptlr-blind", *(m for m in METHODS if m.startswith(WITHOUT))),
            seeds=(0,),
            late_columns=tuple(c for c in _STANDARD_LATE if c in _ABLATION),
        ),
        Tier(name="full", columns=_every_column(), methods=ALL_METHODS, seeds=(0, 1, 2), timing_columns=_TIMED),
    )
}
