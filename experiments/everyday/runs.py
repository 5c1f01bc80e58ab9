"""One run at a learning rate that people start from, and what became of all of them."""

from __future__ import annotations

import itertools
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experiments.everyday.ways import EVERY_START, WAYS, Way
from experiments.fashion import OPTIMIZERS as FASHION_OPTIMIZERS
from experiments.fashion import accuracy, images
from experiments.nets import SmallViT, mlp, slim_resnet, vgg_like
from experiments.optimizers import Lion, Muon
from experiments.recovery import Run, finished, keep, tell
from experiments.sweep import fit


class Rows(nn.Module):
    """A recurrent net that reads an image row by row."""

    def __init__(self, kind: Callable[..., nn.Module] = nn.LSTM, width: int = 64) -> None:
        super().__init__()
        self.rows = kind(28, width, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rows(x.squeeze(1))[0][:, -1])


def prodigy(params: list[dict[str, Any]], lr: float) -> torch.optim.Optimizer:
    """An optimizer that finds its learning rate by itself: ``lr`` is a factor of it."""
    from prodigyopt import Prodigy  # noqa: PLC0415  (needed for these runs alone)

    return Prodigy(params, lr=lr)


NETS = {
    "mlp": lambda: mlp(width=128),
    "vgg": lambda: vgg_like(width=8),
    "resnet": lambda: slim_resnet(width=8),
    "vit": lambda: SmallViT(dim=48, depth=3),
    "lstm": Rows,
}
OPTIMIZERS = {
    **FASHION_OPTIMIZERS,
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
    "adadelta": torch.optim.Adadelta,
    "lion": Lion,
    "muon": Muon,
    "prodigy": prodigy,
}
#: Defaults of torch, and what its tutorials and fastai write.
STARTS = (
    ("adam", 1e-3),
    ("adam", 3e-4),
    ("adamw", 1e-3),
    ("sgd", 1e-2),
    ("rmsprop", 1e-3),
    ("adagrad", 1e-2),
)
#: Where a net is normalised, or its author wrote so.
MORE_STARTS: dict[str, tuple[tuple[str, float], ...]] = {
    "resnet": (("sgd", 1e-1), ("adam", 3e-3), ("rmsprop", 1e-2)),
    "lstm": (("sgd", 1e-1), ("adam", 1e-2)),
}
#: One of Adam's and one of SGD's for each net.
TWO_STARTS: dict[str, tuple[tuple[str, float], ...]] = {
    "mlp": (("adam", 1e-3), ("sgd", 1e-2)),
    "vgg": (("adam", 1e-3), ("sgd", 1e-2)),
    "resnet": (("adam", 1e-3), ("sgd", 1e-1)),
    "vit": (("adam", 1e-3), ("sgd", 3e-2)),
    "lstm": (("adam", 3e-3), ("sgd", 1e-1)),
}
SCHEDULES = ("flat", "one-cycle")
METHODS = ("plain", "adaptlr", "blind")
STEPS = 300
_N_TRAIN, _N_VALID = 4096, 1000


def all_runs(seeds: Iterable[int], nets: Iterable[str]) -> list[Run]:
    seeds = list(seeds)
    return [
        Run(task=f"{net}, {way}", optimizer=optimizer, schedule=schedule, lr=lr, seed=seed, method=method)
        for net in nets
        for way in WAYS
        for optimizer, lr, schedule in _starts(net, way)
        for seed in seeds
        for method in METHODS
    ]


def _starts(net: str, way: str) -> list[tuple[str, float, str]]:
    if way in EVERY_START:
        return [(o, lr, schedule) for o, lr in (*STARTS, *MORE_STARTS.get(net, ())) for schedule in SCHEDULES]
    return [(o, lr * (WAYS[way].sgd_lr_frac if o == "sgd" else 1), "flat") for o, lr in TWO_STARTS[net]]


def train(run: Run, *, out: Path, data: str, slot: int = 0) -> None:
    """Train, and write the run's folder. Weights and batches depend on the seed alone."""
    warnings.simplefilter("ignore")
    net_name, way_name = run.task.split(", ")
    way = WAYS[way_name]
    x, y, x_valid, y_valid = images(data, _N_TRAIN, _N_VALID)
    y = way.labels(y)
    torch.manual_seed(run.seed)
    net = NETS[net_name]()
    begin = 1 - accuracy(net, x_valid, y_valid)
    net.train()
    steps = itertools.count()

    def batch_loss(order: torch.Generator) -> Tensor:
        step = max(0, next(steps) - way.had_steps)
        way.freeze(net, step, STEPS)
        return way.loss(net, *way.batch(x, y, step, STEPS, order), order, step / STEPS)

    of = way.multiplier
    did = fit(
        run,
        net,
        [{"params": list(net.parameters())}],
        _optimizers(way),
        batch_loss,
        steps=STEPS,
        had_steps=way.had_steps,
        multiplier=None if of is None else lambda step: of(step / STEPS),
        before_step=lambda: way.clip and nn.utils.clip_grad_norm_(net.parameters(), way.clip),
    )
    keep(run, out, begin=begin, loss=1 - accuracy(net, x_valid, y_valid), **did)


def _optimizers(way: Way) -> dict[str, Callable[..., torch.optim.Optimizer]]:
    if not way.decay:
        return OPTIMIZERS
    return {
        "adam": partial(torch.optim.AdamW, weight_decay=way.decay),
        "sgd": partial(torch.optim.SGD, momentum=0.9, weight_decay=way.decay / 20),
    }


def publish(runs: Sequence[Run], out: Path, *, seeds: Sequence[int]) -> None:
    """``table.csv`` and ``summary.json`` in ``out``, the latter on the screen too."""
    lines = table(finished(runs, out))
    tell(out, lines, seeds=seeds, methods=summary(lines))


def first_done(row: Mapping[str, Any]) -> str:
    """The first decision of a run, in its own words; "" if there was none."""
    return next((f"{action}: {message}" for _, action, message in row["decisions"]), "")


def table(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line a run with adaptlr: its error and that without, and what was done first."""
    by_run: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for r in rows:
        by_run[r["task"], r["optimizer"], r["schedule"], r["lr"], r["seed"]][r["method"]] = r
    return [
        {
            "task": task,
            "optimizer": optimizer,
            "schedule": schedule,
            "lr": lr,
            "seed": seed,
            "method": method,
            "error_plain": round(of["plain"]["loss"], 4),
            "error": round(of[method]["loss"], 4),
            "decisions": len(of[method]["decisions"]),
            "first": first_done(of[method]),
        }
        for (task, optimizer, schedule, lr, seed), of in by_run.items()
        for method in METHODS[1:]
    ]


def summary(lines: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Per method and size of batches: how many runs there are, how many were changed, and what became of those."""
    by: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for line in lines:
        by[f"{line['method']}, {line['task'].split(', ')[1]}"].append(line)
    out: dict[str, Any] = {}
    for kind, mine in by.items():
        gains = [line["error_plain"] - line["error"] for line in mine if line["decisions"]]
        out[kind] = {
            "runs": len(mine),
            "changed": len(gains),
            "better": sum(g > 0 for g in gains),
            "worse": sum(g < 0 for g in gains),
            "mean_gain": round(statistics.fmean(gains), 4) if gains else None,
            "most_lost": round(max(0.0, -min(gains, default=0.0)), 4),
            "others_differ": sum(line["error_plain"] != line["error"] for line in mine if not line["decisions"]),
        }
    return out
