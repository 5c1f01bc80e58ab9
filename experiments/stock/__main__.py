"""fastai's own learners, fitted at every learning rate: does the callback put those runs right, too?

    python -m experiments.stock [--data data] [--seeds 0,1] [--tasks collab,tabular] [--out runs/stock] [--quick]

Eight learners as fastai's documentation makes them; one-cycle, flat and fine-tuning fits, or three of one epoch each; learning
rates from 1e-6 to 10: 512 runs with two seeds, some fifty minutes on two cores. --quick takes one task. A task whose data is not in
the folder is left out, and that is said. What is finished is not run again: after a change of adaptlr, remove its runs. The folder
gets ``table.csv`` and ``summary.json``; recovered is by the validation loss.
"""

from __future__ import annotations

from experiments.parallel import run_all
from experiments.recovery import publish
from experiments.stock.runs import all_runs, train
from experiments.stock.tasks import TASKS
from experiments.sweep import command_line


def main() -> None:
    asked = command_line(__doc__, out="runs/stock", tasks=TASKS, quick="tabular", data="FashionMNIST, as torchvision has it")
    for task in list(asked.tasks):
        if lacks := TASKS[task].lacks(asked.data):
            print(f"{task} is left out: {asked.data} has no {' and no '.join(lacks)}")
            asked.tasks.remove(task)
    runs = all_runs(asked.seeds, asked.tasks)
    run_all(runs, train, asked.out, jobs=asked.jobs, data=asked.data)
    publish(runs, asked.out, seeds=asked.seeds, tasks={t: TASKS[t].what for t in asked.tasks})


if __name__ == "__main__":
    main()
