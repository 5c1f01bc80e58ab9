"""Tasks by name. Loading one is cheap, its data are made or read once a process."""

from __future__ import annotations

from experiments.gauntlet.tasks.fresh import FRESH
from experiments.gauntlet.tasks.images import DIGITS, FASHION
from experiments.gauntlet.tasks.record import Data, Task
from experiments.gauntlet.tasks.sequences import MARKOV, RECALL, TOPICS
from experiments.gauntlet.tasks.tabular import CANCER, DIABETES, WINE
from experiments.gauntlet.tasks.unseen import UNSEEN

TASKS: dict[str, Task] = {t.name: t for t in (FASHION, DIGITS, RECALL, MARKOV, TOPICS, CANCER, WINE, DIABETES, *UNSEEN, *FRESH)}

__all__ = ["TASKS", "Data", "Task"]
