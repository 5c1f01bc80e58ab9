"""Columns that nobody has chosen: every net of every task with an optimizer and a schedule drawn at random."""

from __future__ import annotations

import random

from experiments.gauntlet.optimizers import OPTIMIZERS
from experiments.gauntlet.schedules import SCHEDULES
from experiments.gauntlet.tasks import TASKS
from experiments.gauntlet.tiers import ALL_METHODS, TIERS, Tier

_USUAL = ("adam", "adamw", "sgd")
_TIMES = 3  # that each of these is as likely as each of the others


def draw(seed: int) -> Tier:
    """A tier of one column for each net that ``TIERS`` do not have with that optimizer and schedule; ``seed`` draws and trains.

    Whoever doubts that rules which were chosen on some columns hold on others draws columns of their own.
    """
    chance = random.Random(seed)
    optimizers = [o for o in OPTIMIZERS for _ in range(_TIMES if o in _USUAL else 1)]
    known = {c for tier in TIERS.values() if tier.name != "full" for c in tier.columns}
    columns = []
    for net in (f"{task.name}/{net}" for task in TASKS.values() for net in task.nets):
        drawn = (f"{net}/{chance.choice(optimizers)}/{chance.choice(SCHEDULES)}" for _ in range(1000))
        columns.append(next(c for c in drawn if c not in known))
    return Tier(name=f"draw-{seed}", columns=tuple(columns), methods=ALL_METHODS, seeds=(seed,), late_columns=())
