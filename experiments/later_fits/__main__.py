"""Fits that come after another: is what the first has taught of use, and is a net that has learned left alone?

    python -m experiments.later_fits [--data data] [--seeds 1,2] [--nets "digits mlp,fashion vit"] [--out runs/later_fits] [--quick]

Nineteen nets of the gauntlet, each under one optimizer and schedule, in fits of half the gauntlet's length; learning rates from
1e-6 to 10. Three fits in a row, all at one learning rate; a second at any after a first at the best, or after one at 1e-6 that is
stopped after six steps; with one optimizer for all fits, or a new one for each. In all 1,824 runs a seed, some thirty minutes on
two cores; --quick takes one net. What is finished is not run again: after a change of adaptlr, remove its runs. The folder gets
``table.csv`` and ``summary.json``; recovered is by what is measured on the validation part, over chance.
"""

from __future__ import annotations

from experiments.later_fits.runs import KINDS, NETS, all_runs, train
from experiments.parallel import run_all
from experiments.recovery import finished, recovered, summary, tell
from experiments.sweep import command_line


def main() -> None:
    asked = command_line(
        __doc__, out="runs/later_fits", tasks=NETS, quick="digits mlp", called="nets", data="FashionMNIST, as torchvision has it"
    )
    runs = all_runs(asked.seeds, asked.tasks)
    run_all(runs, train, asked.out, jobs=asked.jobs, data=asked.data)
    cells = recovered(finished(runs, asked.out))
    by_kind = {kind: summary(c for c in cells if c["schedule"] == kind) for kind in KINDS}
    tell(asked.out, cells, seeds=asked.seeds, methods=summary(cells), kinds=by_kind)


if __name__ == "__main__":
    main()
