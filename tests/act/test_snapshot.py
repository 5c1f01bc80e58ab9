"""Going back in time: to the bit, any number of times, and without a trace of what came after."""

from __future__ import annotations

import math
import pickle
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from adaptlr import Controller
from adaptlr.act.optimizer import TorchOptimizer
from adaptlr.act.snapshot import Ring, Snapshot, capture, pack, restore, unpack
from tests.act.nets import OPTIMIZERS, Maker, batches, bits, net, train
from tests.nets import size_of

every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Scaler:
    """Like a GradScaler: numbers of its own that a run changes, in containers that it goes on writing to."""

    def __init__(self, scale: float) -> None:
        self.state: dict[str, Any] = {"scale": torch.tensor(scale), "history": [scale], "growth": 0}

    def update(self) -> None:
        self.state["scale"] *= 2
        self.state["history"].append(float(self.state["scale"]))
        self.state["growth"] += 1

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict


class Remembering(torch.optim.SGD):
    """Keeps a number of its own in its groups."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for group in self.param_groups:
            group["distance"] = 0.0

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        for group in self.param_groups:
            group["distance"] += 1.0
        return super().step(closure)


class TestRoundTrip:
    @every_optimizer
    @pytest.mark.parametrize("steps_before", [0, 3])
    def test_every_bit_comes_back_twice_and_the_run_goes_on_as_it_did(self, make: Maker, steps_before: int) -> None:
        """From a run's start and from its middle. Not one byte differs: parameters, buffers, state, and the losses after it."""
        model = net()
        optimizer = make(model.parameters())
        train(model, optimizer, batches(steps_before))
        snapshot = capture(steps_before, model, TorchOptimizer(optimizer))
        expected = bits(model, optimizer)
        rest = batches(4, seed=2)
        first = train(model, optimizer, rest), bits(model, optimizer)
        assert first[1] != expected
        for _ in range(2):  # the snapshot itself must not be written to by the run that goes on from it
            restore(snapshot, model, TorchOptimizer(optimizer))
            assert bits(model, optimizer) == expected
            assert (train(model, optimizer, rest), bits(model, optimizer)) == first

    @every_optimizer
    def test_state_that_did_not_exist_is_gone(self, make: Maker) -> None:
        model = net()
        optimizer = make(model.parameters())
        at_start = {p: set(s) for p, s in optimizer.state.items()}
        snapshot = capture(0, model, TorchOptimizer(optimizer))
        train(model, optimizer, batches(2))
        restore(snapshot, model, TorchOptimizer(optimizer))
        assert {p: set(s) for p, s in optimizer.state.items()} == at_start

    def test_an_entry_that_a_state_gained_is_gone(self) -> None:
        p = nn.Parameter(torch.ones(2))
        p.grad = torch.ones(2)
        optimizer = torch.optim.Adam([p])
        optimizer.step()
        snapshot = capture(1, nn.ParameterList([p]), TorchOptimizer(optimizer))
        kept = set(optimizer.state[p])
        optimizer.state[p]["max_exp_avg_sq"] = torch.ones(2)  # as when amsgrad is turned on
        restore(snapshot, nn.ParameterList([p]), TorchOptimizer(optimizer))
        assert set(optimizer.state[p]) == kept

    def test_state_is_written_in_place_and_parameters_keep_their_identity(self) -> None:
        model = net()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        train(model, optimizer, batches(1))
        snapshot = capture(1, model, TorchOptimizer(optimizer))
        train(model, optimizer, batches(1))
        places = [t.data_ptr() for t in (*model.parameters(), *model.buffers())]
        moments = [optimizer.state[p]["exp_avg"].data_ptr() for p in model.parameters()]
        params = list(model.parameters())
        restore(snapshot, model, TorchOptimizer(optimizer))
        assert places == [t.data_ptr() for t in (*model.parameters(), *model.buffers())]
        assert moments == [optimizer.state[p]["exp_avg"].data_ptr() for p in model.parameters()]
        assert all(a is b for a, b in zip(params, model.parameters(), strict=True))

    def test_buffers_that_no_state_dict_shows_come_back(self) -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        snapshot = capture(0, model, TorchOptimizer(optimizer))
        train(model, optimizer, batches(3))
        assert "unsaved" not in model.state_dict()
        assert model.unsaved.any()
        assert model.norm.num_batches_tracked is not None
        assert model.norm.num_batches_tracked.item() == model.saved.item() == 3
        restore(snapshot, model, TorchOptimizer(optimizer))
        assert not model.unsaved.any()
        assert model.norm.num_batches_tracked.item() == model.saved.item() == 0

    def test_tied_weights_are_copied_once_and_stay_tied(self) -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        snapshot = capture(0, model, TorchOptimizer(optimizer))
        assert [name for name in snapshot.tensors if name.endswith("code.weight")] == ["encode.weight"]
        assert size_of(snapshot.tensors.values()) == size_of((*model.parameters(), *model.buffers()))
        train(model, optimizer, batches(1))
        restore(snapshot, model, TorchOptimizer(optimizer))
        assert model.encode.weight is model.decode.weight

    def test_the_schedule_stays_the_users(self) -> None:
        model = net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, betas=(0.9, 0.99), weight_decay=0.3)
        snapshot = capture(0, model, TorchOptimizer(optimizer))
        optimizer.param_groups[0].update(lr=0.02, betas=(0.8, 0.95), weight_decay=0.0, initial_lr=0.1)
        chosen = {k: v for k, v in optimizer.param_groups[0].items() if k != "params"}
        train(model, optimizer, batches(2))
        restore(snapshot, model, TorchOptimizer(optimizer))
        assert {k: v for k, v in optimizer.param_groups[0].items() if k != "params"} == chosen

    def test_what_only_the_optimizer_holds_comes_back_too(self) -> None:
        """A loss with weights of its own is trained, and ruined, with the model."""
        model, centres = net(), nn.Parameter(torch.ones(3, 2))
        optimizer = torch.optim.SGD([{"params": model.parameters()}, {"params": [centres]}], lr=0.1)
        snapshot = capture(0, model, TorchOptimizer(optimizer))
        with torch.no_grad():
            centres.fill_(torch.nan)
        restore(snapshot, model, TorchOptimizer(optimizer))
        assert centres.eq(1).all()

    def test_tensors_that_the_model_gained_since_are_left_alone(self) -> None:
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        snapshot = capture(0, model, TorchOptimizer(optimizer))
        model.register_buffer("new", torch.full((2,), 7.0))
        restore(snapshot, model, TorchOptimizer(optimizer))
        assert model.get_buffer("new").eq(7).all()

    def test_what_an_optimizer_remembers_in_its_groups_goes_back_and_hyperparameters_do_not(self) -> None:
        """As Prodigy its distance: one that is not finite would leave it nothing to step by."""
        model = net()
        optimizer = Remembering(model.parameters(), lr=0.1, momentum=0.9)
        port = TorchOptimizer(optimizer)
        start = capture(0, model, port)
        end = port.watch_steps(lambda: None, lambda: None)
        train(model, optimizer, batches(2))
        snapshot = capture(2, model, port)
        optimizer.param_groups[0].update(distance=math.nan, lr=0.2, momentum=0.5)
        restore(snapshot, model, port)
        assert [optimizer.param_groups[0][k] for k in ("distance", "lr", "momentum")] == [2.0, 0.2, 0.5]
        restore(start, model, port)
        assert optimizer.param_groups[0]["distance"] == 0.0
        end()

    def test_a_snapshot_on_another_device_needs_no_memory_beside_the_model(self) -> None:
        """The meta device stands in for one that is not there: all tensors of the snapshot are moved."""
        model = net()
        optimizer = torch.optim.Adam(model.parameters())
        train(model, optimizer, batches(1))
        device = torch.device("meta")
        snapshot = capture(1, model, TorchOptimizer(optimizer, device), device=device)
        assert {t.device.type for t in snapshot.tensors.values()} == {"meta"}
        assert {v.device.type for layer in snapshot.optimizer[0] for _, s in layer for v in s.values()} == {"meta"}

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: a snapshot kept on the host")
    def test_a_snapshot_on_the_host_goes_back_to_the_device(self) -> None:
        model = net().cuda()
        optimizer = torch.optim.Adam(model.parameters())
        xs = [x.cuda() for x in batches(2)]
        train(model, optimizer, xs)
        host = torch.device("cpu")
        snapshot = capture(2, model, TorchOptimizer(optimizer, host), device=host)
        first = train(model, optimizer, xs)
        restore(snapshot, model, TorchOptimizer(optimizer, host))
        assert train(model, optimizer, xs) == first

    def test_capture_and_restore_draw_no_random_number(self) -> None:
        def generators() -> tuple[bytes, bytes, object]:
            return torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state()), random.getstate()

        model = net()
        optimizer = torch.optim.Adam(model.parameters())
        train(model, optimizer, batches(1))
        before = generators()
        restore(capture(1, model, TorchOptimizer(optimizer)), model, TorchOptimizer(optimizer))
        assert generators() == before


def test_frozen_weights_that_no_group_holds_are_not_copied() -> None:
    """Adapters on a large net that stays as it is: a copy of it would be most of a snapshot, four times over."""
    model = net()
    largest = max(model.parameters(), key=lambda p: p.numel())
    frozen, trained = [largest], [p for p in model.parameters() if p is not largest]
    assert largest.numel() > sum(p.numel() for p in trained)
    largest.requires_grad_(False)
    port = TorchOptimizer(torch.optim.SGD(trained, lr=0.1))
    snapshot = capture(0, model, port)
    names = {id(p): name for name, p in model.named_parameters()}
    assert not {names[id(p)] for p in frozen} & set(snapshot.tensors)
    assert {names[id(p)] for p in trained} <= set(snapshot.tensors)
    held = capture(0, model, TorchOptimizer(torch.optim.SGD(model.parameters(), lr=0.1)))  # it may be unfrozen within the run
    assert set(names.values()) <= set(held.tensors)


def test_a_teacher_within_the_model_goes_back_too() -> None:
    """Its weights are frozen and no optimizer's, and are written to by hand: what is NaN once would stay so."""
    torch.manual_seed(0)
    model = nn.ModuleDict({"student": net(), "teacher": net()})
    model["teacher"].requires_grad_(False)
    optimizer = torch.optim.SGD(model["student"].parameters(), lr=1e-3)
    with Controller(model, optimizer, announce=lambda _: None) as ctl:
        for i in range(24):
            optimizer.zero_grad()
            loss = model["student"](batches(1)[0]).square().mean() * (math.nan if i == 18 else 1.0)
            loss.backward()
            optimizer.step()
            for mine, its in zip(model["student"].parameters(), model["teacher"].parameters(), strict=True):
                its.lerp_(mine.detach(), 0.1)
            ctl.step(loss)
    assert [d.restored_step is None for d in ctl.decisions] == [False]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_frozen_weights_that_come_into_a_group_later_go_back_to_what_they_were() -> None:
    torch.manual_seed(0)
    model = net()
    first, *rest = model.parameters()
    first.requires_grad_(False)
    optimizer = torch.optim.SGD(rest, lr=1e-3)
    start = first.detach().clone()
    with Controller(model, optimizer, announce=lambda _: None) as ctl:
        for i in range(12):
            if i == 5:
                first.requires_grad_(True)
                optimizer.add_param_group({"params": [first], "lr": 1e-3})
            optimizer.zero_grad()
            loss = model(batches(1)[0]).square().mean() * (math.nan if i == 9 else 1.0)
            loss.backward()
            optimizer.step()
            ctl.step(loss)
            if i == 8:
                assert not torch.equal(first, start)
            if i == 9:
                assert ctl.decisions[0].restored_step in (0, 8)
                assert torch.isfinite(first).all()


class TestWhoIsWho:
    """Names change during a run, and are given to others."""

    @staticmethod
    def port(model: nn.Module) -> TorchOptimizer:
        return TorchOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))

    @staticmethod
    def chain() -> nn.ModuleList:
        torch.manual_seed(0)
        return nn.ModuleList([nn.BatchNorm1d(4), nn.Linear(4, 4)])

    def test_a_layer_that_has_moved_takes_what_it_was_and_its_successor_nothing(self) -> None:
        model = self.chain()
        port = self.port(model)
        snapshot = capture(0, model, port)
        norm, start = model[0], {k: v.clone() for k, v in model.state_dict().items()}
        model.insert(0, nn.BatchNorm1d(4))
        with torch.no_grad():
            for t in (*model.parameters(), *model.buffers()):
                t.fill_(7)
        restore(snapshot, model, port)
        assert all(torch.equal(t, start[f"0.{name}"]) for name, t in norm.state_dict().items())
        assert all(t.eq(7).all() for t in model[0].state_dict().values())

    def test_a_wrapped_layers_buffers_go_back(self) -> None:
        model = self.chain()
        port = self.port(model)
        snapshot = capture(0, model, port)
        norm = model[0]
        model[0] = nn.Sequential(norm)
        norm.get_buffer("running_mean").fill_(7)
        restore(snapshot, model, port)
        assert not norm.get_buffer("running_mean").any()

    def test_buffers_that_change_places_are_what_was_at_each_place(self) -> None:
        model = nn.Linear(2, 2)
        model.register_buffer("now", torch.ones(2))
        model.register_buffer("before", torch.zeros(2))
        snapshot = capture(0, model, self.port(model))
        model.now, model.before = model.before, model.now
        restore(snapshot, model, self.port(model))
        assert (model.get_buffer("now").tolist(), model.get_buffer("before").tolist()) == ([1, 1], [0, 0])

    def test_what_has_taken_a_name_goes_back_to_what_had_it(self) -> None:
        model = nn.Linear(2, 2)
        snapshot, start = capture(0, model, self.port(model)), model.weight.detach().clone()
        model.weight = nn.Parameter(torch.full((2, 2), 7.0))
        restore(snapshot, model, self.port(model))
        assert torch.equal(model.weight, start)

    @pytest.mark.parametrize("again", [False, True], ids=["saved-after", "saved-before"])
    def test_another_process_has_the_names_of_now(self, again: bool) -> None:
        """Whether layers were wrapped before the state was saved, or after the run was taken up again."""
        model = self.chain()
        port = self.port(model)
        start = [t.detach().clone() for t in (*model.parameters(), *model.buffers())]
        snapshot = capture(0, model, port)
        if again:
            held = Ring()
            held.put([unpack(pack(snapshot, port), port)], [0], 0)
            held.add(capture(8, model, port))
            snapshot = next(iter(held))
        model[0], model[1] = nn.Sequential(model[0]), nn.Sequential(model[1])
        if not again:
            snapshot = unpack(pack(snapshot, port), port)
            assert set(snapshot.tensors) == {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
        with torch.no_grad():
            for t in (*model.parameters(), *model.buffers()):
                t.fill_(7)
        restore(snapshot, model, port)
        assert all(map(torch.equal, start, (*model.parameters(), *model.buffers())))

    def test_no_replaced_weight_is_kept_alive(self) -> None:
        model = nn.Linear(2, 2)
        snapshot = capture(0, model, self.port(model))
        owner, _ = snapshot.owners["weight"]
        assert owner() is model.weight
        model.weight = nn.Parameter(torch.ones(2, 2))
        assert owner() is None


def with_buffer(buffer: Tensor) -> nn.Linear:
    model = nn.Linear(4, 4)
    model.register_buffer("mask", buffer, persistent=False)
    model.sub = nn.Module()
    model.sub.register_buffer("same", buffer)
    return model


class TestBuffersThatCannotBeWrittenTo:
    def test_one_that_repeats_itself(self) -> None:
        """A causal mask for every head: not copied once a head, and written where it lies."""
        base = torch.tril(torch.ones(8, 8))
        model = with_buffer(base.expand(6, 8, 8))
        port = TorchOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        snapshot = capture(0, model, port)
        assert snapshot.tensors["mask"].untyped_storage().nbytes() == base.untyped_storage().nbytes()
        base.fill_(7)
        restore(snapshot, model, port)
        assert torch.equal(base, torch.tril(torch.ones(8, 8)))
        assert model.get_buffer("mask").data_ptr() == base.data_ptr()

    @pytest.mark.parametrize("repeats", [False, True])
    def test_one_that_has_come_to_repeat_itself(self, repeats: bool) -> None:
        """What it was does not fit where it lies, unless all rows were the same."""
        then = torch.ones(1, 4).expand(3, 4) if repeats else torch.arange(12.0).view(3, 4)
        model = with_buffer(then)
        port = TorchOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        snapshot = capture(0, model, port)
        model.mask = model.get_submodule("sub").same = torch.zeros(4).expand(3, 4)
        restore(snapshot, model, port)
        assert torch.equal(model.get_buffer("mask"), then)
        assert model.get_buffer("sub.same") is model.get_buffer("mask")

    def test_one_that_was_made_in_inference_mode(self) -> None:
        with torch.inference_mode():
            made = torch.arange(4.0)
        model = with_buffer(made)
        port = TorchOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        snapshot = capture(0, model, port)
        with torch.inference_mode():
            made.fill_(7)
        for _ in range(2):
            restore(snapshot, model, port)
            assert model.get_buffer("mask").tolist() == [0, 1, 2, 3]
            assert model.get_buffer("sub.same") is model.get_buffer("mask")
            assert not model.get_buffer("mask").is_inference()
            model.get_buffer("mask").fill_(5)

    def test_a_run_goes_on(self) -> None:
        torch.manual_seed(0)
        model = with_buffer(torch.zeros(1, 4).expand(3, 4))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with Controller(model, optimizer, announce=lambda _: None) as ctl:
            for i in range(12):
                loss = (model(torch.ones(2, 4)) + model.get_buffer("mask")[0]).square().mean() * (math.nan if i == 9 else 1.0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                ctl.step(loss)
        assert len(ctl.decisions) == 1
        assert torch.isfinite(model.weight).all()


def test_what_refuses_to_go_back_leaves_all_as_it_is() -> None:
    class Refuses(Scaler):
        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            raise RuntimeError("no")

    model, other = net(), Refuses(1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    snapshot = capture(0, model, TorchOptimizer(optimizer), (other,))
    train(model, optimizer, batches(2))
    expected = bits(model, optimizer)
    with pytest.raises(RuntimeError, match="no"):
        restore(snapshot, model, TorchOptimizer(optimizer), (other,))
    assert bits(model, optimizer) == expected


class TestExtras:
    def test_they_go_back_with_the_run_as_often_as_it_does(self) -> None:
        model, a, b = net(), Scaler(2.0), Scaler(16.0)
        port = TorchOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        snapshot = capture(0, model, port, (a, b))
        for _ in range(2):
            a.update()
            b.update()
            restore(snapshot, model, port, (a, b))
            assert a.state == {"scale": torch.tensor(2.0), "history": [2.0], "growth": 0}
            assert b.state == {"scale": torch.tensor(16.0), "history": [16.0], "growth": 0}

    def test_a_real_grad_scaler(self) -> None:
        model, scaler = net(), torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler.scale(torch.zeros(()))
        snapshot = capture(0, model, TorchOptimizer(optimizer), (scaler,))
        scaler.scale(model(batches(1)[0]).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == 16.0
        restore(snapshot, model, TorchOptimizer(optimizer), (scaler,))
        assert scaler.get_scale() == 8.0

    def test_as_many_as_were_captured(self) -> None:
        model = net()
        port = TorchOptimizer(torch.optim.SGD(model.parameters(), lr=0.1))
        snapshot = capture(0, model, port, (Scaler(1.0),))
        with pytest.raises(ValueError):
            restore(snapshot, model, port, ())


def at(step: int) -> Snapshot:
    return Snapshot(step=step, tensors={"w": torch.zeros(2)}, optimizer=None, extras=())


def ring(*steps: int, size: int = 4, certified: tuple[int, ...] = ()) -> Ring:
    """A ring in the middle of a run. A step is certified before the next is added."""
    out = Ring(size=size)
    for step in steps:
        out.add(at(step))
        if step in certified:
            out.certify(step, step)
    return out


def steps_of(held: Ring) -> list[int]:
    return [s.step for s in held]


class TestRing:
    def test_captures_are_due_after_a_quarter_more_of_the_run_and_then_at_every_longest_gap(self) -> None:
        held, due = Ring(longest_gap=200), []
        for step in range(900):
            if held.due(step):
                held.add(at(step))
                due.append(step)
        assert due[:10] == [0, 8, 16, 24, 32, 40, 50, 62, 77, 96]
        assert due[-4:] == [453, 566, 707, 883]

    @pytest.mark.parametrize(
        ("last", "step", "gap", "due"),
        [
            pytest.param(0, 7, 200, False, id="too-soon-after-the-start"),
            pytest.param(0, 8, 200, True, id="first"),
            pytest.param(64, 79, 200, False, id="not-a-quarter-more"),
            pytest.param(64, 80, 200, True, id="a-quarter-more"),
            pytest.param(128, 256, 100, True, id="long-overdue"),
            pytest.param(800, 899, 100, False, id="gap-not-over"),
            pytest.param(800, 900, 100, True, id="gap-over"),
            pytest.param(0, 3, 3, True, id="gap-below-the-first-8"),
            pytest.param(0, 1, 1, True, id="every-step"),
        ],
    )
    def test_due(self, last: int, step: int, gap: int, due: bool) -> None:
        held = Ring(longest_gap=gap)
        held.add(at(last))
        assert held.due(step) is due

    def test_an_empty_ring_is_always_due(self) -> None:
        assert Ring().due(0)
        assert Ring().due(5)

    @pytest.mark.parametrize(
        ("certified", "left"),
        [
            pytest.param((8, 16, 32), [0, 16, 32, 64], id="all-certified-the-oldest-goes"),
            pytest.param((), [0, 16, 32, 64], id="none-certified-the-oldest-goes"),
            pytest.param((8,), [0, 8, 32, 64], id="a-certified-refuge-outlives-an-uncertified-one"),
            pytest.param((8, 16), [0, 16, 32, 64], id="the-newest-may-yet-be-certified"),
        ],
    )
    def test_who_makes_room(self, certified: tuple[int, ...], left: list[int]) -> None:
        assert steps_of(ring(0, 8, 16, 32, 64, certified=certified)) == left

    def test_a_refuge_outlives_any_number_of_captures_in_a_bad_stretch(self) -> None:
        assert steps_of(ring(0, 8, 16, 32, 64, 128, 256, 456, certified=(8,))) == [0, 8, 256, 456]

    def test_the_smallest_ring_holds_the_start_and_the_newest(self) -> None:
        assert steps_of(ring(0, 8, 16, 32, size=2)) == [0, 32]

    def test_certification_holds_for_the_stretch_that_was_healthy(self) -> None:
        held = ring(0, 8, 16)
        assert [held.certified(s) for s in (0, 8, 16)] == [True, False, False]  # the start is certified as it is
        held.certify(9, 20)
        assert [held.certified(s) for s in (0, 8, 16)] == [True, False, True]
        held.certify(1, 10)
        assert [held.certified(s) for s in (0, 8, 16)] == [True, True, True]

    def test_taking_one_drops_the_later_ones_and_what_was_said_of_them(self) -> None:
        held = ring(0, 8, 16, 32, certified=(8, 32))
        assert held.certified(32)
        assert held.take(8).step == 8
        assert steps_of(held) == [0, 8]
        assert [held.certified(s) for s in (8, 16, 32)] == [True, False, False]
        held.add(at(40))
        assert steps_of(held) == [0, 8, 40]
        assert not held.certified(40)

    def test_errors_quote_the_value(self) -> None:
        with pytest.raises(ValueError, match="size=1"):
            Ring(size=1)
        with pytest.raises(ValueError, match="at least 1 step, got 0"):
            Ring(longest_gap=0)
        with pytest.raises(ValueError, match=r"no snapshot of step 9 is held, only of steps \[0, 8\]"):
            ring(0, 8).take(9)


moves = st.lists(st.tuples(st.sampled_from(["add", "certify", "take"]), st.integers(1, 50)), max_size=40)


@settings(deadline=None)
@given(st.integers(2, 6), moves)
def test_a_ring_is_bounded_ordered_and_keeps_the_start_and_the_newest(size: int, moves: list[tuple[str, int]]) -> None:
    held, step = Ring(size=size), 3
    held.add(at(step))
    for move, n in moves:
        before = steps_of(held)
        if move == "add":
            step += n
            refuges = [s for s in before[1:-1] if held.certified(s)]
            held.add(at(step))
            assert steps_of(held)[-1] == step
            lost = set(before) - set(steps_of(held))
            assert len(lost) == (len(before) == size)
            # a certified one goes only where all that could go are certified
            assert not lost & set(refuges) or refuges == before[1:-1]
        elif move == "certify":
            known = {s for s in before if held.certified(s)}
            held.certify(step - n, step - 1)
            assert {s for s in before if held.certified(s)} == known | {s for s in before if step - n <= s < step}
        else:
            taken = before[n % len(before)]
            assert held.take(taken).step == taken
            assert steps_of(held) == [s for s in before if s <= taken]
        now = steps_of(held)
        assert 1 <= len(held) == len(now) <= size
        assert now[0] == 3
        assert held.certified(3)
        assert now == sorted(set(now))
