"""Sampled statistics against those of the whole tensor, in units of their own standard error."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from adaptlr.measure.errors import sampling_error
from adaptlr.measure.stages import find_stages
from adaptlr.measure.stats import QUIET_OF_RMS, ActivationSample, count, stage_reading, standard_error


def whole(x: Tensor) -> Tensor:
    """Every activation [units, places]."""
    return x.transpose(0, 1 if x.ndim == 4 else x.ndim - 1).flatten(1)


#: Each number as a mean of something at each activation, from its definition.
MEANS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "mean": lambda a, _: a,
    "negative_frac": lambda a, _: (a < 0).float(),
    "near_zero_fastai_frac": lambda a, _: (a <= 0.05).float(),
    "over_range_frac": lambda a, _: (a.abs() > 10).float(),
    "quiet_frac": lambda a, rms: (a.abs() <= QUIET_OF_RMS * rms).float(),
}


def deviations(x: Tensor, seed: int) -> dict[str, float]:
    """(sampled - exact) / standard error, of each number that is not the same everywhere."""
    everything, sample = whole(x), ActivationSample(seed=seed).take(x)
    reading = stage_reading(count(sample), name="s", path="p", group=None)
    exact_rms, out = everything.square().mean().sqrt().item(), {}
    for name, of in MEANS.items():
        error = sampling_error(of(sample, reading.rms), units=everything.shape[0], places=everything.shape[1])
        if error > 1e-4:
            out[name] = (getattr(reading, name) - of(everything, exact_rms).mean().item()) / error
    return out


def clustered(seed: int) -> Tensor:
    """512 channels, each with a level of its own."""
    generator = torch.Generator().manual_seed(seed)
    levels = 2 * torch.randn(1, 512, 1, 1, generator=generator)
    return (torch.randn(16, 512, 7, 7, generator=generator) + levels).relu() + 0.01 * levels


def test_channels_that_resemble_themselves_are_within_their_own_error_and_not_within_the_naive_one() -> None:
    z = [deviations(clustered(seed), seed)["near_zero_fastai_frac"] for seed in range(40)]
    assert max(map(abs, z)) < 4
    assert 0.6 < math.sqrt(sum(v * v for v in z) / len(z)) < 1.5
    x = clustered(0)
    sample = ActivationSample().take(x)
    flags = (sample <= 0.05).float()
    naive = standard_error(flags.mean().item(), flags.numel())
    assert sampling_error(flags, units=512, places=784) > 2 * naive


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("model", "x"),
    [
        pytest.param(torchvision.models.resnet18, (16, 3, 64, 64), id="resnet18"),
        pytest.param(lambda: torchvision.models.VisionTransformer(32, 8, 2, 4, 64, 128), (32, 3, 32, 32), id="vit"),
        pytest.param(lambda: nn.Sequential(nn.Linear(64, 4096), nn.ReLU(), nn.Linear(4096, 8)), (512, 64), id="mlp"),
    ],
)
def test_every_stage_of_a_net_is_within_five_standard_errors(model: Callable[[], nn.Module], x: tuple[int, ...], seed: int) -> None:
    """Five: tokens at one place in their sequence resemble each other, which the error does not know."""
    torch.manual_seed(seed)
    net = model()
    outputs: dict[str, Tensor] = {}
    stages = find_stages(net)

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: object, out: Tensor) -> None:
            outputs[name] = out.detach()

        return hook

    hooks = [s.module.register_forward_hook(keep(s.name)) for s in stages]
    with torch.no_grad():
        net(torch.randn(*x))
    for hook in hooks:
        hook.remove()
    found = {(name, key): z for name, out in outputs.items() for key, z in deviations(out, seed).items()}
    assert len(found) >= len(stages)
    assert {k: z for k, z in found.items() if not abs(z) < 5} == {}


def test_what_was_read_whole_has_no_error() -> None:
    assert sampling_error(torch.randn(4, 10), units=4, places=10) == 0


def test_a_sample_larger_than_the_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="4 units x 10 places is no part of 3 units x 10 places"):
        sampling_error(torch.zeros(4, 10), units=3, places=10)
