"""Learning rates that people start from, on nets of everyday kinds: does adaptlr leave such runs alone?

    python -m experiments.everyday --data data [--seeds 0,1] [--nets mlp,vit] [--out runs/everyday] [--quick]

Five small nets on Fashion-MNIST under the optimizers and learning rates of libraries' defaults and tutorials, flat and one-cycle,
in batches of 64 and of two, and trained in nineteen other ways that are no fault (``ways.py``); without adaptlr, with it, and with
it told nothing of the run's length. 990 runs a seed, half an hour on two cores. --quick takes one net. What is finished is
not run again: after a change of adaptlr, remove its runs. The folder gets ``table.csv`` and ``summary.json``; errors are on the
validation images.
"""

from __future__ import annotations

from experiments.everyday.runs import NETS, all_runs, publish, train
from experiments.sweep import command_line, make


def main() -> None:
    asked = command_line(
        __doc__, out="runs/everyday", tasks=NETS, quick="mlp", called="nets", data="FashionMNIST, as torchvision has it"
    )
    make(asked, all_runs, train, publish)


if __name__ == "__main__":
    main()
