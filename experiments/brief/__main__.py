"""Runs of 24 to 96 steps, an epoch or two of a small set: is there the time to put a learning rate right?

    python -m experiments.brief [--data data] [--seeds 0,1] [--columns digits/mlp/sgd/flat,...] [--out runs/brief] [--quick]

Thirty-six columns of the gauntlet, cut to four lengths; learning rates from 1e-6 to 10. 4,608 runs with two seeds, some fifteen
minutes on two cores; --quick takes one column. What is finished is not run again: after a change of adaptlr, remove its runs. The
folder gets ``table.csv`` and ``summary.json``; recovered is by what is measured on the validation part, over chance, as a share of
what the best fixed learning rate reaches in so many steps.
"""

from __future__ import annotations

from experiments.brief.runs import COLUMNS, LENGTHS, UNSEEN, all_runs, column_of, steps_of, train
from experiments.parallel import run_all
from experiments.recovery import finished, recovered, summary, tell
from experiments.sweep import command_line


def main() -> None:
    asked = command_line(
        __doc__,
        out="runs/brief",
        tasks=COLUMNS,
        quick="digits/mlp/sgd/flat",
        called="columns",
        data="FashionMNIST, as torchvision has it",
    )
    runs = all_runs(asked.seeds, asked.tasks)
    run_all(runs, train, asked.out, jobs=asked.jobs, data=asked.data)
    cells = recovered(finished(runs, asked.out))
    unseen = [c for c in cells if column_of(c["task"], c["optimizer"], c["schedule"]) in UNSEEN]
    tell(
        asked.out,
        cells,
        seeds=asked.seeds,
        methods=summary(cells),
        steps={n: summary(c for c in cells if steps_of(c["task"]) == n) for n in LENGTHS},
        unseen={n: summary(c for c in unseen if steps_of(c["task"]) == n) for n in LENGTHS if unseen},
    )


if __name__ == "__main__":
    main()
