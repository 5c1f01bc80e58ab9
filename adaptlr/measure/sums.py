"""What one optimizer step did, as sums over a group's sampled coordinates: one row of :data:`COLUMNS` a group.

Two ways to the same numbers. :func:`on_device` is the definition: plain torch, on any device, waits for nothing. :class:`OnHost`
does it in numpy in one buffer: on a CPU a tensor operation on 2,048 numbers is nearly all overhead.
:func:`make` chooses, once, by the device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

COLUMNS = ("active", "w2", "update2", "travel2", "g2", "g_last2", "g_dot", "nonfinite", "drift", "s1", "a2", "with_grad")
DRIFT = COLUMNS.index("drift")

DECAY = 0.995  # of the running sums behind the distance estimate: forgets the start after some 200 steps
BETA1, BETA2 = 0.9, 0.99  # of the normalised direction that the step is compared with
_TINY = 1e-30

#: (weights before, weights after, gradients) of the sampled coordinates -> rows [groups, columns]; moves the state on in place.
StepSums = Callable[[Tensor, Tensor, Tensor], Tensor]


def fresh(n: int, groups: int, start: Tensor) -> dict[str, Tensor]:
    """The running state of ``n`` coordinates in so many groups, before the first step; ``start`` are their weights."""
    names = ("seen", "g_last", "s", "m", "v")  # seen: 1 where a gradient has ever arrived; s: decayed sum of gradients
    zeros = {k: torch.zeros(n, device=start.device) for k in names}
    drift = torch.zeros(groups, device=start.device)  # decayed sum of <g, start - w>
    return {"start": start, **zeros, "drift": drift, "steps": torch.zeros((), device=start.device)}


def make(state: dict[str, Tensor], n_sampled: Sequence[int]) -> StepSums:
    """The way that suits the state's device. The state's tensors must stay the same objects from here on."""
    if state["start"].device.type == "cpu" and state["steps"].ndim == 0:  # groups added in mid-run have counts of their own
        return OnHost(state, n_sampled)
    return lambda w0, w1, g: on_device(state, n_sampled, w0, w1, g)


@torch.no_grad()
def on_device(state: Mapping[str, Tensor], n_sampled: Sequence[int], w0: Tensor, w1: Tensor, g: Tensor) -> Tensor:
    """The definition: rows [groups, columns] of a step from ``w0`` to ``w1`` on gradients ``g``."""
    st = state
    bad = ~(torch.isfinite(w1) & torch.isfinite(g))
    g, w1_ok = g.nan_to_num(0.0, 0.0, 0.0), torch.where(torch.isfinite(w1), w1, w0)
    arrived = (g != 0).float()
    seen = st["seen"]
    seen.copy_(torch.maximum(seen, arrived))
    st["steps"].add_(1)
    st["m"].mul_(BETA1).add_(g, alpha=1 - BETA1)
    st["v"].mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    direction = (st["m"] / (1 - BETA1 ** st["steps"])) / ((st["v"] / (1 - BETA2 ** st["steps"])).sqrt() + _TINY)
    st["s"].mul_(DECAY).add_(g)
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
            arrived,
        ],
        dim=1,
    )
    st["g_last"].copy_(g)
    # Group by group: in a matrix product, 0 x inf would carry one group's overflow into all others.
    out = torch.stack([part.sum(0) for part in columns.split(list(n_sampled))]) if n_sampled else columns[:0]
    st["drift"].mul_(DECAY).add_(out[:, DRIFT])
    out[:, DRIFT] = st["drift"]
    return out


class OnHost:
    """:func:`on_device` for a state in the processor's memory, in numpy: about thirty operations in one buffer.

    Args:
        state: from :func:`fresh`; its tensors are written in place.
        n_sampled: coordinates of each group, laid end to end.
    """

    def __init__(self, state: dict[str, Tensor], n_sampled: Sequence[int]) -> None:
        self._state, self._n_sampled = state, tuple(n_sampled)
        self._at = {k: v.numpy() for k, v in state.items()}
        n = sum(n_sampled)
        self._work = np.zeros((len(COLUMNS), n), dtype=np.float32)
        self._tmp = np.empty(n, dtype=np.float32)
        ends = np.cumsum(self._n_sampled, dtype=np.int64)
        self._filled = np.array([i for i, k in enumerate(self._n_sampled) if k], dtype=np.int64)
        self._starts = (ends - np.array(self._n_sampled, dtype=np.int64))[self._filled]
        self._all_seen = False
        self._poisoned = False  # the last step's flags are still in the buffer

    def __call__(self, before: Tensor, after: Tensor, grads: Tensor) -> Tensor:
        rows = np.zeros((len(self._n_sampled), len(COLUMNS)), dtype=np.float32)
        if not len(self._tmp):
            return torch.from_numpy(rows)
        with np.errstate(all="ignore"):
            w0, w1, g = before.numpy(), after.numpy(), grads.numpy()
            active, w2, update2, travel2, g2, g_last2, g_dot, nonfinite, drift, s1, a2, with_grad = self._work
            at, tmp = self._at, self._tmp
            np.multiply(g, g, out=g2)
            np.subtract(w1, w0, out=update2)
            np.multiply(update2, update2, out=update2)
            np.subtract(at["start"], w0, out=tmp)
            if self._poisoned or not np.isfinite(np.add.reduce(g2) + np.add.reduce(update2)):
                w1, g = self._clean(w0, w1, g, nonfinite)
                np.multiply(g, g, out=g2)
                np.square(w1 - w0, out=update2)
                tmp[:] = np.nan_to_num(tmp, nan=0.0, posinf=0.0, neginf=0.0)
            np.multiply(tmp, g, out=drift)
            np.multiply(w0, w0, out=w2)
            np.subtract(w1, at["start"], out=travel2)
            np.multiply(travel2, travel2, out=travel2)
            np.multiply(at["g_last"], at["g_last"], out=g_last2)
            np.multiply(at["g_last"], g, out=g_dot)
            at["g_last"][:] = g
            self._move_on(g, g2, s1, a2)
            if not self._all_seen or not at["seen"][0]:  # a state that was loaded, or of a run that began anew
                np.not_equal(g, 0, out=with_grad)
                np.maximum(at["seen"], with_grad, out=at["seen"])
                active[:] = at["seen"]
                self._all_seen = bool(active.all())
                for row in (w2, update2, travel2, a2):
                    np.multiply(row, active, out=row)
            rows[self._filled] = np.add.reduceat(self._work, self._starts, axis=1).T
            kept = at["drift"]
            kept *= DECAY
            kept += rows[:, DRIFT]
            rows[:, DRIFT] = kept
        return torch.from_numpy(rows)

    def _clean(self, w0: np.ndarray, w1: np.ndarray, g: np.ndarray, nonfinite: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights and gradients with what is not finite flagged and taken out."""
        ok = np.isfinite(w1)
        fine = np.isfinite(g)
        nonfinite[:] = ~(ok & fine)
        self._poisoned = bool(nonfinite.any())
        return np.where(ok, w1, w0), np.where(fine, g, np.float32(0))

    def _move_on(self, g: np.ndarray, g2: np.ndarray, s1: np.ndarray, a2: np.ndarray) -> None:
        """The running averages by one step, and the columns that come of them."""
        at, tmp = self._at, self._tmp
        m, v, s, steps = at["m"], at["v"], at["s"], at["steps"]
        steps += 1
        t = float(steps)
        m *= BETA1
        np.multiply(g, 1 - BETA1, out=tmp)
        m += tmp
        v *= BETA2
        np.multiply(g2, 1 - BETA2, out=tmp)
        v += tmp
        s *= DECAY
        s += g
        np.abs(s, out=s1)
        np.multiply(v, (1 - BETA1**t) ** 2 / (1 - BETA2**t), out=tmp)
        np.sqrt(tmp, out=tmp)
        tmp += _TINY
        np.divide(m, tmp, out=a2)
        np.multiply(a2, a2, out=a2)
