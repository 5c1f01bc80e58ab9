"""A run that its learning rate ruins is put right, on the user's own schedule."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from fastai.callback import schedule  # noqa: F401  (patches fit_one_cycle and the like into Learner)
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback, TerminateOnNaNCallback
from fastai.callback.training import GradientAccumulation, GradientClip

from adaptlr import Action, AdaptLRWarning, Trace
from adaptlr.fastai import AdaptLR
from tests.fastai_adapter.small import BATCHES, OPTIMIZERS, assert_same, is_clean, learner

pytestmark = [
    pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning"),
    pytest.mark.filterwarnings("ignore:numpy.core is deprecated:DeprecationWarning"),  # fastai's load_model
]
EPOCHS = 4


def falls(trace: Trace) -> bool:
    """The last epoch is finite, and better than the first, whose median the ruined steps do not move."""
    losses = [r.loss for r in trace.readings]
    first, last = losses[:BATCHES], losses[-BATCHES:]
    return all(map(math.isfinite, last)) and statistics.mean(last) < 0.9 * statistics.median(first)


@pytest.mark.parametrize("fit", ["fit", "fit_one_cycle"])
@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_a_ruined_run_is_rolled_back_and_trains(opt: str, fit: str) -> None:
    cb, learn = AdaptLR(), learner(opt)
    getattr(learn, fit)(EPOCHS, 10.0, cbs=cb)
    assert any(d.action is Action.ROLLBACK for d in cb.decisions)
    assert all(scale < 1 for scale in cb.scales)
    assert falls(cb.trace)
    assert learn.recorder.values[-1][1] < 0.69
    assert is_clean(learn)


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_the_recorder_and_the_hypers_show_the_users_schedule(opt: str) -> None:
    plain, rescued, cb = learner(opt), learner(opt), AdaptLR()
    plain.fit_one_cycle(2, slice(1.0, 10.0))
    rescued.fit_one_cycle(2, slice(1.0, 10.0), cbs=cb)
    assert cb.decisions
    assert_same(list(rescued.recorder.lrs), list(plain.recorder.lrs))
    assert_same(dict(rescued.recorder.hps), dict(plain.recorder.hps))
    assert_same([dict(h) for h in rescued.opt.hypers], [dict(h) for h in plain.opt.hypers])
    assert [r.groups[-1].lr for r in cb.trace.readings] == pytest.approx(list(map(float, plain.recorder.lrs)))


@pytest.mark.parametrize(
    "more",
    [
        lambda: [GradientClip(1.0)],
        lambda: [GradientAccumulation(32)],
        lambda: [TerminateOnNaNCallback()],
        lambda: [EarlyStoppingCallback(patience=EPOCHS)],
        lambda: [SaveModelCallback(with_opt=True)],
    ],
    ids=["clip", "accumulation", "terminate-on-nan", "early-stopping", "save-model"],
)
def test_other_callbacks_do_not_stand_in_the_way(more: Any, tmp_path: Path) -> None:
    cb, learn = AdaptLR(), learner(path=tmp_path)
    learn.fit(EPOCHS, 10.0, cbs=[cb, *more()])
    assert cb.decisions
    assert falls(cb.trace)
    assert is_clean(learn)
    learn.fit(1, 3e-3, cbs=AdaptLR())


def test_a_fit_that_comes_after_a_ruined_one_that_nobody_watched_says_so() -> None:
    cb, learn = AdaptLR(), learner("torch SGD")
    learn.fit(1, 1e6)
    learn.fit(1, 3e-3, cbs=cb)
    assert [d.action for d in cb.decisions] == [Action.STOP]
    assert "build the model anew" in cb.decisions[0].message
    assert cb.scales == (1.0, 1.0)
    assert is_clean(learn)


def test_a_saved_optimizer_loads_and_trains_on(tmp_path: Path) -> None:
    learn = learner(path=tmp_path)
    learn.fit(1, 10.0, cbs=AdaptLR())
    learn.save("rescued", with_opt=True)
    fresh = learner(path=tmp_path, number=1).load("rescued", with_opt=True, weights_only=False)
    assert_same(dict(fresh.model.state_dict()), dict(learn.model.state_dict()))
    assert_same([dict(s) for s in fresh.opt.state.values()], [dict(learn.opt.state[p]) for g in learn.opt.param_lists for p in g])
    cb = AdaptLR()
    fresh.fit(EPOCHS, 10.0, cbs=cb)  # its state is a plain dict now, no defaultdict
    assert cb.decisions
    assert falls(cb.trace)


def test_a_group_that_hardly_moves_is_raised_alone() -> None:
    cb, learn = AdaptLR(), learner()
    learn.fit(2, slice(1e-8, 3e-3), cbs=cb)
    assert cb.decisions[0].action is Action.RESCALE
    assert cb.scales[0] > 100
    assert cb.scales[1] == 1.0


def test_frozen_groups_are_left_alone() -> None:
    cb = AdaptLR()
    learn = learner(cbs=cb)
    for change in (learn.freeze, learn.unfreeze, lambda: learn.freeze_to(1)):
        change()
        learn.fit_one_cycle(1, 3e-3)
    assert [run.readings[-1].groups[0].frozen for run in cb.runs] == [True, False, True]
    assert cb.decisions == []
    assert len(cb.runs) == 3


def test_the_warning_comes_from_the_line_that_called_fit() -> None:
    learn = learner()
    with pytest.warns(AdaptLRWarning, match="rolled back to step 0") as caught:
        learn.fit(1, 10.0, cbs=AdaptLR())
    assert {Path(w.filename) for w in caught} == {Path(__file__)}
