"""Healthy nets of many kinds, 300 steps each: nothing is found. And the two faces of slice(1e-6, 1e-2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from adaptlr import Action, Controller, Kind
from tests.nets import Run, batches, convnet, digits, fit, same, train

WEIGHTS = Path(__file__).parents[1] / "data/weights/resnet18_imagenet_body.pth"


def sparse() -> nn.Sequential:
    """Nine activations in ten are zero from the first step on."""
    net = convnet(norm=True)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.constant_(m.bias, -1.0)
    return net


NETS: dict[str, Callable[[], nn.Module]] = {
    "relu": convnet,
    "leaky-relu": lambda: convnet(nn.LeakyReLU),
    "gelu": lambda: convnet(nn.GELU),
    "silu": lambda: convnet(nn.SiLU),
    "relu-without-norm": lambda: convnet(norm=False),
    "gelu-without-norm": lambda: convnet(nn.GELU, norm=False),
    "dropout": lambda: convnet(dropout=0.5),
    "sparse": sparse,
}


SLOW = ("gelu-without-norm", "sgd")


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 3e-3), ("sgd", 3e-2)])
@pytest.mark.parametrize("net", NETS)
def test_nothing_is_found_in_300_healthy_steps(net: str, optimizer: str, lr: float) -> None:
    torch.manual_seed(0)
    lr *= 3 if (net, optimizer) == SLOW else 1
    run = train(optimizer, lr, steps=300, model=NETS[net](), controller={"act": False})  # a warning would be an error
    assert run.controller is not None
    assert run.controller.findings == []
    assert sum(run.losses[-20:]) / 20 < 0.8 * run.losses[0]  # it was healthy: it has learned


def test_a_net_that_stands_still_for_a_hundred_steps_learns_sooner() -> None:
    def at_step_150(controller: dict[str, Any] | None) -> float:
        torch.manual_seed(0)
        return sum(train("sgd", 3e-2, steps=160, model=NETS[SLOW[0]](), controller=controller).losses[-20:]) / 20

    said: list[Any] = []
    plain, told_nothing = at_step_150(None), at_step_150({"announce": said.append})
    assert said[0].step == 64
    assert said[0].findings == (Kind.TOO_COLD,)
    assert told_nothing < 0.6 * plain


def test_the_sparse_net_is_sparse() -> None:
    torch.manual_seed(0)
    run = train("adam", 3e-3, steps=2, model=sparse(), controller={"act": False})
    assert run.controller is not None
    assert run.controller.trace.readings[0].stages[0].near_zero_miniai_frac > 0.75


def four_classes_then_all() -> Iterator[tuple[Tensor, Tensor]]:
    x, y = digits()
    order = torch.Generator().manual_seed(0)
    few = torch.nonzero(y < 4).squeeze(1)
    for step in range(140):
        pick = few[torch.randint(len(few), (64,), generator=order)] if step < 80 else torch.randint(len(x), (64,), generator=order)
        yield x[pick], y[pick]


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 3e-3), ("sgd", 3e-2)])
def test_new_classes_in_a_healthy_run_are_seen_and_no_learning_rate_is_blamed(optimizer: str, lr: float) -> None:
    """Its loss goes from almost nothing to far above where it began, in one step."""

    def run(controller: dict[str, Any] | None) -> Run:
        torch.manual_seed(0)
        return train(optimizer, lr, steps=140, model=convnet(), data=four_classes_then_all(), controller=controller)

    said: list[Any] = []
    plain, watched = run(None), run({"total_steps": 140, "announce": said.append})
    assert [(f.kind, f.step) for f in said] == [(Kind.SHIFT, 82)]
    assert same(plain.state, watched.state)


def resnet_on_a_slice(*, pretrained: bool, controller: bool, steps: int = 12) -> tuple[nn.Module, Controller | None]:
    """torchvision's ResNet-18 in fastai's three groups under one-cycle slice(1e-6, 1e-2), on the digits at 32x32."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    if pretrained:
        model.load_state_dict(torch.load(WEIGHTS), strict=False)
    children = dict(model.named_children())
    names = [("conv1", "bn1", "layer1", "layer2"), ("layer3", "layer4"), ("fc",)]
    lrs = [1e-6, 1e-4, 1e-2]
    groups = [
        {"params": [p for name in part for p in children[name].parameters()], "lr": lr} for part, lr in zip(names, lrs, strict=True)
    ]
    opt = torch.optim.Adam(groups)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(opt, lrs, total_steps=200)
    ctl = Controller(model, opt, peak_lrs=lrs, announce=lambda _: None) if controller else None
    if ctl is not None:
        ctl.__enter__()
    digits()
    images = ((nn.functional.interpolate(x, size=32).expand(-1, 3, -1, -1), y) for x, y in batches(steps, size=16))
    fit(model, opt, images, ctl, scheduler)
    if ctl is not None:
        ctl.close()
    return model, ctl


def test_a_slice_starves_a_random_net_and_is_found_within_ten_steps() -> None:
    _, ctl = resnet_on_a_slice(pretrained=False, controller=True)
    assert ctl is not None
    (finding,), (decision,) = ctl.findings, ctl.decisions
    assert finding.kind is Kind.STARVED
    assert finding.step < 10
    assert finding.groups == (0, 1)
    assert finding.stages == ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x")
    assert decision.action is Action.RESCALE
    assert decision.scales_after == pytest.approx((1e4, 1e2, 1.0), rel=1e-3)
    assert decision.advice == "Next time: one learning rate for all groups, 0.01"


@pytest.mark.skipif(
    not WEIGHTS.exists(), reason="needs data/weights/resnet18_imagenet_body.pth (a ResNet-18 body in torchvision's names)"
)
def test_the_same_slice_on_imagenet_weights_is_left_alone_to_the_last_bit() -> None:
    plain, _ = resnet_on_a_slice(pretrained=True, controller=False)
    watched, ctl = resnet_on_a_slice(pretrained=True, controller=True)
    assert ctl is not None
    assert (ctl.findings, ctl.decisions) == ([], [])
    assert same(dict(plain.state_dict()), dict(watched.state_dict()))
