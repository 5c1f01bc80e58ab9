"""The processes that train one model together: what each measured is summed in one small collective a step, so all decide alike.

Under DistributedDataParallel weights and gradients are the same on all ranks, activations and losses are not; under ``fully_shard``
each rank holds a part of the weights too. Either way all ranks judge the same sums, and the same reading is decided the same way.
That they hold the same scales and snapshots is checked by a number in the same collective.
"""

from __future__ import annotations

import weakref
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from adaptlr.standin import StandIn

_HEAD = 6  # ranks that took part, their losses, those that know the epoch, their epochs, the claims' numbers and squares
_CLAIM_BITS = 20  # sums of squares stay exact in float64 for up to 8,192 ranks
_joins_over: weakref.WeakSet[DistributedDataParallel] = weakref.WeakSet()  # whose newest join() has ended: torch does not note that


@dataclass(frozen=True, kw_only=True)
class Merged:
    """One step as all ranks together measured it; tensors are on the ranks' own device."""

    head: Tensor  # [_HEAD], for Ranks.check
    loss: Tensor  # mean over the ranks that took part
    rows: Tensor  # [groups, columns]
    counts: Tensor  # [stages, counters]; zeros where no activation was sampled


class Ranks:
    """One process among those that train a model together.

    Args:
        group: their process group; it is used by all of them in the same order, after each optimizer step.
        sharded: each rank measured a part of the weights, so that rows are summed; else they are copies, and averaged.
        ddp: the wrapper, if there is one: its ``join()`` is then followed.
    """

    def __init__(self, group: dist.ProcessGroup, *, sharded: bool = False, ddp: DistributedDataParallel | None = None) -> None:
        self.group, self.sharded = group, sharded
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self._ddp = ddp
        self._in_join = False  # a join() that we take part in was begun

    # ------------------------------------------------------------------ each step

    def merge(self, loss: Tensor, rows: Tensor, counts: Tensor, *, step: int, epoch: float | None, claim: str) -> Merged:
        """Sum over the ranks. On CUDA the host does not wait.

        Args:
            loss: of this rank's batch. DDP gives each rank the same say, however large its batch, and so is the mean.
            rows: [groups, columns], from :class:`~adaptlr.measure.weights.WeightProbe`.
            counts: [stages, counters], of the same shape in every step.
            step: for an error's text.
            epoch: if the loop knows it.
            claim: what must be the same on all ranks.

        Raises:
            RuntimeError: another rank is gone, or did not arrive within the process group's timeout; or ``model.join()`` was
                begun before the controller was entered.
        """
        self._check_join()
        number = zlib.crc32(claim.encode()) >> (32 - _CLAIM_BITS)
        head = torch.tensor(
            [1.0, 0.0, float(epoch is not None), epoch or 0.0, float(number), float(number**2)],
            dtype=torch.float64,
            device="cpu",
            pin_memory=rows.is_cuda,
        ).to(rows.device, non_blocking=True)
        head[1] = loss.to(rows.device)
        vector = torch.cat([head, rows.double().flatten(), counts.to(rows.device).double().flatten()])
        self._sum(vector, step)
        head, body = vector[:_HEAD], vector[_HEAD:]
        summed = body[: rows.numel()].view_as(rows)
        return Merged(
            head=head,
            loss=head[1] / head[0],
            rows=summed if self.sharded else summed / head[0],
            counts=body[rows.numel() :].view_as(counts),
        )

    def check(self, head: Tensor, claim: str) -> float | None:
        """The epoch that the ranks are in, if any of them knows.

        Args:
            head: of :class:`Merged`, on the host.
            claim: what this rank gave with it.

        Raises:
            RuntimeError: the ranks did not claim the same; the message says who claimed what.
        """
        n, _, n_epochs, epochs, numbers, squares = head.tolist()
        if int(n) * int(squares) != int(numbers) ** 2:  # equal for equal numbers alone (Cauchy-Schwarz), and in whole numbers
            claims: list[Any] = [None] * self.size
            dist.all_gather_object(claims, claim, group=self.group)
            text = "; ".join(f"rank {r}: {c}" for r, c in enumerate(claims) if r in (0, self.rank) or c != claims[0])
            raise RuntimeError(
                f"adaptlr on the {self.size} ranks no longer agrees ({text}): a learning rate would differ between them, so this "
                f"is an error. Did one rank load another checkpoint, or write to a scale by itself?"
            )
        return epochs / n_epochs if n_epochs else None

    def shadow(self, size: int, step: int) -> None:
        """Take part in one sum with nothing to add: a rank whose data has ended, or one that made no optimizer step."""
        device = self._ddp.join_device if self._ddp is not None else torch.device("cpu")
        self._sum(torch.zeros(_HEAD + size, dtype=torch.float64, device=device), step)

    def _sum(self, vector: Tensor, step: int) -> None:
        try:
            if vector.is_cuda:
                work = dist.all_reduce(vector, group=self.group, async_op=True)
                assert work is not None
                work.wait()  # of the stream, not of the host
            else:
                dist.all_reduce(vector, group=self.group)
        except RuntimeError as error:
            raise RuntimeError(
                f"adaptlr on rank {self.rank} of {self.size}: another rank did not bring its numbers of step {step}, within the "
                f"process group's timeout (init_process_group(timeout=...)) or because it is gone. Nothing was decided from this "
                f"step. Each rank has to call step() once for every batch; look at the other ranks' output for the first error"
            ) from error

    # ------------------------------------------------------------------ uneven inputs: DDP's join()

    @property
    def in_join(self) -> bool:
        """Every call of the controller's step makes one sum, also one without an optimizer step: ranks that are done count them."""
        return self._in_join and self._ddp is not None and self._ddp._join_config.enable

    def follow_join(
        self, shadow: Callable[[], None], settle: Callable[[bool], None], agree: Callable[[], None]
    ) -> Callable[[], None]:
        """Take part in ``model.join()``; returns what ends that.

        Args:
            shadow: called in each iteration that this rank sits out.
            settle: called at the end with whether this rank was in it to the last, before DDP brings the weights together.
            agree: called after that.
        """
        if self._ddp is None:
            return lambda: None
        from torch.distributed.algorithms.join import JoinHook  # noqa: PLC0415  (not in every build of torch)

        ranks, ddp = self, self._ddp

        class Both(JoinHook):
            """DDP's part and ours, in the order in which an iteration has them."""

            def __init__(self, first: JoinHook) -> None:
                self.first = first

            def main_hook(self) -> None:
                self.first.main_hook()
                shadow()

            def post_hook(self, is_last_joiner: bool) -> None:
                settle(is_last_joiner)
                self.first.post_hook(is_last_joiner)
                agree()
                ranks._in_join = False
                _joins_over.add(ddp)

        def begin(join_hook: Callable[..., JoinHook], **kwargs: Any) -> JoinHook:
            ranks._in_join = True
            _joins_over.discard(ddp)
            return Both(join_hook(**kwargs))

        return StandIn(ddp, "join_hook", begin).remove

    def agree(self, was_last: bool, step: int, snapshots: Sequence[int], memory: Callable[[int], Any]) -> tuple[Any, set[int]]:
        """After a join, go on together.

        Args:
            was_last: this rank was in it to the end.
            step: how far this rank is; the others may be further.
            snapshots: steps of those that this rank holds.
            memory: what this rank knows, with all since a given step. Asked of one that was in it to the end.

        Returns:
            What that rank knows, and the steps of the snapshots that every rank holds.
        """
        told: list[Any] = [None] * self.size
        dist.all_gather_object(told, (was_last, step, list(snapshots)), group=self.group)
        leader = next(r for r, (last, _, _) in enumerate(told) if last)
        box = [memory(min(at for _, at, _ in told)) if self.rank == leader else None]
        dist.broadcast_object_list(box, src=dist.get_global_rank(self.group, leader), group=self.group)
        return box[0], set.intersection(*(set(held) for _, _, held in told))

    def _check_join(self) -> None:
        ddp = self._ddp
        if ddp is None or self._in_join or ddp in _joins_over or not ddp._join_config.enable:
            return
        raise RuntimeError(
            "model.join() was begun before the Controller was entered, so that ranks whose data has ended would leave the others "
            "waiting: enter `with Controller(...)` first, and model.join() within it. (If that join() is over, "
            "`with model.join(enable=False): pass` tells torch so.)"
        )
