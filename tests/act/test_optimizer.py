"""What is read from ``torch.optim``, against what its optimizers do."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import partial
from typing import Any

import fastai.optimizer
import pytest
import torch
from torch import Tensor, nn

from adaptlr.act.optimizer import OptimizerPort, TorchOptimizer, copy_tensors, peak_lrs, put_back
from adaptlr.fastai.optimizer import FastaiOptimizer

LR, DECAY = 1e-2, 0.1


class MyAdam(torch.optim.Adam):
    """A user's own kind."""


class MyAdamW(torch.optim.AdamW):
    """A user's own kind."""


class MyRMSprop(torch.optim.RMSprop):
    """A user's own kind, of one that says nothing of decoupling."""


class Lion(torch.optim.Optimizer):
    """Of another library, and decoupled, as such optimizers are."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        for g in self.param_groups:
            for p in g["params"]:
                assert p.grad is not None
                p.sub_(g["lr"] * (p.grad.sign() + g["weight_decay"] * p))


KINDS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": torch.optim.SGD,
    "SGD-momentum": partial(torch.optim.SGD, momentum=0.9),
    "ASGD": torch.optim.ASGD,
    "Adam": torch.optim.Adam,
    "Adam-amsgrad": partial(torch.optim.Adam, amsgrad=True),
    "Adam-decoupled": partial(torch.optim.Adam, decoupled_weight_decay=True),
    "AdamW": torch.optim.AdamW,
    "NAdam": torch.optim.NAdam,
    "NAdam-decoupled": partial(torch.optim.NAdam, decoupled_weight_decay=True),
    "RAdam": torch.optim.RAdam,
    "RAdam-decoupled": partial(torch.optim.RAdam, decoupled_weight_decay=True),
    "Adamax": torch.optim.Adamax,
    "RMSprop": torch.optim.RMSprop,
    "Adagrad": torch.optim.Adagrad,
    "Adadelta": torch.optim.Adadelta,
    "Adafactor": torch.optim.Adafactor,
    "Muon": torch.optim.Muon,
    "subclass of Adam": MyAdam,
    "subclass of AdamW": MyAdamW,
    "subclass of RMSprop": MyRMSprop,
    "another library's": Lion,
}
WITHOUT_DECAY = {"LBFGS", "Rprop", "SparseAdam"}


def measured_shrink(make: Callable[..., torch.optim.Optimizer]) -> float:
    """The share of a weight that decay removes in one step, over lr: two steps from the same place, with decay and without.

    The gradient is a thousand times the decay's pull, as in training; ten steps go before, for moments to settle.
    """
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.randn(8, 8, dtype=torch.float64, generator=generator))
    gradient = 100 * torch.randn(8, 8, dtype=torch.float64, generator=generator).sign()
    optimizer = make([p], lr=LR, weight_decay=0.0)
    p.grad = gradient
    for _ in range(10):
        optimizer.step()
    start, state = p.detach().clone(), deepcopy(optimizer.state[p])

    def one_step(decay: float) -> Tensor:
        with torch.no_grad():
            p.copy_(start)
        again = make([p], lr=LR, weight_decay=decay)
        again.state[p] = deepcopy(state)
        again.step()
        return p.detach().clone()

    taken = one_step(0.0) - one_step(DECAY)
    return ((taken * start).sum() / start.square().sum()).item() / LR


class TestWeightDecays:
    @pytest.mark.parametrize("name", KINDS)
    def test_what_is_read_is_what_a_step_does(self, name: str) -> None:
        optimizer = KINDS[name]([nn.Parameter(torch.ones(2, 2))], lr=LR, weight_decay=DECAY)
        read, shrink = TorchOptimizer(optimizer).weight_decays(), measured_shrink(KINDS[name])
        assert read in ([DECAY], [0.0])
        assert shrink == pytest.approx(read[0], abs=0.05 * DECAY)

    def test_every_optimizer_of_torch_is_here(self) -> None:
        kinds = {c.__name__ for c in vars(torch.optim).values() if isinstance(c, type) and issubclass(c, torch.optim.Optimizer)}
        assert kinds - {"Optimizer"} - WITHOUT_DECAY <= {k.split("-")[0] for k in KINDS}

    @pytest.mark.parametrize("name", sorted(WITHOUT_DECAY))
    def test_an_optimizer_that_knows_no_decay_has_none(self, name: str) -> None:
        assert TorchOptimizer(getattr(torch.optim, name)([nn.Parameter(torch.ones(2, 2))])).weight_decays() == [0.0]

    def test_each_group_has_its_own(self) -> None:
        a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
        optimizer = torch.optim.AdamW([{"params": [a], "weight_decay": 0.0}, {"params": [b]}], weight_decay=0.3)
        assert TorchOptimizer(optimizer).weight_decays() == [0.0, 0.3]


class TestGroups:
    def test_params_and_lrs_are_those_of_the_groups_in_order(self) -> None:
        a, b, c = (nn.Parameter(torch.ones(2)) for _ in range(3))
        port = TorchOptimizer(torch.optim.SGD([{"params": [a, b], "lr": 0.5}, {"params": [c], "lr": torch.tensor(0.25)}], lr=0.1))
        first, second = port.params()
        assert first[0] is a
        assert first[1] is b
        assert second[0] is c
        assert port.lrs() == [0.5, 0.25]

    def test_a_subclass_that_calls_its_parents_step_takes_one_step(self) -> None:
        """torch wraps either ``step`` in the hooks, once a plain one has been made."""

        class Noisy(torch.optim.SGD):
            @torch.no_grad()
            def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
                return super().step(closure)

        p, calls = nn.Parameter(torch.ones(2)), []
        p.grad = torch.ones(2)
        torch.optim.SGD([p], lr=0.1)
        optimizer = Noisy([p], lr=0.1)
        TorchOptimizer(optimizer).watch_steps(
            lambda: calls.append(("before", p[0].item())), lambda: calls.append(("after", p[0].item()))
        )
        for _ in range(2):
            calls.clear()
            start = p[0].item()
            optimizer.step()
            assert calls[-1] == ("after", p[0].item())
            assert set(calls[:-1]) == {("before", start)}

    def test_watching_ends(self) -> None:
        p = nn.Parameter(torch.ones(2))
        p.grad = torch.ones(2)
        optimizer, calls = torch.optim.SGD([p], lr=0.1), []
        end = TorchOptimizer(optimizer).watch_steps(lambda: calls.append(p[0].item()), lambda: calls.append(p[0].item()))
        optimizer.step()
        assert calls == [1.0, pytest.approx(0.9)]  # before, then after
        end()
        optimizer.step()
        assert len(calls) == 2


class TestCopies:
    def test_put_back_writes_in_place_where_shapes_allow(self) -> None:
        current = {"m": torch.zeros(3), "grown": torch.zeros(4), "kind": torch.zeros(3, dtype=torch.double), "step": 5}
        saved = {"m": torch.ones(3), "grown": torch.ones(3), "kind": torch.ones(3), "step": 2, "lost": torch.ones(1)}
        out = put_back(saved, current)
        assert out["m"] is current["m"]
        assert current["m"].eq(1).all()
        for key in ("grown", "kind", "lost"):
            assert out[key] is not saved[key]  # a copy: the next restore needs the saved one as it is
            assert out[key].data_ptr() != saved[key].data_ptr()
            assert torch.equal(out[key], saved[key])
            assert out[key].dtype == saved[key].dtype
        assert out["step"] == 2
        assert current["grown"].eq(0).all()

    def test_put_back_of_nested_state(self) -> None:
        inner = torch.zeros(2)
        saved = {"a": {"b": torch.ones(2)}, "old": [torch.ones(1)], "none": None}
        out = put_back(saved, {"a": {"b": inner}, "none": torch.ones(1)})
        assert out["a"]["b"] is inner
        assert inner.eq(1).all()
        assert out["old"][0] is not saved["old"][0]
        assert out["none"] is None

    def test_a_leaf_that_needs_gradients_is_written_without_one(self) -> None:
        p = nn.Parameter(torch.zeros(2))
        assert put_back(torch.ones(2), p) is p
        assert p.eq(1).all()
        assert p.grad_fn is None

    def test_copies_share_no_memory_and_keep_their_containers(self) -> None:
        point = namedtuple("point", "x y")
        value = {"t": torch.ones(2, requires_grad=True), "l": [torch.ones(1), (torch.ones(1), 3)], "p": point(1, [2]), "s": "x"}
        copy = copy_tensors(value)
        for original, copied in ((value["t"], copy["t"]), (value["l"][0], copy["l"][0]), (value["l"][1][0], copy["l"][1][0])):
            assert torch.equal(original, copied)
            assert original.data_ptr() != copied.data_ptr()
        assert not copy["t"].requires_grad
        assert type(copy["l"][1]) is tuple
        assert copy["p"] == value["p"]
        assert copy["p"].y is not value["p"].y
        assert copy["s"] == "x"

    def test_lbfgs_goes_back_too(self) -> None:
        """Its state is lists of tensors, kept with its first parameter."""
        p = nn.Parameter(torch.tensor([3.0, -2.0]))
        optimizer = torch.optim.LBFGS([p], lr=0.1, max_iter=3)
        port = TorchOptimizer(optimizer)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = (p - 1).pow(4).sum()
            loss.backward()
            return loss

        def three_steps() -> list[float]:
            return [optimizer.step(closure).item() for _ in range(3)]

        three_steps()
        state, place = port.capture(), p.detach().clone()
        first = three_steps()
        for _ in range(2):
            port.restore(state)
            with torch.no_grad():
                p.copy_(place)
            assert three_steps() == first


TELLING: dict[str, tuple[Callable[..., Any], Callable[[Any], OptimizerPort]]] = {
    **{k.__name__: (k, TorchOptimizer) for k in (torch.optim.Adam, torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.Adadelta)},
    "momentum": (partial(torch.optim.SGD, momentum=0.9), TorchOptimizer),
    **{f"fastai-{k.__name__}": (k, FastaiOptimizer) for k in (fastai.optimizer.Adam, fastai.optimizer.Lamb)},
}


@pytest.mark.parametrize("name", TELLING)
def test_whether_it_has_stepped_before_is_known_from_its_state(name: str) -> None:
    """Adagrad begins its sums before any step."""
    make, port_of = TELLING[name]
    weight = nn.Parameter(torch.ones(3, 4))
    optimizer = make([weight], lr=0.1)
    port = port_of(optimizer)
    assert not port.has_stepped()
    weight.grad = torch.ones(3, 4)
    optimizer.step()
    assert port.has_stepped()


def test_the_peaks_that_schedulers_note() -> None:
    def sgd() -> torch.optim.Optimizer:
        return torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1e-3, 1e-2)])

    warm_up, one_cycle, none = sgd(), sgd(), sgd()
    torch.optim.lr_scheduler.LambdaLR(warm_up, lambda step: min(1.0, step / 10))
    torch.optim.lr_scheduler.OneCycleLR(one_cycle, max_lr=[0.1, 0.2], total_steps=10)
    assert warm_up.param_groups[0]["lr"] == 0.0
    assert one_cycle.param_groups[0]["lr"] < 0.01
    assert [peak_lrs(o) for o in (warm_up, one_cycle, none)] == [[1e-3, 1e-2], [0.1, 0.2], [1e-3, 1e-2]]
    assert [TorchOptimizer(o).peak_lrs() for o in (warm_up, one_cycle, none)] == [[1e-3, 1e-2], [0.1, 0.2], None]


@pytest.mark.parametrize(
    ("group", "says"),
    [
        pytest.param({"lr": None}, r"group 1 of SGD uses no learning rate: .*relative_step=False", id="has-none"),
        pytest.param({"relative_step": True}, r"group 1 of SGD uses no learning rate: .*relative_step=False", id="uses-none"),
        pytest.param({"maximize": True}, r"group 1 of SGD has maximize=True.*minimise the negative", id="maximises"),
    ],
)
def test_groups_that_no_learning_rate_can_put_right_are_refused(group: dict[str, Any], says: str) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD([{"params": net[0].parameters()}, {"params": net[1].parameters()}], lr=0.1)
    optimizer.param_groups[1].update(group)
    with pytest.raises(ValueError, match=says):
        TorchOptimizer(optimizer)
