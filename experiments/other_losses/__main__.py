"""Losses of other kinds than those that the rules were made on: does adaptlr put those runs right, too?

    python -m experiments.other_losses [--seeds 0,1] [--tasks density,words] [--out runs/other_losses] [--quick]

Ten tasks, two optimizers and schedules each, learning rates from 1e-6 to 10: 640 runs with two seeds, some ten minutes on two
cores. --quick takes one task. What is finished is not run again: after a change of adaptlr, remove its runs.
The folder gets ``table.csv`` and ``summary.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.other_losses.runs import all_runs, train
from experiments.other_losses.tasks import TASKS
from experiments.parallel import run_all
from experiments.recovery import publish


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/other_losses"))
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
        tasks, seeds, args.out = ["directions"], [0], args.out / "quick"
    args.out.mkdir(parents=True, exist_ok=True)
    runs = all_runs(seeds, tasks)
    run_all(runs, train, args.out, jobs=args.jobs)
    publish(runs, args.out, seeds=seeds, tasks={t: TASKS[t].what for t in tasks})


if __name__ == "__main__":
    main()
