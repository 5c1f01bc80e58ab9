"""What a GPU has: sums on the device, and readings that come a step late. Here the CPU has both, so that any machine tests them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import torch

from adaptlr import Action, Controller, Kind, observer
from adaptlr.measure import sums
from tests.loops.half import InHalf
from tests.nets import Run, batches, convnet, fit, quiet, same, train, went_on_and_resumed


class Arrived(NamedTuple):
    """In place of an event of CUDA: all has come over."""

    def synchronize(self) -> None: ...


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "make", sums.OnDevice)
    monkeypatch.setattr(observer, "_send", lambda pending: pending._replace(ready=Arrived()))


def test_a_reading_comes_with_the_next_step_and_the_last_one_at_the_end() -> None:
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Controller(model, optimizer) as ctl:
        for i, batch in enumerate(batches(6)):
            fit(model, optimizer, [batch], ctl)
            assert [r.step for r in ctl.trace.readings] == list(range(i))
    assert [r.step for r in ctl.trace.readings] == list(range(6))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_healthy_run_is_the_same_to_the_last_bit(optimizer: str) -> None:
    lr = 3e-3 if optimizer == "adam" else 3e-2
    plain, watched = train(optimizer, lr, steps=60), train(optimizer, lr, steps=60, controller={})
    assert same(watched.state, plain.state)
    assert watched.rng == plain.rng


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("lr", [10.0, 1000.0])
def test_a_ruined_run_is_put_right_and_every_step_is_told_once(optimizer: str, lr: float) -> None:
    run: Run = train(optimizer, lr, steps=120, controller={"announce": quiet})
    assert run.controller is not None
    first = run.controller.decisions[0]
    assert first.action is Action.ROLLBACK
    assert first.step <= 3
    assert sum(run.losses[-10:]) / 10 < 1.0
    steps = [r.step for r in run.controller.trace.readings]
    assert steps == sorted(set(steps))


def test_a_step_that_is_on_its_way_when_a_rollback_comes_belongs_to_no_run() -> None:
    """The step after the ruinous one was made already; nothing of it is read, and the weights are those of the snapshot."""
    run = train("adam", 1000.0, steps=30, controller={"announce": quiet})
    assert run.controller is not None
    back = run.controller.decisions[0]
    assert back.step + 1 not in {r.step for r in run.controller.trace.readings}


def test_a_run_is_resumed_to_the_last_bit() -> None:
    """One that went on after its checkpoint was taken, and one that began there: taking it hurries what is on its way."""

    for at in (2, 25, 40):
        whole, rest = went_on_and_resumed(at)
        assert whole[2][0][1] is Action.ROLLBACK
        assert rest[2] == [d for d in whole[2] if d[0] >= at]
        assert same(rest[:2], whole[:2])


@pytest.mark.parametrize("fused", [False, True])
def test_a_lost_run_under_a_scaler_goes_back(fused: bool) -> None:
    run = InHalf(1e3, fused=fused)
    ctl = run.train(80)
    assert (ctl.decisions[0].action, ctl.decisions[0].findings) == (Action.ROLLBACK, (Kind.NON_FINITE,))
    assert run.losses[-1] < 0.7


@pytest.fixture(params=["default", "meta", "float64", "bfloat16"])
def defaults(request: pytest.FixtureRequest) -> Iterator[str]:
    """What a user may have set for tensors of their own."""
    before = torch.get_default_dtype()
    with contextlib.ExitStack() as stack:
        if request.param == "meta":
            stack.enter_context(torch.device("meta"))
        elif request.param != "default":
            torch.set_default_dtype(getattr(torch, request.param))
        yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("host", [False, True], ids=["on-device", "on-host"])
def test_no_number_is_of_the_users_default_device_or_type(defaults: str, host: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if host:
        monkeypatch.undo()
    traces = []
    for as_set in (False, True):
        with torch.device("cpu"):
            torch.set_default_dtype(torch.float32)
            torch.manual_seed(0)
            model, data = convnet(), list(batches(40))
            optimizer = torch.optim.Adam(model.parameters(), lr=10.0)
        if as_set and defaults in ("float64", "bfloat16"):
            torch.set_default_dtype(getattr(torch, defaults))
        with Controller(model, optimizer, announce=quiet) as ctl:
            fit(model, optimizer, data, ctl)
        traces.append([repr(r) for r in ctl.trace])
    assert traces[0] == traces[1]
    assert any("ROLLBACK" in r for r in traces[0])
