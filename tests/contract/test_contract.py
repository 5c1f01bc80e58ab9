"""Every loop that adaptlr can sit in keeps the same promises."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from adaptlr import Action, Reading
from tests.contract import plain, with_accelerate, with_fastai, with_lightning, with_transformers
from tests.contract.case import BATCHES, Beside, Case, Loop, Run

LOOPS: dict[str, Loop] = {  # a run is made once, and only read here
    "plain": cache(plain.run),
    "fastai": cache(with_fastai.run),
    "lightning": cache(with_lightning.run),
    "transformers": cache(with_transformers.run),
    "accelerate": cache(with_accelerate.run),
}

HEALTHY = Case()
SCHEDULED = Case(decay=0.95)
RUINED = Case(lr=(10.0, 10.0))
RAMPED = Case(lr=(3e-3, 3e-3), decay=1.5)  # breaks in the middle
STARVED = Case(lr=(1e-8, 3e-3))
CASES = {"healthy": HEALTHY, "scheduled": SCHEDULED, "ruined": RUINED, "ramped": RAMPED, "starved": STARVED}

pytestmark = pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning")
every_loop = pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def without(case: Case) -> Case:
    return Case(lr=case.lr, epochs=case.epochs, decay=case.decay, watch=False)


def watching(case: Case) -> Case:
    return Case(lr=case.lr, epochs=case.epochs, decay=case.decay, act=False)


def bits(run: Run) -> Iterator[tuple[str, bytes]]:
    """All that training changes."""
    for name, t in run.model.state_dict().items():
        yield name, t.numpy().tobytes()
    for i, state in enumerate(run.optimizer.state.values()):
        for key, value in state.items():
            yield f"{i} {key}", value.numpy().tobytes()
    yield "losses", torch.tensor(run.losses).numpy().tobytes()
    yield "random state", run.rng.numpy().tobytes()


def hooks(model: nn.Module, optimizer: Any) -> int:
    on_model = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())
    return on_model + len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)


@every_loop
@every_case
def test_it_decides_as_the_plain_loop_does(loop: Loop, case: Case) -> None:
    """Same model, data and optimizer: the same readings, findings and decisions, at the same steps, with the same scales."""
    expected, got = LOOPS["plain"](case), loop(case)
    assert expected.trace is not None
    assert got.trace is not None
    assert repr(list(got.trace)) == repr(list(expected.trace))  # repr: NaN equals NaN
    assert got.scales == expected.scales
    assert dict(bits(got)) == dict(bits(expected))


def test_the_cases_are_what_they_are_called() -> None:
    actions = {name: [d.action for d in LOOPS["plain"](case).decisions] for name, case in CASES.items()}
    assert actions["healthy"] == actions["scheduled"] == []
    assert Action.ROLLBACK in actions["ruined"]
    assert Action.ROLLBACK in actions["ramped"]
    assert actions["starved"][0] is Action.RESCALE


@every_loop
@pytest.mark.parametrize("case", [HEALTHY, SCHEDULED], ids=["healthy", "scheduled"])
def test_a_healthy_run_is_bit_identical_to_one_without(loop: Loop, case: Case) -> None:
    assert dict(bits(loop(case))) == dict(bits(loop(without(case))))


@every_loop
@every_case
def test_watching_alone_changes_no_run(loop: Loop, case: Case) -> None:
    watched = loop(watching(case))
    assert dict(bits(watched)) == dict(bits(loop(without(case))))
    assert watched.decisions == []
    assert set(watched.scales) == {1.0}


@every_loop
@every_case
def test_the_schedule_stays_the_users(loop: Loop, case: Case) -> None:
    """After every step the optimizer holds what the schedule wrote, and the next change builds on that."""
    run = loop(case)
    assert run.lrs == loop(without(case)).lrs
    assert run.trace is not None
    assert [tuple(g.lr for g in r.groups) for r in run.trace.readings] == run.lrs


@every_loop
def test_a_ruined_run_trains(loop: Loop) -> None:
    run = loop(RUINED)
    first, last = run.losses[:BATCHES], run.losses[-BATCHES:]
    assert all(map(math.isfinite, last))
    assert statistics.mean(last) < 0.9 * statistics.median(first)


@every_loop
def test_what_else_is_given_goes_back_with_a_rollback(loop: Loop) -> None:
    also = Beside()
    run = loop(dataclasses.replace(RUINED, also=also))
    back = [d.restored_step for d in run.decisions if d.action is Action.ROLLBACK]
    assert back
    assert also.back[back.index(0)] == 1, "the state at the start is the first that it was asked for"
    assert len(also.back) == len(back)


@every_loop
@every_case
def test_every_step_is_read_once(loop: Loop, case: Case) -> None:
    run = loop(case)
    assert run.trace is not None
    assert [r.step for r in run.trace.readings] == list(range(case.epochs * BATCHES))
    assert [r.loss for r in run.trace.readings] == pytest.approx(run.losses, nan_ok=True)
    assert [r.epoch for r in run.trace.readings] == pytest.approx([(i + 1) / BATCHES for i in range(case.epochs * BATCHES)])


@every_loop
@pytest.mark.parametrize("interrupt_at", [None, 0, 7])
def test_nothing_is_left_behind(loop: Loop, interrupt_at: int | None) -> None:
    run = loop(Case(lr=(10.0, 5.0), interrupt_at=interrupt_at))
    assert run.interrupted == (interrupt_at is not None)
    assert hooks(run.model, run.optimizer) == 0
    assert [g["lr"] for g in run.optimizer.param_groups] == [10.0, 5.0]
    assert run.trace is not None
    assert len(run.trace.readings) == (HEALTHY.epochs * BATCHES if interrupt_at is None else interrupt_at)
    with pytest.raises(ValueError, match="closed"):
        run.trace.append(Reading(step=0, loss=0.0))
