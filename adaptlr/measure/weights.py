"""What one optimizer step did to the weights of each parameter group, from a fixed, seeded sample of coordinates.

A group's sample holds up to ``coordinates`` entries of its weights of two or more dimensions (biases and norms start at 0 or 1,
and a ratio to them says nothing), spread over the tensors in proportion to their size; of a small one among many, 16 all the
same. Coordinates that never received a gradient (rows of an embedding that no batch used) count neither as moving nor as
standing still.

All arithmetic stays on the device; one small tensor ``[groups, columns]`` per step goes to the host, where
:func:`group_numbers` reads it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adaptlr.measure import shards

_DECAY = 0.995  # of the running sums behind the distance estimate: forgets the start after some 200 steps
_BETA1, _BETA2 = 0.9, 0.99  # of the normalised direction that the step is compared with
_TINY = 1e-30


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


_COLUMNS = ("active", "w2", "update2", "travel2", "g2", "g_last2", "g_dot", "nonfinite", "drift", "s1", "a2", "with_grad")


class WeightProbe:
    """Samples weights and gradients around an optimizer's step.

    Call :meth:`before` when the gradients are final and the step is about to happen, :meth:`after` right after it.

    Args:
        groups: the parameters of each optimizer group.
        coordinates: how many entries a group's sample holds at most.
        seed: picks the coordinates; no global random generator is touched.
        first_rank: this process answers for weights that are not sharded, where others are: rows of all ranks may then be added.

    Source: the update ratio is common practice (Karpathy's "1e-3 of the weight a step"); the distance estimate follows
    D-Adaptation (Defazio & Mishchenko 2023) and Prodigy (Mishchenko & Defazio 2023), taken on the sampled coordinates.
    """

    def __init__(
        self, groups: Sequence[Sequence[nn.Parameter]], *, coordinates: int = 2048, seed: int = 0, first_rank: bool = True
    ) -> None:
        self._picks: list[tuple[nn.Parameter, Tensor]] = []
        sampled = [0] * len(groups)
        rng = random.Random(seed)
        for g, params in enumerate(groups):
            weights = [p for p in params if p.ndim >= 2 and p.numel() > 0]
            total = sum(p.numel() for p in weights)
            for p in weights:
                n = min(p.numel(), max(16, coordinates * p.numel() // total))
                index = torch.tensor(sorted(rng.sample(range(p.numel()), n)), device=p.device)
                index = shards.own(p, index, first_rank=first_rank)
                self._picks.append((p, index))
                sampled[g] += len(index)
        self.n_groups, self.n_columns = len(groups), len(_COLUMNS)
        self.n_sampled = tuple(sampled)
        self._device = self._picks[0][0].device if self._picks else torch.device("cpu")
        zeros = torch.zeros(sum(sampled), device=self._device)
        self._state = {
            "start": self._weights(),
            "seen": zeros.clone(),  # 1 where a gradient has ever arrived
            "g_last": zeros.clone(),
            "s": zeros.clone(),  # decayed sum of gradients
            "m": zeros.clone(),
            "v": zeros.clone(),
            "drift": torch.zeros(self.n_groups, device=self._device),  # decayed sum of <g, start - w>
            "steps": torch.zeros((), device=self._device),
        }
        self._before: Tensor | None = None

    def extended(self, groups: Sequence[Sequence[nn.Parameter]], *, coordinates: int, seed: int) -> WeightProbe:
        """A probe of these groups, the first of which are this one's: it goes on with them, and begins with the others."""
        more = WeightProbe(groups, coordinates=coordinates, seed=seed)  # one seed picks the same coordinates again
        more.load_state_dict(self._state)
        return more

    @torch.no_grad()
    def _weights(self) -> Tensor:
        return self._gather([p for p, _ in self._picks])

    def _gather(self, tensors: Sequence[Tensor | None]) -> Tensor:
        parts = [
            torch.zeros(len(index), device=self._device) if t is None else _entries(t, index).to(self._device, torch.float32)
            for t, (_, index) in zip(tensors, self._picks, strict=True)
        ]
        return torch.cat(parts) if parts else torch.zeros(0, device=self._device)

    @torch.no_grad()
    def before(self) -> None:
        """Take the sampled weights as they are before the step."""
        self._before = self._weights()

    @torch.no_grad()
    def after(self) -> Tensor:
        """What the step did: a device tensor ``[groups, columns]`` for :func:`group_numbers`. Needs :meth:`before`."""
        if self._before is None:
            raise RuntimeError("WeightProbe.after was called without before: call before ahead of the optimizer's step")
        st, w0, w1 = self._state, self._before, self._weights()
        self._before = None
        g = self._gather([p.grad for p, _ in self._picks])
        bad = ~(torch.isfinite(w1) & torch.isfinite(g))
        g, w1_ok = g.nan_to_num(0.0, 0.0, 0.0), torch.where(torch.isfinite(w1), w1, w0)
        st["seen"] = torch.maximum(st["seen"], (g != 0).float())
        seen = st["seen"]
        st["steps"] = st["steps"] + 1
        st["m"] = _BETA1 * st["m"] + (1 - _BETA1) * g
        st["v"] = _BETA2 * st["v"] + (1 - _BETA2) * g * g
        direction = (st["m"] / (1 - _BETA1 ** st["steps"])) / ((st["v"] / (1 - _BETA2 ** st["steps"])).sqrt() + _TINY)
        st["s"] = _DECAY * st["s"] + g
        columns = torch.stack(
            [
                seen,
                seen * w0 * w0,
                seen * (w1_ok - w0) ** 2,
                seen * (w1_ok - st["start"]) ** 2,
                g * g,
                st["g_last"] * st["g_last"],
                g * st["g_last"],
                bad.float(),
                g * (st["start"] - w0).nan_to_num(0.0, 0.0, 0.0),
                st["s"].abs(),
                seen * direction * direction,
                (g != 0).float(),
            ],
            dim=1,
        )
        st["g_last"] = g
        # Group by group: in a matrix product, 0 x inf would carry one group's overflow into all others.
        out = torch.stack([part.sum(0) for part in columns.split(self.n_sampled)]) if self.n_groups else columns[:0]
        st["drift"] = _DECAY * st["drift"] + out[:, _COLUMNS.index("drift")]
        out[:, _COLUMNS.index("drift")] = st["drift"]
        return out

    def restart(self) -> None:
        """Begin the distance estimate and the travel anew, from the weights as they are: the learning rate has changed."""
        fresh = {k: torch.zeros_like(v) for k, v in self._state.items() if k not in ("start", "seen", "g_last")}
        self._state = {**self._state, **fresh, "start": self._weights()}

    def state_dict(self) -> dict[str, Tensor]:
        """The running sums, to be put back by :meth:`load_state_dict`."""
        return {k: v.clone() for k, v in self._state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Groups that were added after ``state`` was taken begin with the weights that they have now."""
        self._before = None
        saved = {k: v.to(self._device).clone() for k, v in state.items()}
        missing = sum(self.n_sampled) - len(saved["start"])
        if missing == 0 and len(saved["drift"]) == self.n_groups:
            self._state = saved
            return
        weights, old = self._weights(), len(saved["start"])
        fresh = {k: torch.zeros(missing, device=self._device) for k in saved} | {"start": weights[old:]}
        fresh["drift"] = torch.zeros(self.n_groups - len(saved["drift"]), device=self._device)
        saved["steps"] = saved["steps"].expand(old)  # from here on each coordinate has a count of its own
        self._state = {k: torch.cat([saved[k], fresh[k]]) for k in saved}


def _entries(t: Tensor, index: Tensor) -> Tensor:
    """The entries of ``t`` at these places of its flattened self, or of this rank's part of it. A sparse gradient holds whole rows,
    and zeros elsewhere."""
    t = shards.local(t)
    if not len(index):
        return torch.zeros(0, device=t.device)
    if t.layout is torch.strided:
        return torch.take(t, index)
    if t.layout is not torch.sparse_coo or t.sparse_dim() != 1:
        return torch.zeros(len(index), device=t.device)
    t = t.coalesce()
    rows, width = t.indices()[0], t.numel() // t.shape[0]
    if not len(rows):
        return torch.zeros(len(index), device=t.device)
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


def group_numbers(rows: Tensor, distance: DistanceEstimate) -> tuple[GroupNumbers, ...]:
    """Read the host copy of :meth:`WeightProbe.after`'s answer, ``[groups, columns]``, and bring ``distance`` up to date."""
    out = []
    for g, row in enumerate(rows.tolist()):
        at = dict(zip(_COLUMNS, row, strict=True))
        active = at["active"]
        d = distance.update(g, at["drift"], at["s1"])
        if active == 0:
            out.append(GroupNumbers(nonfinite=at["nonfinite"] > 0, frozen=at["with_grad"] == 0 and at["nonfinite"] == 0))
            continue
        w = math.sqrt(at["w2"]) if at["w2"] > 0 else math.nan
        update = math.sqrt(at["update2"])
        direction = math.sqrt(at["a2"] / active)
        grads = math.sqrt(at["g2"] * at["g_last2"])
        out.append(
            GroupNumbers(
                update_ratio=update / w,
                travel=math.sqrt(at["travel2"]) / w,
                weight_rms=w / math.sqrt(active),
                grad_rms=math.sqrt(at["g2"] / active),
                grad_agreement=at["g_dot"] / grads if grads > 0 else None,
                distance_index=update / math.sqrt(active) / (d * direction) if d > 0 and direction > 0 else None,
                nonfinite=at["nonfinite"] > 0,
                frozen=False,
            )
        )
    return tuple(out)
