"""Several fits of one Learner: what the first has taught is not forgotten in the next."""

from __future__ import annotations

import pickle

import pytest
from fastai.callback import schedule  # noqa: F401  (patches fit_one_cycle and the like into Learner)
from fastai.callback.core import Callback

from adaptlr import Action
from adaptlr.fastai import AdaptLR
from tests.fastai_adapter.small import learner

pytestmark = pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning")
EPOCHS = 6


def raised(cb: AdaptLR) -> list[bool]:
    """Of each fit, whether its learning rates ended far above those that were asked for."""
    return [run.readings[-1].groups[-1].scale > 30 for run in cb.runs]


@pytest.mark.parametrize("fit", ["fit", "fit_one_cycle"])
@pytest.mark.parametrize("opt", ["Adam", "SGD", "torch Adam"])
def test_a_learning_rate_that_was_far_too_low_is_so_again(opt: str, fit: str) -> None:
    cb, learn = AdaptLR(), learner(opt)
    for _ in range(3):
        getattr(learn, fit)(EPOCHS, 1e-6, cbs=cb)
    assert raised(cb) == [True] * 3
    assert all("so was the fit before" in run.decisions[0].message for run in cb.runs[1:])
    assert not any(d.action is Action.ROLLBACK for run in cb.runs for d in run.decisions)


@pytest.mark.parametrize("what", ["another callback", "a copy", "another model", "more is asked for"])
def test_nothing_is_known_of(what: str) -> None:
    cb, learn = AdaptLR(), learner("Adam")
    learn.fit(EPOCHS, 1e-6, cbs=cb)
    assert raised(cb) == [True]
    if what == "another callback":
        cb = AdaptLR()
    elif what == "a copy":
        cb = pickle.loads(pickle.dumps(cb))
    elif what == "another model":
        trained, learn = learn, learner("Adam")
        learn.model.load_state_dict(trained.model.state_dict())
        learn.opt, learn.create_opt = trained.opt, lambda: None  # that has stepped before
        learn.opt.param_lists = [list(half.parameters()) for half in learn.model]
    learn.fit(EPOCHS, 1e-5 if what == "more is asked for" else 1e-6, cbs=cb)
    assert not raised(cb)[-1]


class _Stop(Callback):
    order = 100  # after everything else of the batch
    batches = 0

    def after_batch(self) -> None:
        self.batches += 1
        if self.batches == 6:
            raise KeyboardInterrupt


def test_a_fit_after_one_that_was_interrupted_is_judged_as_a_first() -> None:
    """Six steps that taught nothing; the optimizer, which is the same, has stepped since."""
    cb, learn = AdaptLR(), learner("Adam")
    with pytest.raises(KeyboardInterrupt):
        learn.fit(EPOCHS, 1e-6, cbs=[cb, _Stop()])
    assert (len(cb.trace.readings), cb.decisions) == (6, [])
    learn.fit(EPOCHS, 1e-6, cbs=cb)
    assert raised(cb) == [False, True]


@pytest.mark.parametrize("opt", ["Adam", "SGD"])
def test_a_fit_after_one_that_was_not_watched_is_raised_if_that_has_taught_nothing(opt: str) -> None:
    """What people do who see that a net does not train: the same again, with the callback."""
    cb, learn = AdaptLR(), learner(opt)
    learn.fit(1, 1e-6)
    learn.fit(EPOCHS, 1e-6, cbs=cb)
    assert raised(cb) == [True]
