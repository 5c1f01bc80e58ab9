"""What a controller measures: hooks and samples go in, readings come out; on a GPU a step late, so that nothing waits."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from adaptlr.act.optimizer import OptimizerPort
from adaptlr.measure import provenance
from adaptlr.measure.activations import ActivationProbe
from adaptlr.measure.beginning import is_untaught
from adaptlr.measure.norms import first_norm, running_variance
from adaptlr.measure.stages import Stage, Stages, assign_groups, find_stages, stages_of_group
from adaptlr.measure.stats import COUNTERS
from adaptlr.measure.weights import DistanceEstimate, GroupNumbers, WeightProbe, group_numbers
from adaptlr.ranges import Least, Over, check, default, explained
from adaptlr.ranks import Ranks
from adaptlr.records import GroupReading, Provenance, Reading
from adaptlr.state import pack

#: Batches in a row whose loss is not finite and whose step a GradScaler has skipped: it would skip all others too, and go on
#: making its scale smaller, which nothing in the loss depends on.
LOST = 3

_EVERY = ((256, 20), (128, 10), (0, 5))  # steps between samples of the activations, from a step on: runs break early as a rule


@explained
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How much is measured, and how often. The entries are picked by a seed; no global generator is touched.

    Raises:
        TypeError: it is no number, or no whole one; the message quotes it.
        ValueError: a number is out of its range; likewise.
    """

    activations_every: Annotated[int | None, Least(1, upto=10**9)] = default(
        None, "optimizer steps between two samples of the activations; None: 5, 10 from step 128 on, and 20 from step 256 on"
    )
    activations_first: Annotated[int, Least(0, upto=10**9)] = default(
        16, "steps at the beginning of the run in all of which activations are sampled"
    )
    activations: Annotated[int, Least(0, upto=10**9)] = default(
        8192,
        "entries that are read from one stage's output, 64 or more; or 0: no hooks are made, and weights alone are watched",
    )
    coordinates: Annotated[int, Least(64, upto=10**9)] = default(
        2048, "entries that are read from one group's weights; or 16 of each tensor, if that is more"
    )
    hist_bins: Annotated[int, Least(1, upto=10**6)] = default(
        40, "bins of the histogram of |activation| that a trace keeps of each stage"
    )
    hist_max: Annotated[float, Over(0, upto=1e9)] = default(10.0, "|activation| at which that histogram ends")
    seed: Annotated[int, Least(-(2**63), upto=2**63)] = default(0, "seed by which entries are picked")

    def __post_init__(self) -> None:
        check(self)
        if 0 != self.activations < 64:
            raise ValueError(f"activations must be at least 64, or 0 for no hooks at all, got {self.activations!r}")


class _Pending(NamedTuple):
    """What one optimizer step left on the device."""

    step: int
    epoch: float | None
    loss: Tensor
    groups: Tensor
    stages: Tensor | None
    lrs: tuple[float, ...]
    decays: tuple[float, ...]
    scales: tuple[float, ...]
    head: Tensor | None = None  # where several ranks measured it together: adaptlr.ranks
    claim: str = ""
    ready: torch.cuda.Event | None = None
    norm_var: Tensor | None = None
    skipped: Tensor | None = None  # above 0 if no step was made


class Regrouped(NamedTuple):
    """The optimizer's groups are no longer what they were."""

    groups: tuple[int, ...]  # that were added, or whose parameters are others
    carried: Callable[[dict[str, Any]], dict[str, Any]]  # what Observer.memory gave before, for Observer.recall from here on


class Observer:
    """Measures each optimizer step of a run, and keeps what is still on its way from the device.

    Args:
        model: the network, out of its wrappers.
        port: the optimizer.
        stages: what to observe, as for the controller.
        sampling: how much, and how often.
        ranks: the processes that train this model together; None is this one alone.

    Raises:
        ValueError: no stage was found, or one that takes no hooks; the optimizer holds none of the model's parameters, or one in
            two groups; or a parameter has no shape yet.
    """

    def __init__(
        self, model: nn.Module, port: OptimizerPort, stages: Stages | None, sampling: Sampling, ranks: Ranks | None = None
    ) -> None:
        self._port = port
        self._ranks = ranks
        self._sampling = s = sampling
        self._model = model
        groups = port.params()
        _check_shapes(model)
        _check_groups(model, groups)
        self.stages = find_stages(model, stages, needed=s.activations > 0)
        if s.activations:
            _check_hooks(self.stages)
        self._names = {p: name for name, p in model.named_parameters()}
        self._place_stages(groups)
        self.activations = ActivationProbe(
            self.stages if s.activations else (),
            seed=s.seed,
            hist_bins=s.hist_bins,
            hist_max=s.hist_max,
            sample_size=s.activations or 1,
        )
        first_rank = ranks is None or ranks.rank == 0 or not ranks.sharded
        self._weights = WeightProbe(groups, coordinates=s.coordinates, seed=s.seed, first_rank=first_rank)
        self._distance = DistanceEstimate(len(groups))
        self._provenance: tuple[Provenance, ...] = ()
        self.guess: float | None = None  # what guessing costs, as far as it is known
        self.fresh = False  # nothing is known of an earlier run
        self._few: tuple[int, ...] = ()  # groups of which the first loss has to tell whether they are random
        self._norm = first_norm(model) if ranks is None else None  # ranks need not have the same
        self._rows: Tensor | None = None
        self._skips: Tensor | None = None
        self._lost = 0  # batches in a row without a step and without a loss
        self._lrs: tuple[float, ...] = ()
        self._decays: tuple[float, ...] = ()
        self._waiting: deque[_Pending] = deque()
        self.step = 0  # optimizer steps begun and ended
        self.activations.enabled = self._samples_activations()

    @property
    def n_groups(self) -> int:
        return self._weights.n_groups

    @property
    def stepped(self) -> bool:
        """An optimizer step was made since the last :meth:`submit`."""
        return self._rows is not None

    @property
    def waiting(self) -> int:
        """How many steps are on their way from the device."""
        return len(self._waiting)

    # ------------------------------------------------------------------ around a step

    def before_step(self, lrs: list[float]) -> Regrouped | None:
        """Gradients are final; ``lrs`` are as the schedule wrote them.

        Returns:
            What has become of the groups since the last step; None if they are the same.

        Raises:
            RuntimeError: the step is being captured in a CUDA graph.
        """
        if self._weights.on_cuda and torch.cuda.is_current_stream_capturing():
            raise RuntimeError(
                "the optimizer's step is being captured in a CUDA graph, whose replays run no Python: adaptlr would see none of "
                "them and could change no learning rate. Leave the optimizer's step out of the graph; model and loss may be in it, "
                "as with torch.compile(model, mode='reduce-overhead')"
            )
        groups = self._port.params()
        regrouped = None if self._weights.is_of(groups) else self._take_in(groups)
        self._know_provenance()
        self._lrs, self._decays = tuple(lrs), tuple(self._port.weight_decays())
        self._weights.before()
        self.activations.before_step()
        return regrouped

    def after_step(self) -> None:
        self._skips = self._port.skips()
        self._rows = self._weights.after(self._skips)
        self.activations.after_step()

    def submit(self, loss: Tensor, epoch: float | None, scales: tuple[float, ...], claim: str = "") -> None:
        """The step is done: its numbers begin their way to the host.

        Args:
            claim: what must be the same on all ranks, as text.
        """
        assert self._rows is not None
        norm_var = running_variance(self._norm)
        counts, skipped = self.activations.collect(), self._skips
        written = self._lrs, self._decays
        self._put(_Pending(self.step, epoch, loss, self._rows, counts, *written, scales, norm_var=norm_var, skipped=skipped), claim)
        self._rows = self._skips = None
        self.step += 1
        self.activations.enabled = self._samples_activations()

    def submit_without_step(self, loss: Tensor, epoch: float | None, scales: tuple[float, ...], claim: str = "") -> None:
        """A GradScaler has skipped this batch's step, or gradients are being accumulated: the loss begins its way to the host.

        Nothing becomes of it, unless so many in a row are not finite that no other scale can mend it: a reading then says so.
        """
        self._know_provenance()
        nothing, none = self._weights.nothing(), torch.ones((), dtype=torch.float32, device=loss.device)
        written = tuple(self._port.lrs()), tuple(self._port.weight_decays())
        self._put(_Pending(self.step, epoch, loss, nothing, None, *written, scales, skipped=none), claim)

    def _know_provenance(self) -> None:
        """Once, of the weights that no step has touched."""
        if len(self._provenance) < self.n_groups:
            self._provenance = provenance.of_groups(self._port.params(), self._provenance)
            self._few = provenance.few(self._port.params(), self._provenance) if self.step == 0 else ()

    def _put(self, pending: _Pending, claim: str) -> None:
        if self._ranks is not None:
            pending = self._merged(pending, f"step {self.step}, {len(self._waiting)} on their way, {claim}")
        self._waiting.append(_send(pending))

    def shadow(self) -> None:
        """Take part in the other ranks' measuring of a step that this one does not make."""
        assert self._ranks is not None
        self._ranks.shadow(self.n_groups * self._weights.n_columns + len(self.stages) * self._n_counters, self.step)

    def readings(self, *, all_of_them: bool = False) -> Iterator[Reading]:
        """The steps that have arrived, oldest first. A rollback in between may :meth:`forget` the rest.

        Args:
            all_of_them: wait for the newest too.
        """
        while self._waiting:
            lag = 1 if self._waiting[-1].ready is not None and not all_of_them else 0
            if len(self._waiting) <= lag:
                return
            reading = self._read(self._waiting.popleft())
            if reading is not None:
                yield reading

    def weights_have_moved(self) -> bool:
        """Since the last step of the optimizer, so that it was not this one that moved them."""
        return self._weights.have_moved()

    def forget(self) -> None:
        """What is on its way belongs to a run that no longer exists."""
        self._waiting.clear()
        self._lost = 0

    def restart(self, groups: Sequence[int]) -> None:
        """These groups' learning rates have changed: their distances are from here on."""
        self._weights.restart(groups)
        for g in groups:
            self._distance.largest[g] = 0.0

    # ------------------------------------------------------------------ memory

    def memory(self) -> dict[str, Any]:
        """What goes back with a rollback."""
        return {"probe": self._weights.state_dict(), "distance": list(self._distance.largest)}

    def recall(self, memory: dict[str, Any]) -> None:
        """Put back what :meth:`memory` gave."""
        self._weights.load_state_dict(memory["probe"])
        self._distance.largest = [*memory["distance"], *[0.0] * (self.n_groups - len(memory["distance"]))]

    def state_dict(self) -> dict[str, Any]:
        of_groups = self._sampling.coordinates, self._sampling.seed, *self._weights.n_sampled
        return {"step": self.step, "provenance": pack(self._provenance), "sampled": list(of_groups), **self.memory()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises ValueError if other weights were sampled."""
        coordinates, seed, *sizes = state["sampled"]
        own = self._sampling.coordinates, self._sampling.seed, *self._weights.n_sampled[: len(sizes)]
        if own != (coordinates, seed, *sizes):
            raise ValueError(
                f"this state is of Sampling(coordinates={coordinates}, seed={seed}) and of a model with {sizes} sampled weights a "
                f"group; here they are coordinates={own[0]}, seed={own[1]} and {list(own[2:])}: give the same sampling and model"
            )
        self.step = state["step"]
        self._provenance = tuple(Provenance(p) for p in state["provenance"])
        self.recall(state)
        self.activations.enabled = self._samples_activations()

    # ------------------------------------------------------------------ inside

    def _samples_activations(self) -> bool:
        """Of the step that comes next."""
        s = self._sampling
        every = s.activations_every or next(n for begin, n in _EVERY if self.step >= begin)
        return self.step < s.activations_first or self.step % every == 0

    @property
    def _n_counters(self) -> int:
        return len(COUNTERS) + self._sampling.hist_bins

    def _merged(self, pending: _Pending, claim: str) -> _Pending:
        """What all ranks measured in this step. Stages have their place in every step, so that all ranks bring as many numbers."""
        assert self._ranks is not None
        counts = pending.stages
        if counts is None:
            counts = torch.zeros(len(self.stages), self._n_counters, dtype=torch.float64, device=pending.groups.device)
        both = self._ranks.merge(pending.loss, pending.groups, counts, step=self.step, epoch=pending.epoch, claim=claim)
        return pending._replace(loss=both.loss, groups=both.rows, stages=both.counts, head=both.head, claim=claim)

    def _read(self, pending: _Pending) -> Reading | None:
        if pending.ready is not None:  # of the step before, while a whole step lies in the queue: the device does not run dry, and
            pending.ready.synchronize()  # every rank reads a step at the same step, which asking whether it is ready would not give
        epoch = pending.epoch
        if self._ranks is not None and pending.head is not None:
            epoch = self._ranks.check(pending.head, pending.claim)
        if pending.skipped is not None and pending.skipped > 0:
            self._lost = 0 if math.isfinite(pending.loss) else self._lost + 1
            if self._lost != LOST:
                return None
            skipped = self._lost
            self.step += 1  # it is told as a step, one that went wrong, and no other has its number
            numbers = (GroupNumbers(nonfinite=True, frozen=False),) * len(pending.groups)
        else:
            self._lost = skipped = 0
            numbers = group_numbers(pending.groups, self._distance, self._weights.least)
        loss = float(pending.loss)
        if self._few:
            untaught = self.fresh and is_untaught(loss, self.guess)
            told = dict.fromkeys(self._few, Provenance.RANDOM) if untaught else {}
            self._provenance = tuple(told.get(i, p) for i, p in enumerate(self._provenance))
            self._few = ()
        later = self.n_groups - len(numbers)  # groups that were added while this step was on its way: it did not move them
        numbers = (*numbers, *[GroupNumbers(nonfinite=False, frozen=True)] * later)
        none = [0.0] * later
        lrs, decays, scales = (*pending.lrs, *none), (*pending.decays, *none), (*pending.scales, *[1.0] * later)
        groups = tuple(self._group_reading(i, n, lrs[i], scales[i], decays[i]) for i, n in enumerate(numbers))
        stages = () if pending.stages is None else self.activations.readings(pending.stages, self._group_of_stage)
        norm_var = None if pending.norm_var is None else float(pending.norm_var)
        return Reading(step=pending.step, loss=loss, epoch=epoch, stages=stages, groups=groups, norm_var=norm_var, skipped=skipped)

    def _group_reading(self, index: int, numbers: GroupNumbers, lr: float, scale: float, decay: float) -> GroupReading:
        n = numbers
        return GroupReading(
            index=index,
            stages=self._stages_of_group[index],
            lr=lr,
            scale=scale,
            weight_decay=decay,
            provenance=self._provenance[index],
            update_ratio=n.update_ratio,
            travel=n.travel,
            weight_rms=n.weight_rms,
            grad_rms=n.grad_rms,
            grad_agreement=n.grad_agreement,
            distance_index=n.distance_index,
            nonfinite=n.nonfinite,
            frozen=n.frozen,
        )

    def _place_stages(self, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self._group_of_stage = assign_groups(self.stages, groups)
        self._stages_of_group = tuple(stages_of_group(self.stages, g) for g in groups)

    def _take_in(self, groups: Sequence[Sequence[nn.Parameter]]) -> Regrouped:
        """The optimizer has been given another group, or a group other parameters. No step has moved them yet."""
        if len(groups) < self.n_groups:
            raise ValueError(
                f"the optimizer has {len(groups)} parameter groups and had {self.n_groups} before: "
                f"groups may be added during a run, but after taking one away make a new Controller"
            )
        if len(groups) > self.n_groups:
            _check_groups(self._model, groups)
        self._follow_names(groups)
        self._place_stages(groups)
        before = self._weights
        now = self._weights = before.extended(groups, coordinates=self._sampling.coordinates, seed=self._sampling.seed)
        same = now.goes_on_from(before)

        def distances(largest: Sequence[float]) -> list[float]:
            return [largest[g] if is_same and g < len(largest) else 0.0 for g, is_same in enumerate(same)]

        def carried(memory: dict[str, Any]) -> dict[str, Any]:
            return {**memory, "probe": now.carried(memory["probe"], before), "distance": distances(memory["distance"])}

        self._distance.largest = distances(self._distance.largest)
        return Regrouped(tuple(g for g, is_same in enumerate(same) if not is_same), carried)

    def _follow_names(self, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        """A stage whose weights were replaced owns those that have their names now."""
        named = dict(self._model.named_parameters())
        here = {*named.values(), *(p for params in groups for p in params)}

        def now(p: nn.Parameter) -> nn.Parameter:
            return p if p in here else named.get(self._names.get(p, ""), p)

        self.stages = tuple(dataclasses.replace(s, params=tuple(dict.fromkeys(map(now, s.params)))) for s in self.stages)
        self._names = {p: name for name, p in named.items()}


def _send(pending: _Pending) -> _Pending:
    """Begin the transfer to the host. On CUDA nothing waits for it: it is read one step later."""
    if not pending.groups.is_cuda:
        return pending
    device = pending.groups.device
    sent = {name: t for name in _SENT if (t := getattr(pending, name)) is not None}
    both = torch.cat([t.detach().to(device, torch.float64).reshape(-1) for t in sent.values()])  # one transfer costs what six do
    host = torch.empty(both.shape, dtype=both.dtype, device="cpu", pin_memory=True).copy_(both, non_blocking=True)
    ready = torch.cuda.Event()
    ready.record(torch.cuda.current_stream(device))
    parts = host.split([t.numel() for t in sent.values()])
    arrived = {name: part.view(t.shape) for (name, t), part in zip(sent.items(), parts, strict=True)}
    return pending._replace(**arrived, ready=ready)


_SENT = ("loss", "groups", "stages", "head", "norm_var", "skipped")


def _check_shapes(model: nn.Module) -> None:
    lazy = [name for name, p in model.named_parameters() if is_lazy(p)]
    if lazy:
        raise ValueError(
            f"{lazy[0]} ({len(lazy)} in all) has no shape yet, since a lazy module takes it from its first batch: "
            f"run one batch through the model before it is given here"
        )


def _check_hooks(stages: Sequence[Stage]) -> None:
    scripted = [stage.path or "the model" for stage in stages if isinstance(stage.module, torch.jit.ScriptModule)]
    if scripted:
        raise ValueError(
            f"{', '.join(scripted)} cannot be observed: a ScriptModule takes no hooks. Give the model as it was before "
            f"torch.jit.script, or name other stages, or watch its weights alone with sampling=Sampling(activations=0)"
        )


def _check_groups(model: nn.Module, groups: Sequence[Sequence[nn.Parameter]]) -> None:
    names = {p: name for name, p in model.named_parameters()}
    seen: dict[nn.Parameter, int] = {}
    for g, params in enumerate(groups):
        for p in params:
            if p in seen:
                raise ValueError(
                    f"parameter {names.get(p, '(not of the model)')} is in group {seen[p]} and in group {g} of the optimizer: "
                    f"give each parameter to one group"
                )
            seen[p] = g
    if not any(p in names for p in seen):
        raise ValueError(
            f"the optimizer holds {len(seen)} parameters, none of them the model's: "
            f"build it from model.parameters() of the model that is given here"
        )
