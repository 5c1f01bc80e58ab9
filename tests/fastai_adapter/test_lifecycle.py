"""What comes with a fit goes with it, however it ends; records stay."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable as Function
from pathlib import Path
from typing import Any

import pytest
import torch
from fastai.callback import core, schedule  # noqa: F401  (patches lr_find into Learner)
from fastai.callback.core import Callback, FetchPredsCallback
from fastai.callback.fp16 import NonNativeMixedPrecision
from fastai.callback.tracker import TerminateOnNaNCallback
from fastai.callback.training import ShortEpochCallback
from fastai.learner import load_learner
from matplotlib.figure import Figure

from adaptlr import AdaptLRWarning, Trace
from adaptlr.fastai import AdaptLR
from tests.fastai_adapter.small import BATCHES, assert_same, everything, hooks, is_clean, learner

cancel: Any = core  # fastai makes its exceptions at run time, unseen by type checkers
pytestmark = pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning")


class Raise(Callback):
    """Raises at an event, once that event has come ``after`` times."""

    def __init__(self, event: str, error: BaseException, after: int = 5) -> None:
        self.error, self.after, self.seen = error, after, 0
        setattr(self, event, self._raise)

    def _raise(self) -> None:
        self.seen += 1
        if self.seen == self.after:
            raise self.error


def raise_in_step(learn: Any, at: int) -> None:
    """The optimizer itself fails, when the scaled learning rate is in force."""
    inner = getattr(learn.opt, "opt", learn.opt)
    plain, count = inner.step, iter(range(1000))

    def step(*args: Any, **kwargs: Any) -> Any:
        if next(count) == at:
            raise KeyboardInterrupt
        return plain(*args, **kwargs)

    inner.step = step


EVENTS = ["before_batch", "after_pred", "after_loss", "before_backward", "before_step", "after_step", "after_batch"]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    ("opt", "for_all", "error"),
    [("Adam", False, KeyboardInterrupt()), ("Adam", True, ValueError("broken")), ("torch Adam", True, KeyboardInterrupt())],
    ids=["ctrl-c", "error", "torch"],
)
def test_an_interrupted_fit_leaves_nothing_behind(opt: str, for_all: bool, event: str, error: BaseException) -> None:
    cb = AdaptLR()
    learn = learner(opt, cbs=cb if for_all else None)
    with pytest.raises(type(error)):
        learn.fit(1, 10.0, cbs=[Raise(event, error), *([] if for_all else [cb])])
    assert is_clean(learn)
    assert {h["lr"] for h in learn.opt.hypers} == {10.0}
    assert cb.decisions
    assert cb.trace.readings
    assert all(s < 1 for s in cb.scales)
    learn.fit(1, 3e-3, cbs=None if for_all else cb)
    assert len(cb.trace.readings) == BATCHES
    assert len(cb.runs) == 2
    assert is_clean(learn)


BETWEEN = ["before_fit", "before_epoch", "before_train", "after_train", "before_validate", "after_epoch", "after_fit"]


@pytest.mark.parametrize("event", BETWEEN)
def test_an_error_between_batches_leaves_nothing_behind(event: str) -> None:
    learn = learner(cbs=AdaptLR())
    with pytest.raises(ValueError, match="broken"):
        learn.fit(1, 3e-3, cbs=Raise(event, ValueError("broken"), after=1))
    assert hooks(learn.model) == 0
    assert "step" not in vars(learn.opt)
    learn.fit(1, 3e-3)
    assert len(learn.adapt_lr.trace.readings) == BATCHES
    assert is_clean(learn)


def test_an_error_in_the_data_leaves_nothing_behind() -> None:
    learn, cb = learner(), AdaptLR()
    items = learn.dls.train.dataset
    items.broken = 50
    with pytest.raises(OSError, match="cannot read"):
        learn.fit(1, 3e-3, cbs=cb)
    assert is_clean(learn)
    items.broken = None
    learn.fit(1, 3e-3, cbs=cb)
    assert len(cb.trace.readings) == BATCHES


def test_an_error_within_the_step_puts_the_learning_rate_back() -> None:
    learn, cb = learner(), AdaptLR()
    learn.create_opt()
    raise_in_step(learn, at=6)
    mine = learn.opt.step
    with pytest.raises(KeyboardInterrupt):
        learn.fit(1, 10.0, cbs=cb)
    assert cb.scales[0] < 1
    assert {h["lr"] for h in learn.opt.hypers} == {10.0}
    assert vars(learn.opt)["step"] is mine  # what the user put there is put back
    assert hooks(learn.model) == 0


@pytest.mark.parametrize("event", ["after_batch", "before_batch", "after_epoch", "before_validate"])
def test_a_cancelled_fit_ends_like_any_other(event: str) -> None:
    learn, cb = learner(), AdaptLR()
    learn.fit(2, 3e-3, cbs=[cb, Raise(event, cancel.CancelFitException(), after=1)])
    assert is_clean(learn)
    assert len(cb.trace.readings) == {"before_batch": 0, "after_batch": 1}.get(event, BATCHES)


def test_skipped_steps_make_no_reading() -> None:
    learn, cb = learner(), AdaptLR()
    learn.fit(1, 3e-3, cbs=[cb, Raise("before_step", cancel.CancelStepException(), after=3)])
    assert len(cb.trace.readings) == BATCHES - 1


@pytest.mark.parametrize("event", ["before_batch", "after_pred"])
def test_cancelled_batches_make_no_reading(event: str) -> None:
    learn, cb = learner(), AdaptLR()
    learn.fit(1, 3e-3, cbs=[cb, Raise(event, cancel.CancelBatchException(), after=3)])
    assert len(cb.trace.readings) == BATCHES - 1


def test_mixed_precision_that_steps_copies_is_refused_by_name() -> None:
    """It needs a GPU to begin; what AdaptLR meets then is an optimizer without the model's weights."""

    class WithoutGpu(NonNativeMixedPrecision):
        order = NonNativeMixedPrecision.order

        def before_fit(self) -> None:
            pass

    learn, cb = learner(), AdaptLR()
    with pytest.raises(TypeError, match=r"NonNativeMixedPrecision has the optimizer step copies.*learn\.to_fp16"):
        learn.fit(1, 3e-3, cbs=[WithoutGpu(), cb])
    assert is_clean(learn)


def test_a_short_epoch_and_a_skipped_one() -> None:
    learn, cb = learner(), AdaptLR()
    learn.fit(2, 3e-3, cbs=[cb, ShortEpochCallback(0.3)])
    epochs = [r.epoch or 0.0 for r in cb.trace.readings]
    assert epochs == sorted(epochs)
    assert 1 < epochs[-1] < 1.5
    learn.fit(3, 3e-3, cbs=cb, start_epoch=2)
    assert len(cb.trace.readings) == BATCHES
    assert cb.trace.readings[-1].epoch == 3.0


def test_a_fit_that_is_stopped_goes_on_in_another_learner(tmp_path: Path) -> None:
    """With what was remembered, the learning rate that ruined the run ruins it no more."""
    first, cb = learner(), AdaptLR()
    with pytest.warns(AdaptLRWarning, match="too hot"):
        first.fit(2, 10.0, cbs=cb)
    torch.save((first.model.state_dict(), first.opt.state_dict(), cb.state_dict()), tmp_path / "a.pth")
    weights, moments, memory = torch.load(tmp_path / "a.pth", weights_only=False)
    second, more = learner(), AdaptLR()
    second.create_opt()
    second.model.load_state_dict(weights)
    second.opt.load_state_dict(moments)
    more.load_state_dict(memory)
    second.fit(4, 10.0, cbs=more, start_epoch=2)
    assert not more.decisions
    assert [r.step for r in more.trace.readings] == list(range(2 * BATCHES, 4 * BATCHES))
    assert 0 < max(r.groups[0].scale for r in more.trace.readings) < 0.1
    second.fit(1, 3e-3, cbs=more)  # and the fit after that is one of its own
    assert more.trace.readings[0].step == 0


def test_terminate_on_nan_still_terminates_and_leaves_healthy_weights() -> None:
    learn, cb = learner(), AdaptLR()
    poison = Callback(after_pred=lambda self: self.learn.__setattr__("pred", self.pred * math.nan) if self.training else None)
    learn.fit(1, 3e-3, cbs=[cb, poison, TerminateOnNaNCallback()])
    assert len(cb.trace.readings) == 1
    assert math.isnan(cb.trace.readings[0].loss)
    assert all(p.isfinite().all() for p in learn.model.parameters())


def test_predictions_within_a_fit_do_not_end_it() -> None:
    learn, cb = learner(), AdaptLR()
    learn.fit(2, 3e-3, cbs=[cb, FetchPredsCallback()])
    assert len(cb.trace.readings) == 2 * BATCHES
    assert is_clean(learn)
    peek = Callback(before_validate=lambda self: None, after_train=lambda self: self.learn.validate())
    learn.fit(2, 3e-3, cbs=[cb, peek])
    assert len(cb.runs) == 2
    assert len(cb.trace.readings) == 2 * BATCHES
    assert is_clean(learn)


def test_before_the_first_fit_there_is_nothing() -> None:
    cb = AdaptLR()
    assert (cb.findings, cb.decisions, cb.scales, cb.runs) == ([], [], (), [])
    with pytest.raises(RuntimeError, match="fit with this callback first"):
        _ = cb.trace


def test_after_the_fit_it_still_answers() -> None:
    cb = AdaptLR()
    learner().fit(1, 10.0, cbs=cb)
    assert cb.learn is None
    assert cb.findings
    assert cb.decisions
    assert len(cb.scales) == 2
    assert isinstance(cb.plot(), Figure)
    assert len(cb.trace.to_frame()) == BATCHES


def test_each_fit_writes_its_own_trace(tmp_path: Path) -> None:
    cb, learn = AdaptLR(trace=tmp_path / "run.jsonl"), learner()
    learn.fit(1, 3e-3, cbs=cb)
    learn.fit(1, 1e-3, cbs=cb)
    assert [run.path for run in cb.runs] == [tmp_path / "run.jsonl", tmp_path / "run-2.jsonl"]
    learn.fit(1, 1e-3, cbs=AdaptLR(trace=tmp_path / "run.jsonl"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-2.jsonl", "run-3.jsonl", "run.jsonl"]
    assert len(Trace.load(tmp_path / "run-2.jsonl").readings) == BATCHES


def copied(learn: Any, tmp_path: Path) -> Any:
    return copy.deepcopy(learn)


def pickled(learn: Any, tmp_path: Path) -> Any:
    return pickle.loads(pickle.dumps(learn))


def exported(learn: Any, tmp_path: Path) -> Any:
    learn.export(tmp_path / "export.pkl")
    with pytest.warns(UserWarning, match="pickle"):
        return load_learner(tmp_path / "export.pkl")


@pytest.mark.parametrize("how", [copied, pickled, exported])
def test_a_copy_of_a_learner_predicts_and_carries_no_hooks(how: Function[[Any, Path], Any], tmp_path: Path) -> None:
    learn = learner(cbs=AdaptLR(act=False))
    learn.fit(1, 3e-3)
    other = how(learn, tmp_path)
    assert hooks(other.model) == 0
    assert other.adapt_lr.runs == []
    assert other.adapt_lr.learn is other
    x = torch.randn(4, 1, 8, 8)
    assert torch.equal(other.model.eval()(x), learn.model.eval()(x))
    assert len(learn.adapt_lr.runs) == 1
    if how is not exported:  # an exported Learner has no data
        other.fit(1, 10.0)
        assert other.adapt_lr.findings
        assert not other.adapt_lr.decisions
        assert is_clean(other)


def test_a_copy_made_within_a_fit_is_free_of_it() -> None:
    copies: list[Any] = []
    take = Callback(after_epoch=lambda self: copies.append(copy.deepcopy(self.learn)) if self.epoch == 0 else None)
    learn = learner(cbs=AdaptLR())
    learn.fit(2, 3e-3, cbs=take)
    (other,) = copies
    before = everything(learn)["model"]
    seen = len(learn.adapt_lr.trace.readings)
    other.model(torch.randn(2, 1, 8, 8)).sum().backward()
    other.opt.step()
    other.remove_cb(other.cbs[-1])
    other.fit(1, 3e-3)
    assert len(other.adapt_lr.trace.readings) == BATCHES
    assert len(learn.adapt_lr.trace.readings) == seen
    assert_same(everything(learn)["model"], before)
