"""Whole epochs of all 60,000 images of MNIST and Fashion-MNIST: what does a wrong learning rate cost where there is time?

    python -m experiments.epochs --data data [--seeds 0] [--out runs/epochs] [--quick]

Seven nets, two optimizers and schedules each, learning rates from 1e-6 to 10, 469 to 1,876 steps; plain, with adaptlr, and with
adaptlr that is told nothing: 336 runs a seed, some forty minutes on two cores. --quick takes one net. What is finished is not run
again: after a change of adaptlr, remove its runs. The folder gets ``table.csv`` and ``summary.json``.
"""

from __future__ import annotations

from experiments.epochs.runs import TASKS, all_runs, train
from experiments.recovery import publish
from experiments.sweep import command_line, make


def main() -> None:
    there = "MNIST and FashionMNIST, as torchvision has them"
    asked = command_line(
        __doc__, out="runs/epochs", tasks=TASKS, quick="fashion-mlp", called="nets", data=there, quick_takes="some three minutes"
    )
    make(asked, all_runs, train, publish)


if __name__ == "__main__":
    main()
