"""What one optimizer step did, as sums over a group's sampled coordinates: one row of :data:`COLUMNS` a group.

Two ways to the same numbers. :func:`on_device` is the definition: plain torch, on any device, waits for nothing. :class:`OnHost`
does it in numpy in one buffer: on a CPU a tensor operation on 2,048 numbers is nearly all overhead.
:func:`make` chooses, once, by the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

COLUMNS = (
    *("g_last2", "g2", "w2", "update2", "travel2", "drift", "g_dot", "s1", "a2"),  # nine that are summed at each step
    *("active", "nonfinite"),
)
_SUMMED = COLUMNS.index("active")  # and what follows is known without a sum where all coordinates are in use and finite
DRIFT = COLUMNS.index("drift")

DECAY = 0.995  # of the running sums behind the distance estimate: forgets the start after some 200 steps
BETA1, BETA2 = 0.9, 0.99  # of the normalised direction that the step is compared with
_TINY = 1e-30
_FADE = np.array([[BETA1], [DECAY], [BETA2]], dtype=np.float32)  # of m, s and v
_GAIN = np.array([[1 - BETA1], [1.0]], dtype=np.float32)  # of the gradient in m and s
# start: weights at the start; seen: 1 where a gradient has ever arrived; s: decayed sum of gradients; m, v: Adam's averages
_STATE = ("start", "seen", "g_last", "s", "m", "v")  # and drift: decayed sum of <g, start - w>, of each group; steps


class StepSums(Protocol):
    """Sums of one step, and the running state that they need.

    Attributes:
        taken: weights before, weights after and gradients of the sampled coordinates [n]: to be written into before each call.
        state: the running state by name.
        version: another number whenever a tensor of ``state`` has given its place to another.
    """

    taken: tuple[Tensor, Tensor, Tensor]
    state: dict[str, Tensor]
    version: int

    def __call__(self) -> Tensor:
        """Rows [groups, columns] of the step that ``taken`` holds; moves the state on."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a copy of another's ``state``. Its ``steps`` may be one for each coordinate: of groups added in mid-run."""
        ...


def make(n_sampled: Sequence[int], device: torch.device) -> StepSums:
    """For groups of so many coordinates each, laid end to end: the way that suits the device."""
    return OnHost(n_sampled) if device.type == "cpu" else OnDevice(n_sampled, device)


class OnDevice:
    """:func:`on_device` with its state."""

    def __init__(self, n_sampled: Sequence[int], device: torch.device) -> None:
        n, self._n_sampled = sum(n_sampled), tuple(n_sampled)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float32, device=device)

        self.taken = (zeros(n), zeros(n), zeros(n))
        self.state = {k: zeros(n) for k in _STATE} | {"drift": zeros(len(n_sampled)), "steps": zeros()}
        self.version = 0

    def __call__(self) -> Tensor:
        return on_device(self.state, self._n_sampled, *self.taken)

    def load(self, state: Mapping[str, Tensor]) -> None:
        for name, own in self.state.items():
            if own.shape == state[name].shape:
                own.copy_(state[name])
            else:
                self.state[name] = state[name].clone()
                self.version += 1


@torch.no_grad()
def on_device(state: Mapping[str, Tensor], n_sampled: Sequence[int], w0: Tensor, w1: Tensor, g: Tensor) -> Tensor:
    """The definition: rows [groups, columns] of a step from ``w0`` to ``w1`` on gradients ``g``."""
    st = state
    bad = ~(torch.isfinite(w1) & torch.isfinite(g))
    g, w1_ok = g.nan_to_num(0.0, 0.0, 0.0), torch.where(torch.isfinite(w1), w1, w0)
    seen = st["seen"]
    seen.copy_(torch.maximum(seen, (g != 0).float()))
    st["steps"].add_(1)
    st["m"].mul_(BETA1).add_(g, alpha=1 - BETA1)
    st["v"].mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    direction = (st["m"] / (1 - BETA1 ** st["steps"])) / ((st["v"] / (1 - BETA2 ** st["steps"])).sqrt() + _TINY)
    st["s"].mul_(DECAY).add_(g)
    columns = torch.stack(
        [
            st["g_last"] * st["g_last"],
            g * g,
            seen * w0 * w0,
            seen * (w1_ok - w0) ** 2,
            seen * (w1_ok - st["start"]) ** 2,
            g * (st["start"] - w0).nan_to_num(0.0, 0.0, 0.0),
            g * st["g_last"],
            st["s"].abs(),
            seen * direction * direction,
            seen,
            bad.float(),
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
    """:func:`on_device` in numpy: some twenty operations, each on as many rows at once as the order of the rows allows.

    Args:
        n_sampled: coordinates of each group, laid end to end.
    """

    def __init__(self, n_sampled: Sequence[int]) -> None:
        n, self._n_sampled = sum(n_sampled), tuple(n_sampled)
        rows = np.zeros((8, n), dtype=np.float32)
        w1, start, walked, g_last, g, w0, _update, travel = rows
        work = self._work = np.zeros((len(COLUMNS), n), dtype=np.float32)
        self._rows, self._checked = (w1, g, w0, walked), work[:5].reshape(-1)
        # What is subtracted and multiplied, and where it goes: each a view made once, since making one costs as much as a row does.
        self._differences = (rows[0:2], w0, rows[6:1:-4]), (w1, start, travel)  # w1 - w0 and start - w0; w1 - start
        self._products = (rows[3:8], rows[3:8], work[0:5]), (rows[2:4], g, work[5:7])
        self._moving = np.zeros((3, n), dtype=np.float32)  # m, s, v
        tmp = self._tmp = np.empty((3, n), dtype=np.float32)
        m, s, v = self._moving
        self._averaged = g, g_last, work[1], tmp[0:2], tmp[2]
        self._averages = m, s, v, work[7], work[8]
        self._seen = np.zeros(n, dtype=np.float32)
        self._masked = work[2:5], work[8]  # w2, update2, travel2; a2
        self._drift = np.zeros(len(n_sampled), dtype=np.float32)
        self._steps = np.zeros((), dtype=np.float32)
        state = {"start": start, "seen": self._seen, "g_last": g_last, "s": s, "m": m, "v": v}
        self.state = {k: torch.from_numpy(a) for k, a in (state | {"drift": self._drift, "steps": self._steps}).items()}
        self.taken = torch.from_numpy(w0), torch.from_numpy(w1), torch.from_numpy(g)
        ends = np.cumsum(self._n_sampled, dtype=np.int64)
        filled = np.array([i for i, k in enumerate(self._n_sampled) if k], dtype=np.int64)  # reduceat knows no empty part
        self._starts = (ends - np.array(self._n_sampled, dtype=np.int64))[filled]
        self._filled = slice(None) if len(filled) == len(self._n_sampled) else filled
        self._unseen = np.arange(n)  # where no gradient has ever arrived
        self._poisoned = False  # the last step's flags are still in the buffer
        self.version = 0

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.state["steps"] = state["steps"].clone()
        self._steps = self.state["steps"].numpy()
        for name, value in self.state.items():
            value.copy_(state[name])
        self._unseen = np.flatnonzero(self._seen == 0)

    def __call__(self) -> Tensor:
        out = np.zeros((len(COLUMNS), len(self._n_sampled)), dtype=np.float32)
        if not len(self._seen):
            self._steps += 1
            return torch.from_numpy(out.T)
        with np.errstate(all="ignore"):
            self._multiply()
            if self._poisoned or not math.isfinite(np.add.reduce(self._checked)):
                self._clean()
            self._move_on()
            if len(self._unseen):
                self._mask()
            n = len(COLUMNS) if self._poisoned or len(self._unseen) else _SUMMED
            out[:n, self._filled] = np.add.reduceat(self._work[:n], self._starts, axis=1)
            if not len(self._unseen):
                out[_SUMMED] = self._n_sampled
            self._drift *= DECAY
            self._drift += out[DRIFT]
            out[DRIFT] = self._drift
        return torch.from_numpy(out.T)

    def _multiply(self) -> None:
        """Differences of the rows, then the first seven columns."""
        for a, b, out in self._differences:
            np.subtract(a, b, out)
        for a, b, out in self._products:
            np.multiply(a, b, out)

    def _clean(self) -> None:
        """What is not finite is flagged and taken out, and the columns are done again."""
        w1, g, w0, walked = self._rows
        ok, fine = np.isfinite(w1), np.isfinite(g)
        flags = self._work[COLUMNS.index("nonfinite")]
        np.logical_not(ok & fine, out=flags)
        self._poisoned = bool(flags.any())
        np.copyto(w1, w0, where=~ok)
        np.copyto(g, 0, where=~fine)
        self._multiply()
        np.multiply(np.nan_to_num(walked, nan=0.0, posinf=0.0, neginf=0.0), g, out=self._work[DRIFT])

    def _move_on(self) -> None:
        """The running averages by one step, and the columns that come of them."""
        g, g_last, g2, gains, root = self._averaged
        m, s, v, s1, a2 = self._averages
        g_last[:] = g
        self._steps += 1
        t = self._steps.astype(np.float64) if self._steps.ndim else float(self._steps)  # for each coordinate, or one for all
        np.multiply(g, _GAIN, gains)
        np.multiply(g2, 1 - BETA2, root)
        self._moving *= _FADE
        self._moving += self._tmp
        np.abs(s, s1)
        np.multiply(v, (1 - BETA1**t) ** 2 / (1 - BETA2**t), root)
        np.sqrt(root, root)
        root += _TINY
        np.divide(m, root, a2)
        np.multiply(a2, a2, a2)

    def _mask(self) -> None:
        """Coordinates that never had a gradient do not count."""
        seen, unseen = self._seen, self._unseen
        arrived = self._averaged[0].take(unseen) != 0
        if arrived.any():
            seen[unseen[arrived]] = 1
            self._unseen = unseen[~arrived]
        self._work[_SUMMED] = seen
        for columns in self._masked:
            np.multiply(columns, seen, columns)
