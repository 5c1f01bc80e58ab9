"""What one optimizer step did to the weights of each parameter group, from a fixed, seeded sample of coordinates.

A group's sample holds up to ``coordinates`` entries of its weights of two or more dimensions (biases, norms and the scales of
channels start at 0 or 1, and a ratio to them says nothing), spread over the tensors in proportion to their size; of a small one
among many, 16 all the same. Coordinates that never received a gradient (rows of an embedding that no batch used) count neither
as moving nor as standing still. Weights that start at almost nothing are taken to be as large as :data:`LEAST_RMS` says, or no
step could be small enough for them.

All arithmetic stays on the device; one small tensor ``[groups, columns]`` per step goes to the host, where
:func:`group_numbers` reads it.
"""

from __future__ import annotations

import math
import operator
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adaptlr.measure import shards, sums
from adaptlr.measure.kinds import fan_in
from adaptlr.measure.picks import scattered
from adaptlr.measure.replay import Replayed
from adaptlr.measure.sums import COLUMNS

LEAST_RMS = 0.25  # over the root of the fan-in: what ratios are taken to at least. torch's own layers begin at 0.58


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupNumbers:
    """One row of the probe's answer; None where the group has no weight that could be sampled or no gradient arrived."""

    update_ratio: float | None = None
    travel: float | None = None
    weight_rms: float | None = None
    grad_rms: float | None = None
    grad_agreement: float | None = None
    distance_index: float | None = None
    nonfinite: bool
    frozen: bool


class WeightProbe:
    """Samples weights and gradients around an optimizer's step.

    Call :meth:`before` when the gradients are final and the step is about to happen, :meth:`after` right after it.

    Args:
        groups: the parameters of each optimizer group.
        coordinates: how many entries a group's sample holds at most; or 16 for each of its tensors, if that is more.
        seed: picks the coordinates; no global random generator is touched.
        first_rank: this process answers for weights that are not sharded, where others are: rows of all ranks may then be added.

    Source: the update ratio is common practice (Karpathy's "1e-3 of the weight a step"); the distance estimate follows
    D-Adaptation (Defazio & Mishchenko 2023) and Prodigy (Mishchenko & Defazio 2023), taken on the sampled coordinates.
    """

    def __init__(
        self, groups: Sequence[Sequence[nn.Parameter]], *, coordinates: int = 2048, seed: int = 0, first_rank: bool = True
    ) -> None:
        self._first_rank = first_rank
        self._groups = [list(params) for params in groups]
        self._first_picks: list[int] = []  # of each group: the seeds of its coordinates follow from it
        self._picks: list[tuple[nn.Parameter, Tensor]] = []
        sampled = [0] * len(groups)
        least = [0.0] * len(groups)
        for g, params in enumerate(groups):
            weights = [p for p in params if p.ndim >= 2 and p.numel() > 0]
            weights = [p for p in weights if fan_in(p) > 1] or weights
            total = sum(p.numel() for p in weights)
            sizes = [min(p.numel(), max(16, coordinates * p.numel() // total)) for p in weights]
            self._first_picks.append(len(self._picks))
            least[g] = sum(n * LEAST_RMS**2 / fan_in(p) for n, p in zip(sizes, weights, strict=True)) / max(sum(sizes), 1)
            for n, p in zip(sizes, weights, strict=True):
                index = scattered(p.numel(), n, seed + len(self._picks)).to(p.device)
                index = shards.own(p, index, first_rank=first_rank)
                self._picks.append((p, index))
                sampled[g] += len(index)
        self.least = tuple(least)  # mean square of a group's weights, below which they are not taken to be
        self.n_groups, self.n_columns = len(groups), len(COLUMNS)
        self.n_sampled = tuple(sampled)
        self._device = self._picks[0][0].device if self._picks else torch.device("cpu")
        self.on_cuda = self._device.type == "cuda"
        self._sums = sums.make(self.n_sampled, self._device)
        self._w0, self._w1, self._g = (t.split([len(i) for _, i in self._picks]) for t in self._sums.taken)
        self._begun = False
        self._steady = all(type(p) in _PLAIN and p.device == self._device for p, _ in self._picks)
        self._before = Replayed(lambda: self._weights(0), self._device)
        self._after = Replayed(self._weights_and_sums, self._device)
        self._after_or_skipped = Replayed(self._unless_skipped, self._device)
        self._skipped = torch.zeros((), dtype=torch.float32, device=self._device)
        with torch.no_grad():
            self._sums.state["start"].copy_(self._weights(0))

    def is_of(self, groups: Sequence[Sequence[nn.Parameter]]) -> bool:
        """These are the very parameters that it was made for. To be asked at every step: some microseconds."""
        return len(groups) == self.n_groups and all(map(_same, groups, self._groups))

    def extended(self, groups: Sequence[Sequence[nn.Parameter]], *, coordinates: int, seed: int) -> WeightProbe:
        """A probe of these groups: it goes on with those that are as they were, and begins with the others."""
        # one seed picks the same coordinates again
        more = WeightProbe(groups, coordinates=coordinates, seed=seed, first_rank=self._first_rank)
        more.load_state_dict(more.carried(self._sums.state, self))
        return more

    def goes_on_from(self, before: WeightProbe) -> tuple[bool, ...]:
        """Of each group: the other probe, with the same coordinates and seed, samples the same entries of the same weights."""
        common = range(min(self.n_groups, before.n_groups))
        same = (_same(self._groups[g], before._groups[g]) and self._first_picks[g] == before._first_picks[g] for g in common)
        return (*same, *[False] * (self.n_groups - len(common)))

    def carried(self, state: dict[str, Tensor], before: WeightProbe) -> dict[str, Tensor]:
        """The running sums that ``before`` had at any time, for :meth:`load_state_dict` here. Weights that it did not have begin
        as they are now."""
        return self._fitted(state, before.n_sampled[: len(state["drift"])], self.goes_on_from(before))

    def _weights(self, slot: int) -> Tensor:
        """The sampled weights as they are, in the place for those before a step (0) or after it (1). Call it under ``no_grad``."""
        for (p, index), part in zip(self._picks, (self._w0, self._w1)[slot], strict=True):
            _take(p, index, part)
        return self._sums.taken[slot]

    def _grads(self) -> None:
        for (p, index), part in zip(self._picks, self._g, strict=True):
            if p.grad is None:
                part.zero_()
            else:
                _take(p.grad, index, part)

    @torch.no_grad()
    def before(self) -> None:
        """Take the sampled weights as they are before the step."""
        places = self._places()
        if places is None:
            self._weights(0)
        else:
            self._before(places)
        self._begun = True

    @torch.no_grad()
    def after(self, skipped: Tensor | None = None) -> Tensor:
        """What the step did: a device tensor ``[groups, columns]`` for :func:`group_numbers`. Needs :meth:`before`.

        Args:
            skipped: a scalar on the device; where it is above 0 the step was none, and nothing of it is kept.
        """
        if not self._begun:
            raise RuntimeError("WeightProbe.after was called without before: call before ahead of the optimizer's step")
        self._begun = False
        places = self._places()
        self._grads()  # not replayed: they lie elsewhere in every step
        run, replay = self._weights_and_sums, self._after
        if skipped is not None:
            self._skipped.copy_(skipped)
            run, replay = self._unless_skipped, self._after_or_skipped
        return run() if places is None else replay((places, self._sums.version))

    def _weights_and_sums(self) -> Tensor:
        self._weights(1)
        return self._sums()

    def _unless_skipped(self) -> Tensor:
        state = self._sums.state
        kept = {k: v.clone() for k, v in state.items()}
        rows = self._weights_and_sums()
        for name, value in state.items():
            value.copy_(torch.where(self._skipped > 0, kept[name], value))
        return rows

    def _places(self) -> tuple[int, ...] | None:
        """Where the weights lie, on a GPU; None where nothing is to be replayed."""
        if not (self.on_cuda and self._steady and self._picks):
            return None
        return tuple(p.data_ptr() for p, _ in self._picks)

    @torch.no_grad()
    def have_moved(self) -> bool:
        """The sampled weights are not what :meth:`after` saw last. Waits for the device."""
        then = self._sums.taken[1].nan_to_num()  # a NaN is unlike itself, and may have stood still
        return not torch.equal(self._weights(1).nan_to_num(), then)

    def nothing(self) -> Tensor:
        """What :meth:`after` would say of no step."""
        return torch.zeros(self.n_groups, self.n_columns, dtype=torch.float32, device=self._device)

    @torch.no_grad()
    def restart(self, groups: Sequence[int]) -> None:
        """Begin these groups' distance estimate and travel anew, from the weights as they are: their learning rate has changed."""
        state = self._sums.state
        if not groups:
            return
        if len(groups) < self.n_groups:
            begun = self._fitted(state, self.n_sampled, [g not in groups for g in range(self.n_groups)])
            self._sums.load({**begun, "seen": state["seen"].clone(), "g_last": state["g_last"].clone()})
            return
        for name, value in state.items():
            if name not in ("start", "seen", "g_last"):
                value.zero_()
        state["start"].copy_(self._weights(1))

    def state_dict(self) -> dict[str, Tensor]:
        """The running sums, to be put back by :meth:`load_state_dict`."""
        return {k: v.clone() for k, v in self._sums.state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Groups that were added after ``state`` was taken begin with the weights that they have now."""
        self._begun = False
        saved = {k: v.to(self._device) for k, v in state.items()}
        if len(saved["start"]) != sum(self.n_sampled) or len(saved["drift"]) != self.n_groups:
            sizes = self.n_sampled[: len(saved["drift"])]
            saved = self._fitted(saved, sizes, [g < len(sizes) for g in range(self.n_groups)])
        self._sums.load(saved)

    @torch.no_grad()
    def _fitted(self, state: dict[str, Tensor], sizes: Sequence[int], same: Sequence[bool]) -> dict[str, Tensor]:
        """Running sums of groups of so many coordinates, for the groups here: those that are the same go on, others begin."""
        kept = [g for g, is_same in enumerate(same[: len(sizes)]) if is_same]
        saved = {k: v.to(self._device) for k, v in state.items()}
        fresh = {k: torch.zeros(sum(self.n_sampled), dtype=torch.float32, device=self._device) for k in saved}
        fresh["start"] = self._weights(1).clone()
        fresh["drift"] = torch.zeros(self.n_groups, dtype=torch.float32, device=self._device)
        fresh["drift"][kept] = saved["drift"][kept]
        if not kept:
            return {**fresh, "steps": torch.zeros_like(saved["steps"]) if saved["steps"].ndim == 0 else fresh["steps"]}
        saved["steps"] = saved["steps"].expand(sum(sizes))  # from here on each coordinate has a count of its own
        for name in fresh.keys() - {"drift"}:
            new, old = fresh[name].split(list(self.n_sampled)), saved[name].split(list(sizes))
            for g in kept:
                new[g].copy_(old[g])
        return fresh


def _same(these: Sequence[nn.Parameter], those: Sequence[nn.Parameter]) -> bool:
    return len(these) == len(those) and all(map(operator.is_, these, those))


def _take(t: Tensor, index: Tensor, out: Tensor) -> None:
    """The entries of ``t`` at these places of its flattened self, or of this rank's part of it, into ``out``."""
    t = t if type(t) in _PLAIN else shards.local(t)
    if t.dtype is torch.float32 and t.layout is torch.strided and t.device == out.device:
        torch.take(t, index, out=out)
    else:
        out.copy_(_entries(t, index))


_PLAIN = (nn.Parameter, Tensor)  # what is asked no further: that costs as much as the reading


def _entries(t: Tensor, index: Tensor) -> Tensor:
    """The entries of ``t`` at these places of its flattened self, or of this rank's part of it. A sparse gradient holds whole rows,
    and zeros elsewhere."""
    t = shards.local(t)
    if not len(index):
        return torch.zeros(0, dtype=torch.float32, device=t.device)
    if t.layout is torch.strided:
        return torch.take(t, index)
    if t.layout is not torch.sparse_coo or t.sparse_dim() != 1:
        return torch.zeros(len(index), dtype=torch.float32, device=t.device)
    t = t.coalesce()
    rows, width = t.indices()[0], t.numel() // t.shape[0]
    if not len(rows):
        return torch.zeros(len(index), dtype=torch.float32, device=t.device)
    row = index // width
    at = torch.searchsorted(rows, row).clamp(max=len(rows) - 1)
    return torch.where(rows[at] == row, t.values().reshape(len(rows), width)[at, index % width], 0.0)


class DistanceEstimate:
    """The largest distance from the start that the gradients have vouched for so far, per group: the ``d`` of D-Adaptation.

    For a convex loss ``<g, start - w>`` summed along any trajectory, over the 1-norm of the summed gradients, bounds the max-norm
    distance to the optimum from below. While the net walks a straight line, that estimate grows with the walk itself.
    """

    def __init__(self, n_groups: int) -> None:
        self.largest = [0.0] * n_groups

    def update(self, group: int, drift: float, s1: float) -> float:
        d = drift / s1 if s1 > 0 else 0.0
        self.largest[group] = max(self.largest[group], d)
        return self.largest[group]


_Row = namedtuple("_Row", COLUMNS)


def group_numbers(rows: Tensor, distance: DistanceEstimate, least: Sequence[float]) -> tuple[GroupNumbers, ...]:
    """Read the host copy of :meth:`WeightProbe.after`'s answer, ``[groups, columns]``, and bring ``distance`` up to date.

    Args:
        least: :attr:`WeightProbe.least`.
    """
    out = []
    for g, row in enumerate(rows.tolist()):
        at = _Row(*row)
        active = at.active
        d = distance.update(g, at.drift, at.s1)
        if active == 0:
            out.append(GroupNumbers(nonfinite=at.nonfinite > 0, frozen=at.nonfinite == 0))
            continue
        w = math.sqrt(max(at.w2, active * least[g])) if at.w2 >= 0 else math.nan
        update = math.sqrt(at.update2)
        direction = math.sqrt(at.a2 / active)
        grads = math.sqrt(at.g2 * at.g_last2)
        out.append(
            GroupNumbers(
                update_ratio=update / w,
                travel=math.sqrt(at.travel2) / w,
                weight_rms=math.sqrt(at.w2 / active) if at.w2 >= 0 else math.nan,
                grad_rms=math.sqrt(at.g2 / active),
                grad_agreement=at.g_dot / grads if grads > 0 else None,
                distance_index=update / math.sqrt(active) / (d * direction) if d > 0 and direction > 0 else None,
                nonfinite=at.nonfinite > 0,
                frozen=False,
            )
        )
    return tuple(out)
