"""Models that are simple, whose weights say little of where they came from: is their learning rate put right as well?

    python -m experiments.other_losses.simple [--seeds 0,1] [--tasks softmax,prompts] [--out runs/simple] [--quick]

Softmax regression and a probe from zeros, a single image, prompts for a frozen net, two small nets: six tasks, two optimizers and
schedules each, learning rates from 1e-6 to 10, with and without adaptlr; 384 runs with two seeds, some five minutes on two cores.
--quick takes one task. The folder gets ``table.csv`` and ``summary.json``, as those of :mod:`experiments.other_losses`.
"""

from __future__ import annotations

from functools import partial

from experiments.other_losses.runs import all_runs, train
from experiments.other_losses.tasks import ALL, SIMPLE
from experiments.recovery import publish
from experiments.sweep import command_line, make


def main() -> None:
    asked = command_line(__doc__, out="runs/simple", tasks=SIMPLE, quick="softmax")
    make(asked, all_runs, train, partial(publish, tasks={t: ALL[t].what for t in asked.tasks}))


if __name__ == "__main__":
    main()
