"""Losses of other kinds than those that the rules were made on: does adaptlr put those runs right, too?

    python -m experiments.other_losses [--seeds 0,1] [--tasks density,words] [--out runs/other_losses] [--quick]

Thirty-one tasks, two optimizers and schedules each, learning rates from 1e-6 to 10: 1,984 runs with two seeds, some twenty-five
minutes on two cores. --quick takes one task. What is finished is not run again: after a change of adaptlr, remove its runs.
The folder gets ``table.csv`` and ``summary.json``.
"""

from __future__ import annotations

from experiments.other_losses.runs import all_runs, train
from experiments.other_losses.tasks import TASKS
from experiments.parallel import run_all
from experiments.recovery import publish
from experiments.sweep import command_line


def main() -> None:
    asked = command_line(__doc__, out="runs/other_losses", tasks=TASKS, quick="directions")
    runs = all_runs(asked.seeds, asked.tasks)
    run_all(runs, train, asked.out, jobs=asked.jobs)
    publish(runs, asked.out, seeds=asked.seeds, tasks={t: TASKS[t].what for t in asked.tasks})


if __name__ == "__main__":
    main()
