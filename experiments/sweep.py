"""Experiments that train at every learning rate with adaptlr and without: their command line, and a loop in plain PyTorch."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from adaptlr import Controller
from experiments.fashion import schedule
from experiments.parallel import run_all
from experiments.recovery import Run


@dataclass(frozen=True, kw_only=True)
class Asked:
    tasks: list[str]
    seeds: list[int]
    out: Path
    jobs: int
    data: str


def command_line(
    doc: str | None,
    *,
    out: str,
    tasks: Iterable[str],
    quick: str,
    called: str = "tasks",
    data: str = "",
    quick_takes: str = "under a minute",
) -> Asked:
    """What the user asks for.

    Args:
        doc: the module's, as help.
        out: folder for results, unless another is named; a quick run's is one in it.
        tasks: all that there are.
        quick: the one that ``--quick`` takes, with one seed.
        called: what tasks are called here.
        data: what has to be in the data folder; "" if there is none.
        quick_takes: how long that one does.

    Raises:
        SystemExit: a task that does not exist; the message names it, and those that do.
    """
    known = list(tasks)
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if data:
        parser.add_argument("--data", default="data", help=f"folder with {data}")
    parser.add_argument("--out", type=Path, default=Path(out))
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument(f"--{called}", default=",".join(known), dest="tasks")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one core")
    parser.add_argument("--quick", action="store_true", help=f"{quick} only, one seed: {quick_takes}")
    args = parser.parse_args()
    chosen, seeds, folder = args.tasks.split(","), [int(s) for s in args.seeds.split(",")], args.out
    if unknown := set(chosen) - set(known):
        raise SystemExit(f"no such {called}: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    if args.quick:
        chosen, seeds, folder = [quick], [0], args.out / "quick"
    folder.mkdir(parents=True, exist_ok=True)
    return Asked(tasks=chosen, seeds=seeds, out=folder, jobs=args.jobs, data=args.data if data else "")


def make(
    asked: Asked,
    all_runs: Callable[[list[int], list[str]], Sequence[Run]],
    train: Callable[..., None],
    publish: Callable[..., None],
) -> None:
    """Make the runs that were asked for, as far as they are not there, and publish what they come to.

    Args:
        all_runs: seeds and tasks -> the runs.
        train: makes one and writes its folder; given ``data`` where there is a data folder.
        publish: given the runs, the folder and ``seeds``.
    """
    runs = all_runs(asked.seeds, asked.tasks)
    run_all(runs, train, asked.out, jobs=asked.jobs, **({"data": asked.data} if asked.data else {}))
    publish(runs, asked.out, seeds=asked.seeds)


def fit(
    run: Run,
    net: nn.Module,
    groups: list[dict[str, Any]],
    optimizers: Mapping[str, Callable[..., torch.optim.Optimizer]],
    batch_loss: Callable[[torch.Generator], Tensor],
    *,
    steps: int,
    had_steps: int = 0,
    multiplier: Callable[[int], float] | None = None,
    before_step: Callable[[], object] = lambda: None,
) -> dict[str, Any]:
    """Train as a user of plain PyTorch does. Batches depend on the seed alone.

    Args:
        run: its method is "plain", "adaptlr", or "blind": adaptlr that is told nothing of the run's length and schedule.
        groups: the optimizer's parameter groups.
        batch_loss: the loss of the next batch, drawn with this generator.
        steps: of the run.
        had_steps: made before it, at the run's learning rate, by a run that adaptlr did not see.
        multiplier: of the learning rate at a step, in place of the run's schedule.
        before_step: called when the gradients are there.

    Returns:
        What adaptlr did, and what it took each group for; nothing without it.
    """
    optimizer = optimizers[run.optimizer](groups, lr=run.lr)
    order = torch.Generator().manual_seed(run.seed)

    def step() -> Tensor:
        loss = batch_loss(order)
        optimizer.zero_grad()
        loss.backward()
        before_step()
        optimizer.step()
        return loss

    for _ in range(had_steps):
        step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier or schedule(run.schedule, steps))
    peaks = [run.lr] * len(optimizer.param_groups)
    told: dict[str, Any] = {"total_steps": steps, "peak_lrs": peaks} if run.method != "blind" else {}
    watch = Controller(net, optimizer, **told) if run.method != "plain" else None
    with watch or nullcontext():
        for _ in range(steps):
            loss = step()
            if watch is not None:
                watch.step(loss)
            scheduler.step()
    if watch is None:
        return {}
    return {
        "decisions": [[d.step, str(d.action), d.message] for d in watch.decisions],
        "provenance": [str(g.provenance) for g in watch.trace.readings[0].groups],
    }
