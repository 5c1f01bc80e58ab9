import dataclasses
import math
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from adaptlr.measure.stats import COUNTERS, ActivationSample, count, count_all, count_on_device, stage_reading, standard_error

ADDITIVE = [COUNTERS.index(k) for k in COUNTERS if k not in ("quiet", "dormant", "units")]
WHOLE = ActivationSample(size=1 << 20, per_unit=1)


def reading(x, sample=WHOLE, **settings):
    return stage_reading(count(sample.take(x), **settings), name="s", path="p", group=0)


def slow_twin(x):
    """Each number of a StageReading from the whole tensor, straight from its definition; finite values only."""
    a = x.float()
    channels = a.transpose(0, 1 if a.ndim in (4, 5) else a.ndim - 1).flatten(1)
    score = channels.abs().mean(1) / channels.abs().mean(1).mean()
    seed, mini = torch.histc(a, 40, 0, 10), torch.histc(a.abs(), 40, 0, 10)
    return {
        "n": a.numel(),
        "mean": a.mean().item(),
        "std": a.std(correction=0).item(),
        "rms": a.square().mean().sqrt().item(),
        "quiet_frac": (a.abs() <= 0.01 * a.square().mean().sqrt()).float().mean().item(),
        "near_zero_seed_frac": (seed[:2].sum() / seed.sum()).item(),
        "near_zero_fastai_frac": (a <= 0.05).float().mean().item(),
        "near_zero_miniai_frac": (mini[0] / mini.sum()).item(),
        "negative_frac": (a < 0).float().mean().item(),
        "over_range_frac": (a.abs() > 10).float().mean().item(),
        "nonfinite_frac": 0.0,
        "dormant_frac": (score <= 0.025).float().mean().item(),
        "hist": tuple(int(k) for k in mini),
    }


def tensors():
    generator = torch.Generator().manual_seed(0)
    x = 4 * torch.randn(16, 12, 9, 7, generator=generator)
    x[:, 3] *= 1e-3  # a dormant channel
    tokens = torch.randn(8, 11, 20, generator=generator).relu()
    tokens[..., 5] = 0
    return {
        "image": x,
        "relu": x.relu(),
        "channels_last": x.to(memory_format=torch.channels_last),
        "transposed": x.transpose(2, 3),
        "sliced": x[::2, 1:, ::3, 2:],
        "expanded": x[:, :, :1].expand(-1, -1, 5, -1),
        "bfloat16": x.bfloat16(),
        "half": x.half(),
        "double": x.double(),
        "tokens": tokens,
        "features": x[:, :, 0, 0].contiguous(),
    }


@pytest.mark.parametrize("name", tensors())
def test_whole_tensor_equals_the_slow_twin(name):
    x = tensors()[name]
    got = dataclasses.asdict(reading(x))
    for key, expected in slow_twin(x).items():
        assert got[key] == (expected if key == "hist" else pytest.approx(expected, rel=2e-5, abs=1e-7)), key
    assert x.ndim != 4 or got["dormant_frac"] in (0, 1 / 11, 1 / 12)


def test_the_near_zero_definitions_disagree():
    x = torch.tensor([[-2.0, -0.01, 0.0, 0.04, 0.3, 0.5, 9.0, 10.0, 10.5, -11.0]])
    r = reading(x)
    assert r.near_zero_seed_frac == 3 / 6  # 0, .04 and .3 of the values on [0, 10]
    assert r.near_zero_fastai_frac == 5 / 10  # and every negative
    assert r.near_zero_miniai_frac == 3 / 8  # -.01, 0 and .04 of those with |a| on [0, 10]
    assert r.over_range_frac == 2 / 10
    assert r.hist[0] == 3
    assert r.hist[39] == 1
    assert sum(r.hist) == 8


def test_all_zero_is_quiet_and_dormant():
    r = reading(torch.zeros(16, 8))
    assert (r.quiet_frac, r.dormant_frac, r.rms, r.near_zero_seed_frac) == (1, 1, 0, 1)


def test_quiet_does_not_depend_on_scale():
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    assert reading(x).quiet_frac == reading(1000 * x).quiet_frac > 0


def test_nonfinite_values_do_not_poison_the_sums():
    clean = torch.randn(32, 8, generator=torch.Generator().manual_seed(2))
    dirty = torch.cat([clean, torch.tensor([[math.nan, math.inf, -math.inf, math.nan] * 2])])
    a, b = reading(clean), reading(dirty)
    assert (b.mean, b.std, b.rms) == pytest.approx((a.mean, a.std, a.rms))
    assert b.hist == a.hist
    assert b.nonfinite_frac == 8 / b.n
    assert b.over_range_frac == 4 / b.n
    assert math.isnan(reading(torch.full((9, 9), math.nan)).mean)


def test_too_few_activations_of_a_unit_say_nothing_about_dormancy():
    assert reading(torch.zeros(7, 4)).dormant_frac is None
    assert reading(torch.zeros(64, 1)).dormant_frac is None
    assert reading(torch.zeros(8, 4)).dormant_frac == 1


values = hnp.arrays(
    np.float32, st.integers(1, 60), elements=st.floats(-50, 50, width=32) | st.sampled_from([math.nan, math.inf, 0, 10])
)


@settings(deadline=None)
@given(values, values, st.integers(1, 50))
def test_merged_counts_are_the_counts_of_both_together(a, b, bins):
    kept = [*ADDITIVE, *range(len(COUNTERS), len(COUNTERS) + bins)]
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    merged = count(a, hist_bins=bins) + count(b, hist_bins=bins)
    together = count(torch.cat([a, b]), hist_bins=bins)
    torch.testing.assert_close(merged[kept], together[kept], rtol=1e-12, atol=1e-9)
    assert merged[len(COUNTERS) :].sum() == together[COUNTERS.index("miniai_in_range")]


@pytest.mark.parametrize("shape", [(64, 16, 32, 32), (32, 2048, 7, 7), (8, 197, 768), (512, 4096), (2, 3, 8, 64, 64), (100000, 1)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_sample_has_a_fixed_size_and_no_place_twice(shape, channels_last):
    x = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
    if channels_last and len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    taken = ActivationSample(seed=3).take(x)
    assert 8192 / 2 <= taken.numel() <= 8192
    assert taken.unique().numel() == taken.numel()
    unit_dim = 1 if x.ndim in (4, 5) else x.ndim - 1
    channel = torch.arange(x.shape[unit_dim]).view([-1 if d == unit_dim else 1 for d in range(x.ndim)]).expand(shape)
    units = channel.reshape(-1)[taken.long()]
    assert (units == units[:, :1]).all()  # a row is one unit
    assert units[:, 0].unique().numel() == taken.shape[0]
    assert taken.shape[1] >= 32


@pytest.mark.parametrize("seed", range(3))
def test_sampled_fractions_agree_with_exact_ones_within_their_standard_error(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 32, 28, 28, generator=generator)
    x *= torch.linspace(0.2, 3, 28).view(1, 1, 28, 1)  # the answer depends on the place, as with a dark border
    x += torch.linspace(-1, 1, 64).view(-1, 1, 1, 1)  # and on the image
    exact, sampled = reading(x, ActivationSample(size=x.numel(), per_unit=1)), reading(x, ActivationSample(seed=seed))
    for key in ("near_zero_seed_frac", "near_zero_fastai_frac", "near_zero_miniai_frac", "quiet_frac", "negative_frac"):
        frac = getattr(exact, key)
        n = sampled.n * 0.4 if key == "near_zero_seed_frac" else sampled.n  # its total is about half of the sample
        assert abs(getattr(sampled, key) - frac) <= 4 * standard_error(frac, int(n)), key


def test_the_seed_moves_the_places_and_nothing_else_does():
    x = torch.randn(64, 64, 16, 16, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()
    first, again, other = (ActivationSample(seed=s).take(x) for s in (0, 0, 1))
    count(first)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == pickle.dumps(np.random.get_state())
    assert before[2] == random.getstate()


@pytest.mark.parametrize("shape", [(), (5,), (0, 4), (3, 0, 2, 2), (1, 1)])
def test_odd_shapes(shape):
    taken = ActivationSample().take(torch.ones(shape, requires_grad=True))
    assert not taken.requires_grad
    assert taken.numel() == math.prod(shape)
    assert count(taken)[0] == math.prod(shape)


def test_deterministic_algorithms_are_no_obstacle():
    torch.use_deterministic_algorithms(True)
    try:
        assert reading(torch.ones(16, 4)).n == 64
    finally:
        torch.use_deterministic_algorithms(False)


def test_errors_quote_the_value():
    with pytest.raises(ValueError, match="per_unit=9, size=4"):
        ActivationSample(size=4, per_unit=9)
    with pytest.raises(ValueError, match=r"frac=1\.5"):
        standard_error(1.5, 10)
    with pytest.raises(ValueError, match="'conv1': no activation was counted"):
        stage_reading(count(torch.empty(0, 0)), name="conv1", path="p", group=None)


wide = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 6), st.integers(1, 40)),
    elements=st.floats(-50, 50, width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 0, -0.0, 0.5, 0.25, 10, -10, 1e30]),
)


@settings(deadline=None)
@given(wide, st.integers(1, 50), st.sampled_from([0.5, 3.0, 10.0, 20.0]))
def test_counts_on_the_host_are_those_on_a_device(values, bins, top):
    values = torch.from_numpy(values)
    host, device = count(values, hist_bins=bins, hist_max=top), count_on_device([values], hist_bins=bins, hist_max=top)[0]
    kept = [i for i, name in enumerate(COUNTERS) if name not in ("sum", "sumsq")] + list(range(len(COUNTERS), len(device)))
    assert torch.equal(host[kept], device[kept])
    torch.testing.assert_close(host, device, rtol=1e-12, atol=1e-9)


def test_samples_that_are_counted_together_have_the_counts_that_each_has_alone():
    torch.manual_seed(0)
    samples = [torch.randn(16, 32), torch.randn(64, 8).relu(), 20 * torch.randn(512), torch.randn(2, 256).mul(1e-3)]
    samples[1][3:7] = 0  # four silent units
    samples[2][5] = math.nan
    together = count_on_device(samples, hist_bins=40, hist_max=10.0)
    assert together[1, COUNTERS.index("dormant")] == 4
    for values, counts in zip(samples, together, strict=True):
        torch.testing.assert_close(counts, count_on_device([values], hist_bins=40, hist_max=10.0)[0], rtol=1e-12, atol=1e-12)
    assert all(torch.equal(a, count(v)) for a, v in zip(count_all([*samples, torch.empty(0, 0)]), samples, strict=False))
