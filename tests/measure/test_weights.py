"""Sampled numbers of an optimizer's step, against the whole tensors."""

from __future__ import annotations

import dataclasses
import math
import pickle
import random
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from adaptlr.measure import sums
from adaptlr.measure.weights import DistanceEstimate, GroupNumbers, WeightProbe, group_numbers


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Walk:
    """A probe and the groups that it watches; a step gives each weight a gradient and moves it."""

    def __init__(self, *groups: Sequence[Tensor], coordinates: int = 1 << 20, seed: int = 0) -> None:
        self.groups = [[nn.Parameter(t.clone(memory_format=torch.preserve_format)) for t in group] for group in groups]
        self.probe = WeightProbe(self.groups, coordinates=coordinates, seed=seed)
        self.distance = DistanceEstimate(len(groups))

    def step(self, *grads: Sequence[Tensor | None], lr: float = 0.1) -> tuple[GroupNumbers, ...]:
        for params, gs in zip(self.groups, grads, strict=True):
            for p, g in zip(params, gs, strict=True):
                p.grad = g
        self.probe.before()
        with torch.no_grad():
            for p in (p for params in self.groups for p in params):
                if p.grad is not None:
                    p.add_(p.grad, alpha=-lr)
        return group_numbers(self.probe.after(), self.distance, self.probe.least)


def cosine(a: Tensor, b: Tensor) -> float:
    return ((a * b).sum() / (a.norm() * b.norm())).item()


def whole(
    start: Tensor, before: Tensor, after: Tensor, grad: Tensor, last: Tensor | None, *, least: float = 0.0
) -> dict[str, float | None]:
    """Each number from its definition in records.py; double precision, whole tensors of one group laid end to end.

    ``least`` is the norm that ratios are taken to at least.
    """
    size = max(before.norm().item(), least)
    return {
        "update_ratio": (after - before).norm().item() / size,
        "travel": (after - start).norm().item() / size,
        "weight_rms": before.square().mean().sqrt().item(),
        "grad_rms": grad.square().mean().sqrt().item(),
        "grad_agreement": None if last is None else cosine(grad, last),
    }


def flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.detach().double().reshape(-1) for t in tensors if t.ndim >= 2])


class TestWholeTensors:
    """A sample that covers everything gives the exact numbers."""

    @settings(deadline=None, max_examples=25)
    @given(st.integers(0, 10_000), st.lists(st.sampled_from([(3, 4), (5, 2, 3), (40,), (1, 2)]), min_size=1, max_size=4))
    @example(1008, [(40,)])  # four weights that happen to be smaller than the least
    def test_the_slow_twin_agrees_at_every_step(self, seed: int, shapes: list[tuple[int, ...]]) -> None:
        shapes = [*shapes, (2, 2)]
        walk = Walk([randn(*s, seed=seed + i) for i, s in enumerate(shapes)])
        start, last = flat(walk.groups[0]), None
        least = 0.25 * math.sqrt(sum(s[0] for s in shapes if len(s) > 1))  # over the root of the fan-in, weight by weight
        for k in range(4):
            before = flat(walk.groups[0])
            grads = [randn(*s, seed=seed + 100 * k + i) for i, s in enumerate(shapes)]
            got = walk.step(grads, lr=0.05)[0]
            for name, expected in whole(start, before, flat(walk.groups[0]), flat(grads), last, least=least).items():
                # float32 weights round a small update: to 1e-7 of the weights, which 0.05 of them are 20 times less than
                assert getattr(got, name) == (None if expected is None else pytest.approx(expected, rel=1e-5, abs=1e-6)), name
            assert not got.nonfinite
            assert not got.frozen
            last = flat(grads)

    def test_groups_are_kept_apart(self) -> None:
        a, b = randn(6, 5, seed=1), 10 * randn(4, 4, seed=2)
        together = Walk([a], [b]).step([randn(6, 5, seed=3)], [randn(4, 4, seed=4)])
        alone = Walk([a]).step([randn(6, 5, seed=3)]) + Walk([b]).step([randn(4, 4, seed=4)])
        assert together == alone

    @pytest.mark.parametrize(
        "layout",
        [
            pytest.param(lambda t: t.contiguous(memory_format=torch.channels_last), id="channels_last"),
            pytest.param(lambda t: t.transpose(0, 1).contiguous().transpose(0, 1), id="transposed"),
            pytest.param(lambda t: torch.stack([t, t], dim=-1)[..., 0], id="strided"),
        ],
    )
    def test_the_layout_in_memory_does_not_matter(self, layout: Callable[[Tensor], Tensor]) -> None:
        w, g = randn(8, 4, 3, 3), randn(8, 4, 3, 3, seed=1)
        other = layout(w)
        assert other.stride() != w.stride()
        assert Walk([other], coordinates=64).step([layout(g)]) == Walk([w], coordinates=64).step([g])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_types_are_measured_in_single_precision(self, dtype: torch.dtype) -> None:
        w, g = randn(16, 16).to(dtype), randn(16, 16, seed=1).to(dtype)
        walk = Walk([w])
        got = walk.step([g])[0]
        after = flat(walk.groups[0])
        assert got.update_ratio == pytest.approx(((after - flat([w])).norm() / flat([w]).norm()).item(), rel=1e-5)

    def test_scales_of_channels_do_not_count_beside_weights(self) -> None:
        w, g = randn(6, 6), randn(6, 6, seed=1)
        scales = 1e-6 * torch.ones(50, 1, 1)
        assert Walk([w, scales]).step([g, 100 * torch.ones(50, 1, 1)]) == Walk([w]).step([g])
        assert Walk([scales]).step([torch.ones(50, 1, 1)])[0].update_ratio is not None

    @pytest.mark.parametrize("size", [0.0, 1e-6, 0.01, 1.0])
    def test_a_ratio_to_weights_near_zero_is_one_to_what_they_might_have_been(self, size: float) -> None:
        """To a root mean square of 0.25 over the root of the fan-in, of 16 here, if they are below that."""
        w, g = size * randn(40, 2, 8), randn(40, 2, 8, seed=1)
        got = Walk([w]).step([g], lr=0.01)[0]
        to = max(0.25 / 4, w.square().mean().sqrt().item())
        moved = 0.01 * g.square().mean().sqrt().item()
        assert got.update_ratio == pytest.approx(moved / to, rel=1e-4)
        assert got.travel == pytest.approx(moved / to, rel=1e-4)
        assert got.weight_rms == pytest.approx(w.square().mean().sqrt().item(), rel=1e-5)

    def test_biases_and_norms_do_not_count(self) -> None:
        w, g = randn(6, 6), randn(6, 6, seed=1)
        assert Walk([w, torch.ones(500)]).step([g, 100 * torch.ones(500)]) == Walk([w]).step([g])


class TestSampled:
    def test_the_sample_costs_the_same_however_large_the_layers_are(self) -> None:
        sizes = {n: WeightProbe([[nn.Parameter(torch.empty(n, n))] * 2], coordinates=512).n_sampled for n in (32, 256, 2048)}
        assert set(sizes.values()) == {(512,)}

    def test_a_small_layer_among_large_ones_has_16_entries_and_a_tiny_one_all_of_its_own(self) -> None:
        layers = [nn.Parameter(torch.empty(*shape)) for shape in ((1024, 1024), (8, 8), (2, 3))]
        probe = WeightProbe([layers], coordinates=512)
        assert [len(index) for _, index in probe._picks] == [511, 16, 6]
        assert probe.n_sampled == (533,)

    def test_no_place_is_sampled_twice_and_the_seed_picks_them(self) -> None:
        def places(seed: int) -> list[int]:
            return WeightProbe([[nn.Parameter(torch.empty(100, 100))]], coordinates=512, seed=seed)._picks[0][1].tolist()

        assert len(set(places(0))) == 512
        assert places(0) == places(0) != places(1)

    @pytest.mark.parametrize("seed", range(5))
    def test_sampled_numbers_agree_with_the_whole_within_their_sampling_error(self, seed: int) -> None:
        """The error of a mean of n squares is std(x^2)/sqrt(n); a ratio of two roots of such means has, to first order, half of the
        relative errors of both, added in squares (they are drawn at the same places: that can only be less if they go together).
        Tails: weights and gradients are products of two normals, heavier than any layer's. Four standard errors."""
        n, shape = 2048, (500, 400)
        w = randn(*shape, seed=seed) * randn(500, 1, seed=seed + 50)  # rows differ, as they do in a trained layer
        g1, g2 = (randn(*shape, seed=seed + k) * randn(1, 400, seed=seed + 60) + 0.5 * w for k in (10, 20))
        walk = Walk([w], coordinates=n, seed=seed)
        walk.step([g1], lr=0.02)
        before = flat(walk.groups[0])
        got = walk.step([g2], lr=0.02)[0]
        after = flat(walk.groups[0])
        expected = whole(flat([w]), before, after, flat([g2]), flat([g1]))

        def error(x: Tensor) -> float:
            """Relative standard error of the root of a mean of n squares."""
            squares = x.square()
            return 0.5 * (squares.std() / squares.mean()).item() / math.sqrt(n)

        update, travel = after - before, after - flat([w])
        pairs = [
            ("update_ratio", math.hypot(error(update), error(before))),
            ("travel", math.hypot(error(travel), error(before))),
            ("weight_rms", error(before)),
            ("grad_rms", error(flat([g2]))),
        ]
        for name, relative in pairs:
            assert relative < 0.1  # a bound that bounds something
            assert getattr(got, name) == pytest.approx(expected[name], rel=4 * relative), name
        # a cosine r of n pairs scatters by std(z1 z2 - r (z1^2 + z2^2) / 2)/sqrt(n), z in units of its rms (delta method)
        z1, z2 = (flat([g]) / flat([g]).square().mean().sqrt() for g in (g1, g2))
        r = cosine(z1, z2)
        scatter = (z1 * z2 - r * (z1.square() + z2.square()) / 2).std().item() / math.sqrt(n)
        assert got.grad_agreement == pytest.approx(r, abs=4 * scatter)

    def test_no_global_generator_is_touched(self) -> None:
        def generators() -> tuple[bytes, bytes, object]:
            return torch.get_rng_state().numpy().tobytes(), pickle.dumps(np.random.get_state()), random.getstate()

        before = generators()
        walk = Walk([randn(64, 64)], coordinates=128)
        walk.step([randn(64, 64, seed=1)])
        walk.probe.restart([0])
        walk.probe.load_state_dict(walk.probe.state_dict())
        assert generators() == before

    def test_watching_changes_neither_weights_nor_gradients(self) -> None:
        w, g = randn(8, 8), randn(8, 8, seed=1)
        p = nn.Parameter(w.clone())
        p.grad = g.clone()
        probe = WeightProbe([[p]])
        probe.before()
        probe.after()
        assert torch.equal(p, w)
        assert torch.equal(p.grad, g)
        assert p.grad_fn is None


@pytest.mark.parametrize("skips", [[0], [2], [1, 2], [4]])
def test_a_step_that_a_scaler_skips_leaves_no_trace(skips: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device it is known too late to leave it out: what comes after it is as if it had not been."""
    monkeypatch.setattr(sums, "make", sums.OnDevice)
    walks = [Walk([randn(6, 5)], [randn(4, 3, seed=1)]) for _ in range(2)]

    def step(walk: Walk, grads: list[Tensor], skipped: bool) -> Tensor:
        for (p,), g in zip(walk.groups, grads, strict=True):
            p.grad = g * math.inf if skipped else g
        walk.probe.before()
        if not skipped:
            with torch.no_grad():
                for (p,), g in zip(walk.groups, grads, strict=True):
                    p.sub_(g, alpha=0.1)
        return walk.probe.after(torch.tensor(float(skipped)))

    for i in range(6):
        grads = [randn(6, 5, seed=10 + i), randn(4, 3, seed=20 + i)]
        if i in skips:
            step(walks[0], grads, skipped=True)
        one, other = (step(walk, grads, skipped=False) for walk in walks)
        assert torch.equal(one, other)


class TestMemoryThatIsExchanged:
    """``p.data = ...``, offloading and ``model.to`` put a parameter elsewhere."""

    def test_in_the_middle_of_a_step(self) -> None:
        w, g = randn(8, 8), randn(8, 8, seed=1)
        in_place = Walk([w]).step([g])[0]
        p = nn.Parameter(w.clone())
        p.grad = g
        probe = WeightProbe([[p]])
        probe.before()
        p.data = p.data.add(g, alpha=-0.1)
        assert group_numbers(probe.after(), DistanceEstimate(1), probe.least)[0] == in_place

    def test_between_steps(self) -> None:
        w, g, other = randn(8, 8), randn(8, 8, seed=1), randn(8, 8, seed=2)
        walk, twin = Walk([w]), Walk([w])
        assert walk.step([g]) == twin.step([g])
        walk.groups[0][0].data = other.clone()
        with torch.no_grad():
            twin.groups[0][0].copy_(other)
        assert walk.step([g]) == twin.step([g])

    @pytest.mark.parametrize("begun", [False, True], ids=["after-a-step", "after-a-step-that-was-rolled-back"])
    def test_what_a_parameter_has_left_is_not_kept(self, begun: bool) -> None:
        memory = randn(8, 8).numpy()
        p = nn.Parameter(torch.from_numpy(memory))
        probe, left = WeightProbe([[p]]), weakref.ref(memory)
        probe.before()
        if begun:
            probe.load_state_dict(probe.state_dict())
        else:
            probe.after()
        del memory
        p.data = torch.zeros(8, 8)
        assert left() is None


class TestWhatDoesNotCount:
    def test_rows_of_an_embedding_that_no_batch_used(self) -> None:
        """Half of the rows never move: the ratio is that of the other half, not less."""
        table, g = randn(20, 4), randn(20, 4, seed=1)
        g[10:] = 0
        got = Walk([table]).step([g])[0]
        assert got == Walk([table[:10]]).step([g[:10]])[0]

    def test_a_row_counts_from_its_first_gradient_on(self) -> None:
        table, g1, g2 = randn(6, 4), randn(6, 4, seed=1), randn(6, 4, seed=2)
        g1[3:] = 0
        g2[:3] = 0
        walk = Walk([table])
        walk.step([g1])
        middle = flat(walk.groups[0])
        got = walk.step([g2])[0]
        assert got.update_ratio == pytest.approx((0.1 * flat([g2]).norm() / middle.norm()).item(), rel=1e-5)
        assert got.grad_rms == pytest.approx(flat([g2]).square().mean().sqrt().item(), rel=1e-5)

    @pytest.mark.parametrize("grad", [None, torch.zeros(4, 4)], ids=["no-gradient", "all-zero"])
    def test_a_frozen_group_has_no_numbers(self, grad: Tensor | None) -> None:
        frozen, moving = Walk([randn(4, 4)], [randn(4, 4)]).step([grad], [randn(4, 4, seed=1)])
        assert dataclasses.astuple(frozen) == (None, None, None, None, None, None, False, True)
        assert moving.update_ratio is not None
        assert not moving.frozen

    def test_a_group_of_biases_alone_has_no_numbers(self) -> None:
        biases, moving = Walk([torch.ones(8), torch.ones(3)], [randn(4, 4)]).step(
            [torch.ones(8), torch.ones(3)], [randn(4, 4, seed=1)]
        )
        assert dataclasses.astuple(biases)[:6] == (None,) * 6
        assert not biases.nonfinite
        assert moving.update_ratio is not None

    def test_an_optimizer_without_any_weight(self) -> None:
        assert dataclasses.astuple(Walk([torch.ones(3)]).step([torch.ones(3)])[0])[:6] == (None,) * 6
        assert Walk().step() == ()
        assert Walk([torch.empty(0, 4)]).step([torch.empty(0, 4)])[0].update_ratio is None

    def test_the_first_step_agrees_with_no_earlier_one(self) -> None:
        assert Walk([randn(4, 4)]).step([randn(4, 4, seed=1)])[0].grad_agreement is None


class TestSparse:
    """An ``nn.Embedding(sparse=True)`` gives whole rows, perhaps one twice."""

    def gradient(self, rows: list[int], *shape: int, seed: int = 1) -> Tensor:
        with torch.sparse.check_sparse_tensor_invariants():
            return torch.sparse_coo_tensor(torch.tensor([rows]), randn(len(rows), *shape[1:], seed=seed), shape)

    @pytest.mark.parametrize("rows", [[3, 7, 1], [0], [29], [5, 5, 2]], ids=str)
    @pytest.mark.parametrize("shape", [(30, 4), (30, 2, 3)], ids=str)
    def test_it_says_what_the_dense_gradient_says(self, rows: list[int], shape: tuple[int, ...]) -> None:
        sparse, dense = Walk([randn(*shape)], coordinates=60), Walk([randn(*shape)], coordinates=60)
        g = self.gradient(rows, *shape)
        (got,), (expected,) = sparse.step([g]), dense.step([g.to_dense()])
        assert got.update_ratio == got.travel == pytest.approx(expected.update_ratio, rel=1e-6)  # a row twice is rounded twice
        assert dataclasses.replace(got, update_ratio=expected.update_ratio, travel=expected.travel) == expected
        assert g.is_coalesced() == self.gradient(rows, *shape).is_coalesced()  # the optimizer finds it as it was

    def test_a_batch_without_any_row(self) -> None:
        empty = torch.sparse_coo_tensor(torch.empty(1, 0, dtype=torch.long), torch.empty(0, 4), (30, 4), check_invariants=True)
        assert Walk([randn(30, 4)]).step([empty])[0].frozen

    def test_a_real_embedding_is_not_frozen(self) -> None:
        torch.manual_seed(0)
        table = nn.Embedding(50, 8, sparse=True)
        optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
        probe, start = WeightProbe([list(table.parameters())]), table.weight.detach().clone()
        table(torch.tensor([3, 3, 11])).square().sum().backward()
        probe.before()
        optimizer.step()
        got = group_numbers(probe.after(), DistanceEstimate(1), probe.least)[0]
        used = [3, 11]
        assert not got.frozen
        assert got.update_ratio == pytest.approx(((table.weight - start)[used].norm() / start[used].norm()).item(), rel=1e-5)

    def test_a_layout_that_is_not_understood_is_left_out(self) -> None:
        """Entry-wise sparse gradients: no numbers, and no error."""
        p = nn.Parameter(randn(6, 6))
        p.grad = randn(6, 6, seed=1).to_sparse(2)
        probe = WeightProbe([[p]])
        probe.before()
        assert group_numbers(probe.after(), DistanceEstimate(1), probe.least)[0].update_ratio is None


BAD = [math.nan, math.inf, -math.inf]


class TestNonFinite:
    @pytest.mark.parametrize("value", BAD)
    @pytest.mark.parametrize("place", ["gradient", "weight"])
    def test_it_is_flagged_and_stays_in_its_group(self, value: float, place: str) -> None:
        """Until long after: the next step begins with weights that are not finite."""
        other = Walk([randn(5, 5)])
        walk = Walk([randn(5, 5)], [randn(5, 5, seed=1)])
        for k in range(4):
            good, g = randn(5, 5, seed=10 + k), randn(5, 5, seed=20 + k)
            if k == 1 and place == "gradient":
                g[2, 3] = value
            if k == 1 and place == "weight":
                with torch.no_grad():
                    walk.groups[1][0][2, 3] = value
            clean, sick = walk.step([good], [g])
            assert clean == other.step([good])[0]
            assert sick.nonfinite is (k >= 1)
            assert not sick.frozen

    def test_a_gradient_that_is_all_nan_from_the_start_is_not_frozen(self) -> None:
        got = Walk([randn(4, 4)]).step([torch.full((4, 4), math.nan)])[0]
        assert got.nonfinite
        assert not got.frozen

    def test_squares_that_overflow_stay_in_their_group(self) -> None:
        """1e25 is a float; its square is not. A run that diverges passes here on its way to NaN."""
        other, walk = Walk([randn(5, 5)]), Walk([randn(5, 5)], [randn(5, 5, seed=1)])
        for k in range(3):
            good = randn(5, 5, seed=10 + k)
            clean, sick = walk.step([good], [1e25 * randn(5, 5, seed=20 + k)])
            assert clean == other.step([good])[0]
            assert sick.update_ratio is not None
            assert not sick.update_ratio < 1e6  # infinite or not a number: in no case small

    def test_one_bad_gradient_leaves_no_trace_in_the_next_ones(self) -> None:
        """The weights survive it here, as they do when a scaler skips the step."""
        walk, other = Walk([randn(5, 5)]), Walk([randn(5, 5)])
        for k in range(3):
            g = randn(5, 5, seed=10 + k)
            walk.step([g], lr=0.1)
            other.step([g], lr=0.1)
        (p,) = walk.groups[0]
        p.grad = torch.full((5, 5), math.nan)
        walk.probe.before()
        assert group_numbers(walk.probe.after(), walk.distance, walk.probe.least)[0].nonfinite
        g = randn(5, 5, seed=20)
        got, expected = walk.step([g])[0], other.step([g])[0]
        assert not got.nonfinite
        assert (got.update_ratio, got.travel, got.grad_rms) == (expected.update_ratio, expected.travel, expected.grad_rms)
        assert got.distance_index is not None
        assert math.isfinite(got.distance_index)


class TestOrder:
    def test_after_needs_before(self) -> None:
        walk = Walk([randn(3, 3)])
        with pytest.raises(RuntimeError, match="without before"):
            walk.probe.after()
        walk.step([randn(3, 3)])
        with pytest.raises(RuntimeError, match="without before"):
            walk.probe.after()

    def test_putting_a_state_back_forgets_the_step_that_had_begun(self) -> None:
        walk = Walk([randn(3, 3)])
        walk.probe.before()
        walk.probe.load_state_dict(walk.probe.state_dict())
        with pytest.raises(RuntimeError, match="without before"):
            walk.probe.after()


class TestState:
    def test_it_round_trips_in_the_middle_of_a_run_any_number_of_times(self) -> None:
        grads = [randn(6, 6, seed=k) for k in range(8)]
        walk = Walk([randn(6, 6, seed=50)])
        for g in grads[:4]:
            walk.step([g])
        state, weights, largest = walk.probe.state_dict(), walk.groups[0][0].detach().clone(), list(walk.distance.largest)
        expected = [walk.step([g]) for g in grads[4:]]
        for _ in range(2):
            walk.probe.load_state_dict(state)
            walk.distance.largest = list(largest)
            with torch.no_grad():
                walk.groups[0][0].copy_(weights)
            assert [walk.step([g]) for g in grads[4:]] == expected

    def test_a_new_probe_goes_on_where_another_left_off(self) -> None:
        walk = Walk([randn(6, 6)])
        walk.step([randn(6, 6, seed=1)])
        state = walk.probe.state_dict()
        expected = walk.step([randn(6, 6, seed=2)])[0]
        again = Walk([randn(6, 6)])
        again.step([randn(6, 6, seed=1)])  # weights, and the distance
        again.probe = WeightProbe(again.groups, coordinates=1 << 20)
        again.probe.load_state_dict(state)
        assert again.step([randn(6, 6, seed=2)])[0] == expected

    def test_a_restart_begins_travel_and_distance_anew_and_keeps_the_rest(self) -> None:
        g = randn(6, 6, seed=1)
        walk = Walk([randn(6, 6)])
        far = [walk.step([g])[0] for _ in range(5)][-1]
        walk.probe.restart([0])
        walk.distance = DistanceEstimate(1)
        first = walk.step([g])[0]
        assert first.travel == first.update_ratio
        assert far.travel is not None
        assert first.travel is not None
        assert far.travel > 4 * first.travel
        assert first.distance_index is None  # nothing walked yet
        assert first.grad_agreement == pytest.approx(1.0)  # the last gradient is still known
        walk.step([g])
        fresh = Walk([walk.groups[0][0].detach()])
        walk.probe.restart([0])
        walk.distance = DistanceEstimate(1)
        for _ in range(3):
            assert walk.step([g])[0].distance_index == fresh.step([g])[0].distance_index

    def test_weights_have_moved_where_something_else_has_moved_them(self) -> None:
        start = randn(6, 6)
        start[0, 0] = math.nan
        walk = Walk([start])
        walk.step([randn(6, 6, seed=1)])
        assert not walk.probe.have_moved(), "nor has what is not a number"
        with torch.no_grad():
            walk.groups[0][0].add_(0.1)
        assert walk.probe.have_moved()

    def test_a_restart_of_one_group_leaves_the_others_as_they_are(self) -> None:
        """Their paths go on too."""

        def approx(numbers: GroupNumbers) -> Any:
            return pytest.approx(dataclasses.asdict(numbers))

        starts, grads = [[randn(6, 6)], [randn(5, 5, seed=2)]], [[randn(6, 6, seed=1)], [randn(5, 5, seed=3)]]
        walk, undisturbed, fresh = Walk(*starts), Walk(*starts), Walk(starts[0])
        for each in (walk, undisturbed):
            for _ in range(5):
                each.step(*grads)
        walk.probe.restart([0])
        walk.distance.largest[0] = 0.0
        fresh = Walk([walk.groups[0][0].detach()])
        for _ in range(4):
            begun, goes_on = walk.step(*grads)
            assert dataclasses.asdict(goes_on) == approx(undisturbed.step(*grads)[1])
            (new,) = fresh.step(grads[0])
            assert (begun.travel, begun.distance_index) == (pytest.approx(new.travel), pytest.approx(new.distance_index))
        walk.probe.restart([])
        assert dataclasses.asdict(walk.step(*grads)[1]) == approx(undisturbed.step(*grads)[1])

    def test_a_restart_does_not_forget_which_coordinates_are_used(self) -> None:
        table, g, none = randn(6, 4), randn(6, 4, seed=1), torch.zeros(6, 4)
        g[3:] = 0
        walk = Walk([table])
        walk.step([g])
        walk.probe.restart([0])
        got = walk.step([none])[0]
        assert (got.update_ratio, got.frozen) == (0.0, False)


SGD: Callable[..., torch.optim.Optimizer] = torch.optim.SGD
ADAM: Callable[..., torch.optim.Optimizer] = torch.optim.Adam


def walk_on_a_quadratic(make: Callable[..., torch.optim.Optimizer], lr: float, scale: float = 1.0, steps: int = 100) -> list[float]:
    """rho x t at each step of a walk towards the bottom of ``curvature (w - w*)^2 / 2``, far away."""
    p, bottom = nn.Parameter(scale * randn(30, 30)), 100 * scale * randn(30, 30, seed=1).sign()
    curvature = 1 + randn(30, 30, seed=2).abs()
    optimizer = make([p], lr=lr * scale if make is ADAM else lr)
    probe, distance = WeightProbe([[p]], coordinates=200), DistanceEstimate(1)
    out = []
    for t in range(1, steps + 1):
        p.grad = (curvature * (p.detach() - bottom)) * 1e-2
        probe.before()
        optimizer.step()
        rho = group_numbers(probe.after(), distance, probe.least)[0].distance_index
        if rho is not None:
            out.append(rho * t)
    return out


class TestDistanceIndex:
    @pytest.mark.parametrize("make", [SGD, ADAM], ids=["sgd", "adam"])
    @pytest.mark.parametrize("lr", [1e-6, 1e-5, 1e-4, 1e-3])
    def test_a_straight_walk_has_the_same_index_whatever_the_lr_and_the_optimizer(
        self, make: Callable[..., torch.optim.Optimizer], lr: float
    ) -> None:
        """At a constant step u along a constant gradient, <g, x0 - x_k> is (k-1) u |g|: summed over t steps u |g| t (t-1) / 2. The
        summed gradient is t |g|. So d = u (t-1) / 2, u being the step's mean weighted by |g|, and rho t = 2 t / (t-1). (The sums
        forget at 0.995 a step: by t = 100 that is a few per cent.)"""
        index = walk_on_a_quadratic(make, lr)
        assert len(index) == 99  # from the second step on: the first has walked no distance
        # SGD's steps are as the gradients: rms over gradient-weighted mean, (E g^2)^.5 E|g| / E g^2 here; Adam's are all the same
        g = (1 + randn(30, 30, seed=2).abs()).double()
        shape = 1.0 if make is ADAM else (g.mean() / g.square().mean().sqrt()).item()
        for t in (2, 10, 40, 100):
            assert index[t - 2] == pytest.approx(shape * 2 * t / (t - 1), rel=0.15), t

    def test_it_is_the_step_over_the_distance_times_adams_direction(self) -> None:
        """rho = u / (d a), from DESIGN's definitions, step by step in double precision, on a walk that turns."""
        walk = Walk([randn(12, 10)])
        start = flat(walk.groups[0])
        r, s, m, v, d, defined = 0.0, 0.0, torch.zeros(120).double(), torch.zeros(120).double(), 0.0, 0
        for t in range(1, 41):
            before = flat(walk.groups[0])
            grad = randn(12, 10, seed=99) + 3 * randn(12, 10, seed=t)
            got = walk.step([grad], lr=0.01)[0].distance_index
            g, u = flat([grad]), (flat(walk.groups[0]) - before).square().mean().sqrt().item()
            r, s = 0.995 * r + (g @ (start - before)).item(), 0.995 * s + g
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g.square()
            a = ((m / (1 - 0.9**t)) / (v / (1 - 0.99**t)).sqrt()).square().mean().sqrt().item()
            d = max(d, r / s.abs().sum().item())
            if d > 0:
                defined += 1
                assert got == pytest.approx(u / (d * a), rel=1e-3), t
            else:
                assert got is None
        assert defined > 20

    @pytest.mark.parametrize("make", [SGD, ADAM], ids=["sgd", "adam"])
    def test_it_has_no_scale(self, make: Callable[..., torch.optim.Optimizer]) -> None:
        """The same net, written in other units: weights a thousand times as large."""
        assert walk_on_a_quadratic(make, 1e-4, 1000.0) == pytest.approx(walk_on_a_quadratic(make, 1e-4), rel=0.02)

    @pytest.mark.parametrize(
        ("make", "arrives"),
        [
            pytest.param(partial(SGD, lr=50.0), True, id="sgd"),
            pytest.param(partial(SGD, lr=0.01), False, id="sgd-cold"),
            pytest.param(partial(ADAM, lr=0.2), True, id="adam"),
            pytest.param(partial(ADAM, lr=1e-5), False, id="adam-cold"),
        ],
    )
    def test_a_run_that_arrives_leaves_the_straight_line(self, make: Callable[..., torch.optim.Optimizer], arrives: bool) -> None:
        """And so a healthy lr is told from a cold one: noise about the optimum, steps that no longer lead anywhere."""
        p, bottom, generator = nn.Parameter(torch.zeros(30, 30)), randn(30, 30, seed=1), torch.Generator().manual_seed(3)
        optimizer, probe, distance = make([p]), WeightProbe([[p]]), DistanceEstimate(1)
        rho = None
        for _ in range(100):
            p.grad = 1e-2 * (p.detach() - bottom + torch.randn(30, 30, generator=generator))
            probe.before()
            optimizer.step()
            rho = group_numbers(probe.after(), distance, probe.least)[0].distance_index
        assert rho is not None
        assert 100 * rho > 15 if arrives else 1 < 100 * rho < 7

    def test_the_estimate_only_grows_and_never_exceeds_the_distance(self) -> None:
        """For a convex loss it is a lower bound of the largest coordinate's distance from start to optimum."""
        p, bottom = nn.Parameter(torch.zeros(10, 10)), randn(10, 10, seed=1)
        probe, distance, seen = WeightProbe([[p]]), DistanceEstimate(1), []
        for _ in range(200):
            p.grad = p.detach() - bottom
            probe.before()
            with torch.no_grad():
                p.sub_(0.03 * p.grad)
            group_numbers(probe.after(), distance, probe.least)
            seen.append(distance.largest[0])
        assert seen == sorted(seen)
        assert 0 < seen[-1] <= bottom.abs().max().item()


@pytest.mark.parametrize(
    ("drift", "s1", "expected"),
    [
        pytest.param(6.0, 2.0, 3.0, id="grows"),
        pytest.param(1.0, 2.0, 1.5, id="keeps-the-largest"),
        pytest.param(-6.0, 2.0, 1.5, id="going-away"),
        pytest.param(1.0, 0.0, 1.5, id="no-gradient"),
        pytest.param(math.nan, 1.0, 1.5, id="nan"),
        pytest.param(1.0, math.nan, 1.5, id="nan-sum"),
    ],
)
def test_distance_estimate(drift: float, s1: float, expected: float) -> None:
    estimate = DistanceEstimate(2)
    estimate.largest = [1.5, 0.0]
    assert estimate.update(0, drift, s1) == expected
    assert estimate.largest == [expected, 0.0]


def close(got: Tensor, expected: Tensor, terms: Tensor) -> None:
    """Sums of which terms cancel agree as far as rounding lets them, which is relative to the ``terms``, not to what is left."""
    same = (got == expected) | (got.isnan() & expected.isnan())
    within = (got - expected).abs() <= 1e-5 + 2e-5 * expected.abs() + 2e-6 * terms
    assert (same | within).all(), f"{got} is not {expected}"


def after_taking(side: sums.StepSums, *values: Tensor) -> Tensor:
    for slot, value in zip(side.taken, values, strict=True):
        slot.copy_(value)
    return side()


class TestOnHost:
    """The numpy way against the definition in torch, over a run with gradients that are missing, absent or not finite."""

    @settings(deadline=None, max_examples=40)
    @given(
        st.lists(st.integers(0, 30), min_size=1, max_size=4),
        st.integers(0, 10_000),
        st.lists(st.sampled_from(["plain", "sparse", "none", "nan", "inf-weight", "huge"]), min_size=1, max_size=8),
        st.integers(0, 8),
        st.booleans(),
    )
    @example([17], 19, ["plain", "huge", "huge", "plain", "huge", "huge"], 0, False)  # two large gradients all but cancel
    def test_it_is_the_definition(self, sizes: list[int], seed: int, steps: list[str], reload: int, counts: bool) -> None:
        host, twin, terms = sums.OnHost(sizes), *(sums.OnDevice(sizes, torch.device("cpu")) for _ in range(2))
        n = sum(sizes)
        w = start = randn(n, seed=seed)
        for side in (host, twin):
            side.state["start"].copy_(w)
        for k, kind in enumerate(steps):
            if k == reload:  # with counts of each coordinate's own, where groups were added
                own = {"steps": torch.full((n,), float(k)) - torch.arange(n).remainder(2).mul(k)} if counts else {}
                state = {name: value.clone() for name, value in (host.state | own).items()}
                for side in (host, twin):
                    side.load(state)
                terms.load(terms.state | own)
            g = randn(n, seed=seed + 1 + k)
            after = w - 0.01 * g
            if kind == "sparse":
                g[::2] = 0
            elif kind == "none":
                g.zero_()
            elif kind == "nan" and n:
                g[-1] = math.nan
            elif kind == "inf-weight" and n:
                after[0] = math.inf
            elif kind == "huge":
                g *= 1e25
            rows, expected = after_taking(host, w, after, g), after_taking(twin, w, after, g)
            size = after_taking(terms, -(start - w).abs(), torch.zeros(n), g.abs())
            cancel = torch.tensor([name in ("drift", "g_dot", "s1") for name in sums.COLUMNS])
            close(rows, expected, torch.where(cancel, size, 0.0))
            w = after.nan_to_num(0.0, 0.0, 0.0)
        for name, value in host.state.items():
            close(value, twin.state[name], terms.state[name] if name in ("s", "m", "drift") else torch.zeros(()))

    def test_a_state_that_has_seen_all_is_loaded_before_a_gradient_that_is_not_finite(self) -> None:
        sides = sums.OnHost([4, 3]), sums.OnDevice([4, 3], torch.device("cpu"))
        sides[0].taken[2].fill_(1.0)
        sides[0]()
        rows = []
        for side in (type(side)([4, 3], *device) for side, device in zip(sides, ((), (torch.device("cpu"),)), strict=True)):
            side.load(sides[0].state)
            side.taken[2][-1] = math.nan
            rows.append(side())
        torch.testing.assert_close(*rows)


def test_a_rank_that_answers_for_no_whole_weights_answers_for_none_that_come_later() -> None:
    """Every rank would count them otherwise."""
    first, second = ([nn.Parameter(torch.randn(8, 8))] for _ in range(2))
    probe = WeightProbe([first], first_rank=False)
    assert (probe.n_sampled, probe.extended([first, second], coordinates=64, seed=0).n_sampled) == ((0,), (0, 0))
