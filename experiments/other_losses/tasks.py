"""All tasks by name."""

from __future__ import annotations

from experiments.other_losses.chances import CHANCES
from experiments.other_losses.functions import FUNCTIONS
from experiments.other_losses.losses import LOSSES
from experiments.other_losses.models import MODELS
from experiments.other_losses.pictures import PICTURES
from experiments.other_losses.task import Task

TASKS: dict[str, Task] = {t.name: t for t in (*LOSSES, *FUNCTIONS, *PICTURES, *CHANCES)}
SIMPLE: dict[str, Task] = {t.name: t for t in MODELS}
ALL = TASKS | SIMPLE
