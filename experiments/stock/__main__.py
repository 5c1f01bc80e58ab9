"""fastai's own learners, fitted at every learning rate: does the callback put those runs right, too?

    python -m experiments.stock [--data data] [--seeds 0,1] [--tasks collab,tabular] [--out runs/stock] [--quick]

Eight learners as fastai's documentation makes them, one-cycle, flat or fine-tuning fits, learning rates from 1e-6 to 10: 384 runs
with two seeds, some half an hour on two cores. --quick takes one task. A task whose data is not in the folder is left out, and
that is said. What is finished is not run again: after a change of adaptlr, remove its runs. The folder gets ``table.csv`` and
``summary.json``; recovered is by the validation loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.parallel import run_all
from experiments.recovery import publish
from experiments.stock.runs import all_runs, train
from experiments.stock.tasks import TASKS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder with FashionMNIST, as torchvision has it")
    parser.add_argument("--out", type=Path, default=Path("runs/stock"))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--quick", action="store_true", help="one task, one seed: under a minute")
    return parser.parse_args()


def main() -> None:
    args = _arguments()
    tasks, seeds = args.tasks.split(","), [int(s) for s in args.seeds.split(",")]
    if unknown := set(tasks) - set(TASKS):
        raise SystemExit(f"no such task: {', '.join(sorted(unknown))}; there are {', '.join(TASKS)}")
    if args.quick:
        tasks, seeds, args.out = ["tabular"], [0], args.out / "quick"
    for task in list(tasks):
        if lacks := TASKS[task].lacks(args.data):
            print(f"{task} is left out: {args.data} has no {' and no '.join(lacks)}")
            tasks.remove(task)
    args.out.mkdir(parents=True, exist_ok=True)
    runs = all_runs(seeds, tasks)
    run_all(runs, train, args.out, jobs=args.jobs, data=args.data)
    publish(runs, args.out, seeds=seeds, tasks={t: TASKS[t].what for t in tasks})


if __name__ == "__main__":
    main()
