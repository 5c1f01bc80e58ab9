"""Losses of other kinds than those that the rules were made on: does adaptlr put those runs right, too?

    python -m experiments.other_losses [--seeds 0,1] [--tasks density,words] [--out runs/other_losses] [--quick]

Thirty-three tasks, two optimizers and schedules each, learning rates from 1e-6 to 10: 2,112 runs with two seeds, some twenty-five
minutes on two cores. --quick takes one task. What is finished is not run again: after a change of adaptlr, remove its runs.
The folder gets ``table.csv`` and ``summary.json``.
"""

from __future__ import annotations

from functools import partial

from experiments.other_losses.runs import all_runs, train
from experiments.other_losses.tasks import TASKS
from experiments.recovery import publish
from experiments.sweep import command_line, make


def main() -> None:
    asked = command_line(__doc__, out="runs/other_losses", tasks=TASKS, quick="directions")
    make(asked, all_runs, train, partial(publish, tasks={t: TASKS[t].what for t in asked.tasks}))


if __name__ == "__main__":
    main()
