"""Loops of two nets: which of them are games, seen from either side."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from adaptlr import Action, Controller, Kind
from adaptlr.judge.outlook import GAME
from adaptlr.measure.opponents import Opponents
from tests.nets import quiet


class Pair:
    """Two nets with an optimizer each, either of which may be watched."""

    def __init__(self, watched: str) -> None:
        torch.manual_seed(0)
        self.nets = {"a": nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), "b": nn.Linear(4, 1)}
        self.optimizers = {name: torch.optim.SGD(net.parameters(), lr=0.01) for name, net in self.nets.items()}
        self.watched = watched
        self.passed = False
        self.nets[watched].register_forward_hook(self._pass)
        params = [list(self.nets[watched].parameters())]
        self.opponents = Opponents(self.nets[watched], params, lambda: self.passed)

    def _pass(self, *_: object) -> None:
        self.passed = True

    def step(self, name: str) -> None:
        if name == self.watched:
            self.opponents.before_step()
        self.optimizers[name].step()
        if name == self.watched:
            self.passed = False

    def zero_grad(self, *names: str) -> None:
        for name in names:
            self.optimizers[name].zero_grad()


def critic_turn(pair: Pair) -> Tensor:
    """The discriminator's step; gives what was made for it."""
    fake = pair.nets["a"](torch.randn(8, 4))
    pair.zero_grad("b")
    (pair.nets["b"](torch.randn(8, 4)).mean() - pair.nets["b"](fake.detach()).mean()).backward()
    pair.step("b")
    return fake


def game(pair: Pair) -> None:
    """A generator and a discriminator."""
    a, b = pair.nets["a"], pair.nets["b"]
    critic_turn(pair)
    pair.zero_grad("a")
    b(a(torch.randn(8, 4))).mean().backward()
    pair.step("a")


def game_of_one_pass(pair: Pair) -> None:
    """The same, with one pass of the generator for both, and gradients that go nowhere kept from being made."""
    b = pair.nets["b"]
    fake = critic_turn(pair)
    b.requires_grad_(False)
    pair.zero_grad("a")
    b(fake).mean().backward()
    pair.step("a")
    b.requires_grad_(True)


def one_loss(pair: Pair) -> None:
    """An encoder and what it is decoded by, each with its gradient clipped before its own step."""
    a, b = pair.nets["a"], pair.nets["b"]
    pair.zero_grad("a", "b")
    b(a(torch.randn(8, 4))).mean().backward()
    for name in "ab":
        nn.utils.clip_grad_norm_(pair.nets[name].parameters(), 1e-3)
        pair.step(name)


def side_by_side(pair: Pair) -> None:
    """Two models, each on its own, in turns."""
    for name, net in pair.nets.items():
        pair.zero_grad(name)
        net(torch.randn(8, 4)).mean().backward()
        pair.step(name)


def probed(pair: Pair) -> None:
    """A probe that is trained on what the net knows."""
    a, b = pair.nets["a"], pair.nets["b"]
    known = a(torch.randn(8, 4))
    pair.zero_grad("a", "b")
    known.mean().backward()
    pair.step("a")
    b(known.detach()).mean().backward()
    pair.step("b")


def in_another_thread(pair: Pair) -> None:
    """The other model is trained meanwhile."""
    pair.zero_grad("a", "b")
    for net in pair.nets.values():
        net(torch.randn(8, 4)).mean().backward()
        pair.zero_grad("a", "b")
    other = "b" if pair.watched == "a" else "a"
    thread = threading.Thread(target=pair.step, args=(other,))
    thread.start()
    thread.join()
    pair.nets[pair.watched](torch.randn(8, 4)).mean().backward()
    pair.step(pair.watched)


@pytest.mark.parametrize("watched", ["a", "b"])
@pytest.mark.parametrize(
    ("loop", "is_game"),
    [(game, True), (game_of_one_pass, True), (one_loss, False), (side_by_side, False), (probed, False), (in_another_thread, False)],
)
def test_from_either_side(loop: Callable[[Pair], None], watched: str, *, is_game: bool) -> None:
    pair = Pair(watched)
    with pair.opponents:
        loop(pair)
        assert not pair.opponents.noticed  # once may be a coincidence
        for _ in range(5):
            loop(pair)
    assert pair.opponents.noticed is is_game


def test_two_optimizers_of_one_net_are_no_game() -> None:
    """However they take turns."""
    pair = Pair("a")
    first, second = pair.nets["a"][0], pair.nets["a"][2]
    pair.optimizers = {"a": torch.optim.SGD(first.parameters(), lr=0.01), "b": torch.optim.SGD(second.parameters(), lr=0.01)}
    with pair.opponents:
        for _ in range(5):
            for name in "ba":
                pair.zero_grad(name)
                pair.nets["a"](torch.randn(8, 4)).mean().backward()
                pair.step(name)
    assert not pair.opponents.noticed


def test_nothing_is_left_behind() -> None:
    pair = Pair("a")
    with pair.opponents:
        game(pair)
    for _ in range(5):
        game(pair)
    assert not pair.opponents.noticed


@pytest.mark.parametrize("is_game", [False, True])
def test_it_does_not_matter_when_the_controllers_are_told(*, is_game: bool) -> None:
    """At the end of a batch, as callbacks are."""
    torch.manual_seed(0)
    a, b = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4)), nn.Linear(4, 1)
    first, second = (torch.optim.SGD(net.parameters(), lr=0.01) for net in (a, b))
    with Controller(a, first, announce=quiet) as of_a, Controller(b, second, announce=quiet) as of_b:
        for _ in range(6):
            second.zero_grad()
            made = a(torch.randn(16, 4))
            loss = b(made.detach() if is_game else made).square().mean()
            if not is_game:
                first.zero_grad()
            loss.backward()
            if is_game:
                second.step()
                first.zero_grad()
                (b(made) - 1).square().mean().backward()
                first.step()
            else:
                first.step()
                second.step()
            of_a.step(loss)
            of_b.step(loss)
        noticed = [c.state_dict(snapshots=False)["history"]["outlook"]["excuse"] == GAME for c in (of_a, of_b)]
    assert noticed == [is_game, is_game]


def play(*, poison: bool = False, watch: bool = True) -> tuple[list[Tensor], Controller | None]:
    """A loss that rises a hundredfold, since another net is trained to have it so for forty steps."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    other = nn.Linear(4, 1)
    mine, theirs = torch.optim.SGD(net.parameters(), lr=0.05), torch.optim.SGD(other.parameters(), lr=0.05)
    controller = Controller(net, mine, announce=quiet).__enter__() if watch else None
    for i in range(60):
        theirs.zero_grad()
        (-other(net(torch.randn(16, 4)).detach()).square().mean()).backward()
        if i < 40:
            theirs.step()
        mine.zero_grad()
        loss = (other(net(torch.randn(16, 4))) + 1).square().mean()
        if poison and i == 30:
            loss = loss * torch.nan
        loss.backward()
        mine.step()
        if controller is not None:
            controller.step(loss)
    if controller is not None:
        controller.close()
    return [p.detach() for p in net.parameters()], controller


def test_of_a_game_it_is_said_what_is_seen_and_nothing_is_changed() -> None:
    plain, _ = play(watch=False)
    weights, controller = play()
    assert controller is not None
    assert controller.findings
    assert {d.action for d in controller.decisions} == {Action.HOLD}
    assert "as in a game of two" in controller.decisions[0].message
    assert all(map(torch.equal, weights, plain))


def test_what_is_not_finite_goes_back_in_a_game_too() -> None:
    weights, controller = play(poison=True)
    assert controller is not None
    assert [d.findings for d in controller.decisions if d.action is Action.ROLLBACK] == [(Kind.NON_FINITE,)]
    assert all(bool(w.isfinite().all()) for w in weights)
