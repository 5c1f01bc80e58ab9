"""While no decision fires, a Learner trains bit for bit as it does without adaptlr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fastai.callback import schedule  # noqa: F401  (patches fit_one_cycle and the like into Learner)
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision  # noqa: F401  (patches to_bf16)
from fastai.callback.mixup import MixUp
from fastai.callback.training import GradientAccumulation, GradientClip

from adaptlr import AdaptLRWarning, Sampling
from adaptlr.fastai import AdaptLR
from tests.fastai_adapter.small import BATCHES, OPTIMIZERS, assert_same, everything, is_clean, learner

GOOD = {"Adam": 3e-3, "SGD": 0.01, "RMSProp": 1e-3, "ranger": 3e-2, "torch Adam": 3e-3, "torch SGD": 0.01}
FITS: dict[str, Any] = {
    "fit": lambda learn, lr, cbs: learn.fit(2, lr, cbs=cbs),
    "one-cycle": lambda learn, lr, cbs: learn.fit_one_cycle(2, lr, cbs=cbs),
    "flat-cos": lambda learn, lr, cbs: learn.fit_flat_cos(2, lr, cbs=cbs),
    "sgdr": lambda learn, lr, cbs: learn.fit_sgdr(1, 2, lr, cbs=cbs),
    "discriminative": lambda learn, lr, cbs: learn.fit_one_cycle(2, slice(lr / 3, lr), cbs=cbs),
    "fine-tune": lambda learn, lr, cbs: learn.fine_tune(1, lr, lr_mult=2, cbs=cbs),
}


def with_and_without(opt: str, fit: Any, cb: AdaptLR, more: Any = lambda: [], prepare: Any = lambda learn: learn) -> Any:
    plain = prepare(learner(opt))
    fit(plain, GOOD[opt], more())
    expected = everything(plain)
    watched = prepare(learner(opt))
    fit(watched, GOOD[opt], [*more(), cb])
    assert_same(everything(watched), expected)
    assert is_clean(watched)
    assert cb.learn is None
    return watched


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("opt", ["Adam", "SGD"])
def test_every_fit_is_bit_identical(opt: str, fit: str) -> None:
    cb = AdaptLR()
    with_and_without(opt, FITS[fit], cb)
    assert cb.decisions == []
    assert set(cb.scales) == {1.0}
    assert len(cb.trace.readings) == (1 if fit == "fine-tune" else 2) * BATCHES
    assert len(cb.runs) == (2 if fit == "fine-tune" else 1)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_every_optimizer_is_bit_identical(opt: str) -> None:
    cb = AdaptLR(sampling=Sampling(activations_every=1))
    with_and_without(opt, FITS["one-cycle"], cb)
    assert len(cb.trace.readings) == 2 * BATCHES
    assert cb.decisions == []


@pytest.mark.parametrize("lr", [3e-3, 10.0])
@pytest.mark.parametrize("opt", ["Adam", "SGD", "ranger", "torch Adam"])
@pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning")
def test_watching_alone_is_bit_identical_even_on_a_ruined_run(opt: str, lr: float) -> None:
    plain = learner(opt)
    plain.fit(2, lr)
    expected = everything(plain)
    watched, cb = learner(opt), AdaptLR(act=False)
    watched.fit(2, lr, cbs=cb)
    assert_same(everything(watched), expected)
    assert cb.decisions == []
    assert set(cb.scales) == {1.0}
    if lr == 10.0:
        assert cb.findings


@pytest.mark.parametrize(
    "more",
    [
        lambda: [GradientClip(0.5)],
        lambda: [MixUp()],
        lambda: [GradientAccumulation(32)],
        lambda: [GradientAccumulation(40), MixUp()],
    ],
    ids=["clip", "mixup", "accumulation", "accumulation+mixup"],
)
def test_other_callbacks_see_the_same_run(more: Any) -> None:
    with_and_without("Adam", FITS["fit"], AdaptLR(), more)


def test_accumulated_batches_make_one_reading_with_their_mean_unscaled_loss() -> None:
    cb, losses = AdaptLR(), []
    learn = learner(cbs=GradientAccumulation(32))
    learn.fit(1, 3e-3, cbs=[cb, Callback(after_batch=lambda self: losses.append(self.loss) if self.training else None)])
    assert len(cb.trace.readings) == BATCHES // 2
    means = torch.stack(losses).reshape(-1, 2).mean(1)
    assert [r.loss for r in cb.trace.readings] == pytest.approx(means.tolist())
    assert [r.epoch for r in cb.trace.readings] == pytest.approx([(i + 2) / BATCHES for i in range(0, BATCHES, 2)])


@pytest.mark.parametrize("samples", [None, 8, 32, 40], ids=["none", "less-than-a-batch", "two-batches", "no-whole-batches"])
@pytest.mark.parametrize("had", [0, 1], ids=["whole", "one-epoch-was-had-before"])
def test_the_length_of_a_fit_is_known_before_it(samples: int | None, had: int) -> None:
    cb, told = AdaptLR(), []
    learn = learner(cbs=[] if samples is None else [GradientAccumulation(samples)])
    if had:  # a second fit of a Learner goes on with its optimizer
        learn.fit_one_cycle(2, 3e-3, start_epoch=1)
    learn.fit_one_cycle(2, 3e-3, cbs=[cb, Callback(after_batch=lambda _: told.append(cb._controller))], start_epoch=had)
    taken = len(cb.trace.readings)
    known = told[0]._history.outlook
    assert known.total_steps == taken
    assert known.continued == bool(had)
    assert known.peak_lrs == pytest.approx((3e-3,) * len(known.peak_lrs), rel=1e-3)


@pytest.mark.filterwarnings("ignore:CUDA is not available:UserWarning")
def test_bf16_is_bit_identical() -> None:
    with_and_without("Adam", FITS["fit"], AdaptLR(), prepare=lambda learn: learn.to_bf16())


@pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning")  # fastai's load_model
def test_lr_find_is_left_alone(tmp_path: Path) -> None:
    plain = learner(path=tmp_path)
    suggested = plain.lr_find(show_plot=False, num_it=20)
    expected = everything(plain)
    cb = AdaptLR()
    watched = learner(cbs=cb, path=tmp_path)
    assert watched.lr_find(show_plot=False, num_it=20) == suggested
    assert_same(everything(watched), expected)
    assert is_clean(watched)
    assert cb.runs == []


def test_validation_is_not_counted() -> None:
    cb = AdaptLR()
    learn = learner(cbs=cb)
    learn.validate()
    learn.get_preds(ds_idx=0)
    assert cb.runs == []
    assert is_clean(learn)
    learn.fit(1, 3e-3)
    before = list(cb.trace)
    learn.validate()
    learn.get_preds(ds_idx=0)
    assert list(cb.trace) == before
    assert len(cb.trace.readings) == BATCHES
    assert is_clean(learn)


def test_this_comparison_finds_a_difference() -> None:
    a, b = learner(), learner()
    a.fit(1, 3e-3)
    b.fit(1, 3.0001e-3)
    with pytest.raises(AssertionError):
        assert_same(everything(a), everything(b))


@pytest.mark.filterwarnings("error::adaptlr.AdaptLRWarning")
def test_a_healthy_run_is_not_warned_about() -> None:
    learner().fit_one_cycle(2, 3e-3, cbs=AdaptLR())
    with pytest.raises(AdaptLRWarning):
        learner().fit(1, 10.0, cbs=AdaptLR())
