"""A net that has learned one thing is given a new head and learns another, with or without adaptlr."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import datasets
from torchvision.models import resnet18

from experiments.fashion import OPTIMIZERS, images
from experiments.imagenet import BODY, in_colour
from experiments.nets import SmallViT, mlp, slim_resnet, vgg_like
from experiments.recovery import Run, keep, runs_at_all_lrs
from experiments.sweep import fit

LOOPS = (("adamw", "one-cycle"), ("sgd", "flat"))
SMALL = {
    "resnet": lambda: slim_resnet(width=8),
    "vgg": lambda: vgg_like(width=8),
    "mlp": lambda: mlp(width=128),
    "vit": lambda: SmallViT(dim=48, depth=3),
}
IMAGENET = "resnet18"  # from ImageNet's weights, at 32 by 32
BODIES = (*SMALL, IMAGENET)
GROUPINGS = ("one group", "two groups")  # the second is the head
_STEPS = {IMAGENET: 70}  # of the others 140
_BATCH = 32
_N_TRAIN, _N_VALID = 1500, 1000


def all_runs(seeds: Iterable[int], bodies: Iterable[str]) -> list[Run]:
    return runs_at_all_lrs({f"{body}, {grouping}": LOOPS for body in bodies for grouping in GROUPINGS}, seeds)


def body_of(task: str) -> str:
    return task.split(",", maxsplit=1)[0]


def pretrain(body: str, *, data: str, out: Path, steps: int = 800) -> None:
    """The digits of MNIST, once: ``out/BODY.pt``."""
    path = out / f"{body}.pt"
    if path.exists():
        return
    digits = datasets.MNIST(data, train=True, download=False)
    x, y = (digits.data[:12_000, None].float() / 255 - 0.286) / 0.353, digits.targets[:12_000]
    torch.manual_seed(0)
    net = SMALL[body]()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        index = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[index]), y[index]).backward()
        optimizer.step()
        annealed.step()
    out.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(net.state_dict(), part)
    part.rename(path)


def has_imagenet(data: str) -> bool:
    return (Path(data) / BODY).exists()


def with_new_head(body: str, *, data: str, out: Path) -> tuple[nn.Module, nn.Linear]:
    """The net as it was pretrained, but for its last layer, drawn from the present random state; and that layer."""
    if body == IMAGENET:
        net = resnet18(weights=None)
        state = torch.load(Path(data) / BODY, map_location="cpu", weights_only=True)
        net.load_state_dict(state, strict=False)
        net.fc = head = nn.Linear(net.fc.in_features, 10)
        return net, head
    net = SMALL[body]()
    net.load_state_dict(torch.load(out / f"{body}.pt", weights_only=True))
    head = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
    head.reset_parameters()
    return net, head


def train(run: Run, *, out: Path, data: str, slot: int = 0) -> None:
    """Train, and write the run's folder. Weights and batches depend on the seed alone."""
    warnings.simplefilter("ignore")
    body = body_of(run.task)
    x, y, x_valid, y_valid = images(data, _N_TRAIN, _N_VALID)
    if body == IMAGENET:
        x, x_valid = in_colour(x, 32), in_colour(x_valid, 32)
    torch.manual_seed(run.seed)
    net, head = with_new_head(body, data=data, out=out / "pretrained")
    begin = error(net, x_valid, y_valid)

    def batch_loss(order: torch.Generator) -> Tensor:
        index = torch.randint(len(x), (_BATCH,), generator=order)
        return F.cross_entropy(net(x[index]), y[index])

    did = fit(run, net, groups_of(net, head, run.task), OPTIMIZERS, batch_loss, steps=_STEPS.get(body, 140))
    keep(run, out, begin=begin, loss=error(net, x_valid, y_valid), **did)


def groups_of(net: nn.Module, head: nn.Module, task: str) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer."""
    if task.endswith(GROUPINGS[0]):
        return [{"params": list(net.parameters())}]
    own = set(head.parameters())
    return [{"params": [p for p in net.parameters() if p not in own]}, {"params": list(own)}]


@torch.no_grad()
def error(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of the images that are taken for something else. The net is in training mode afterwards."""
    net.eval()
    wrong = sum(int((net(a).argmax(1) != b).sum()) for a, b in zip(x.split(250), y.split(250), strict=True))
    net.train()
    return wrong / len(y)
