"""Within the block the net is traced, exported, run on tensors without numbers, or under modes that see every operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from adaptlr import Controller
from tests.nets import batches, fit, meanwhile, same

pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute"),  # the compiler's own, as all of these
    pytest.mark.filterwarnings("ignore:`torch.jit.trace"),
    pytest.mark.filterwarnings("ignore::FutureWarning:torch"),
]

STEPS = 4


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def train(
    make: Callable[[], nn.Module] = mlp, *, watched: bool, between: Callable[[nn.Module, Tensor], object] = lambda m, x: None
) -> tuple[Any, Any]:
    """Losses and weights, and how many activations of each stage were read in each step. ``between`` is called in the middle."""
    torch.manual_seed(0)
    model = make()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    controller = Controller(model, optimizer).__enter__() if watched else None
    losses = fit(model, optimizer, meanwhile(batches(STEPS), 2, lambda x, _: between(model, x)), controller)
    read = None
    if controller is not None:
        controller.close()
        read = [[s.n for s in r.stages] for r in controller.trace.readings]
    return (losses, model.state_dict()), read


def exported(model: nn.Module, x: Tensor) -> None:
    program = torch.export.export(model, (x,), strict=False)
    assert "adaptlr" not in str(program.graph)


def exported_strictly(model: nn.Module, x: Tensor) -> None:
    program = torch.export.export(model, (x,), strict=True)
    assert "adaptlr" not in str(program.graph)


def scripted_by_example(model: nn.Module, x: Tensor) -> None:
    traced: Any = torch.jit.trace(model, x)
    assert torch.equal(traced(x), model.eval()(x))
    assert "index_select" not in str(traced.inlined_graph)
    model.train()


def faked(model: nn.Module, x: Tensor) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model(mode.from_tensor(x))


def faked_when_compiled(model: nn.Module, x: Tensor) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        torch.compile(model, backend="eager")(mode.from_tensor(x))
    torch._dynamo.reset()


@pytest.mark.parametrize("between", [exported, exported_strictly, scripted_by_example, faked])
def test_training_goes_on_as_if_it_had_not_been(between: Callable[[nn.Module, Tensor], object]) -> None:
    plain, _ = train(watched=False)
    watched, read = train(watched=True, between=between)
    assert same(watched, plain)
    assert read == [[64 * 32, 64 * 10]] * STEPS


def test_a_compiled_pass_without_numbers_costs_one_step_its_activations() -> None:
    watched, read = train(watched=True, between=faked_when_compiled)
    assert same(watched, train(watched=False)[0])
    assert [len(stages) for stages in read] == [2, 2, 0, 2]


def test_a_graph_made_of_numbers_has_none_of_our_operations() -> None:
    def made(model: nn.Module, x: Tensor) -> None:
        graph = make_fx(model)(x).graph
        assert not [node for node in graph.nodes if "index_select" in str(node.target)]

    watched, read = train(watched=True, between=made)
    assert same(watched, train(watched=False)[0])
    assert read == [[64 * 32 * (1 + (i == 2)), 64 * 10 * (1 + (i == 2))] for i in range(STEPS)], "its pass is one more"


class Shuffled(nn.Module):
    """A block of which selective checkpointing keeps some results; it has the same operations as measuring."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)
        self.order = torch.randperm(64 * 64)
        self.policy = policy

    def block(self, x: Tensor) -> Tensor:
        h = self.stem(x)
        return h.reshape(-1).index_select(0, self.order).sin().view(len(h), -1)

    def forward(self, x: Tensor) -> Tensor:
        keep = functools.partial(create_selective_checkpoint_contexts, self.policy)
        h = checkpoint(self.block, x, use_reentrant=False, context_fn=keep)
        assert isinstance(h, Tensor)
        return self.head(h)


def keep_all(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE


@pytest.mark.parametrize("policy", [[torch.ops.aten.index_select.default], keep_all], ids=["one", "all"])
def test_selective_checkpointing_gives_the_users_results_back(policy: Any) -> None:
    make = functools.partial(Shuffled, policy)
    plain, _ = train(make, watched=False)
    watched, read = train(make, watched=True)
    assert same(watched, plain)
    assert read == [[64 * 64, 64 * 10]] * STEPS


def test_a_mode_of_the_user_sees_his_operations_only() -> None:
    class Seen(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    def names(watched: bool) -> list[str]:
        seen = Seen()

        def look(model: nn.Module, x: Tensor) -> None:
            with seen:
                for _ in range(9):  # so many that they are counted in between
                    model(x)

        train(watched=watched, between=look)
        return seen.names

    assert names(True) == names(False)
