"""Capture and restore a training run, and a short ring of captures to go back to.

Memory: a snapshot holds the parameters that are trained, the model's buffers and the optimizer's state once; the ring holds at
most ``size`` of them, the first of which is the run's start. Time: one copy of those bytes per capture, at steps that grow further
apart. The start and the captures up to step 128 cost what they cost; a single process makes later ones no oftener than a share of
the run's time allows, by its clock. Several ranks look at no clock, since theirs would differ, and with them what a rollback
restores.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from adaptlr.act.budget import DEVICE_BYTES_PER_S, CaptureBudget
from adaptlr.act.optimizer import OptimizerPort, copy_tensors

_Owner = tuple[Callable[[], object | None], str]  # a weak reference, and a buffer's name within its module


class Stateful(Protocol):
    """What a GradScaler, or anything else that must go back with the run, offers."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> object: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """A run as it was before optimizer step ``step``.

    Within a process each tensor is known by what it is a copy of: a name may change during a run, as weights are pruned or a layer
    is wrapped. Where that is gone, or belongs to another process, it is known by its name.
    """

    step: int
    tensors: dict[str, Tensor]  # parameters that are trained, all buffers, by name; then the optimizer's others
    optimizer: Any
    extras: tuple[dict[str, Any], ...]  # states of GradScaler and the like
    memory: Any = None  # whatever the caller wants back with it
    owners: Mapping[str, _Owner] = field(default_factory=dict, repr=False)  # what each tensor is a copy of, by name
    model: Callable[[], nn.Module | None] = field(default=lambda: None, repr=False)

    @property
    def device_seconds(self) -> float:
        """About how long a GPU copies what it holds of this, the optimizer's part included; 0 where the host does the copying."""
        on_device = sum(t.numel() * t.element_size() for t in (*self.tensors.values(), *_within(self.optimizer)) if t.is_cuda)
        return on_device / DEVICE_BYTES_PER_S


def _within(value: Any) -> Iterator[Tensor]:
    """The tensors in nested containers."""
    if isinstance(value, nn.Parameter):  # whose state it is, not a copy
        return
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _within(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _within(part)


def pack(snapshot: Snapshot, optimizer: OptimizerPort) -> dict[str, Any]:
    """The snapshot as plain containers and tensors, to be saved."""
    model = snapshot.model()
    if model is not None:
        snapshot = _renamed(snapshot, _parts(model, optimizer))
    return {
        "step": snapshot.step,
        "tensors": snapshot.tensors,
        "optimizer": optimizer.pack(snapshot.optimizer),
        "extras": list(snapshot.extras),
        "memory": snapshot.memory,
    }


def unpack(packed: dict[str, Any], optimizer: OptimizerPort) -> Snapshot:
    """What :func:`pack` gave, for this optimizer's parameters."""
    return Snapshot(
        step=packed["step"],
        tensors=packed["tensors"],
        optimizer=optimizer.unpack(packed["optimizer"]),
        extras=tuple(packed["extras"]),
        memory=packed["memory"],
    )


def all_of(*given: Stateful | Sequence[Stateful] | None) -> tuple[Stateful, ...]:
    """Each thing that is to go back with the run, whether given alone or among others."""
    out: list[Stateful] = []
    for part in given:
        if isinstance(part, Sequence):
            out += part
        elif part is not None:
            out.append(part)
    return tuple(out)


class _Part(NamedTuple):
    """A tensor of a run, and what makes it the same one in another snapshot: a parameter is itself, a buffer is its place."""

    name: str
    tensor: Tensor
    holder: nn.Parameter | nn.Module
    slot: str = ""  # a buffer's name within its module

    @property
    def owner(self) -> _Owner:
        return weakref.ref(self.holder), self.slot


def _parts(model: nn.Module, optimizer: OptimizerPort) -> list[_Part]:
    """What a step may change, or who trains the net by hand, as the averaged teacher that it has within itself.

    Not weights that are frozen and in no group, where they are more than all others: below adapters they are most of the memory.
    """
    groups = optimizer.params()
    held = {p for params in groups for p in params}
    named = list(model.named_parameters())
    frozen = {p for _, p in named if not (p.requires_grad or p in held)}
    if sum(p.numel() for p in frozen) <= sum(p.numel() for _, p in named if p not in frozen):
        frozen = set()
    out = [_Part(name, p, p) for name, p in named if p not in frozen]
    places = {
        f"{path}.{slot}" if path else slot: (module, slot)
        for path, module in model.named_modules()
        for slot, _ in module._buffers.items()  # a ScriptModule's cannot be gone through otherwise
    }
    out += (_Part(name, t, *places.get(name, (model, name))) for name, t in model.named_buffers())
    own = set(model.parameters())
    for g, params in enumerate(groups):  # a loss with weights of its own, say
        out += (_Part(f"group {g}, parameter {i}", p, p) for i, p in enumerate(params) if p not in own)
    return out


def _found(snapshot: Snapshot, parts: Sequence[_Part]) -> dict[str, str]:
    """Under which name the snapshot has each of these, by the name that it has now; those of which it has no copy are left out."""

    def fits(part: _Part, name: str) -> bool:
        return name in snapshot.tensors and snapshot.tensors[name].shape == part.tensor.shape

    known = {(id(held), slot): name for name, (holder, slot) in snapshot.owners.items() if (held := holder()) is not None}
    found = {p.name: name for p in parts if fits(p, name := known.get((id(p.holder), p.slot), ""))}
    taken = set(found.values())
    return found | {p.name: p.name for p in parts if p.name not in found and p.name not in taken and fits(p, p.name)}


def _renamed(snapshot: Snapshot, parts: Sequence[_Part]) -> Snapshot:
    """The same by the names of now. What is no longer there keeps its name, unless another has it."""
    found = _found(snapshot, parts)
    gone = snapshot.tensors.keys() - set(found.values()) - {p.name for p in parts}
    names = {**{name: name for name in snapshot.tensors if name in gone}, **found}
    owners = {name: snapshot.owners[old] for name, old in names.items() if old in snapshot.owners}
    owners |= {p.name: p.owner for p in parts if p.name in found}
    return replace(snapshot, tensors={name: snapshot.tensors[old] for name, old in names.items()}, owners=owners)


def _thin(t: Tensor) -> Tensor:
    """``t`` without what an ``expand`` repeats, with which it cannot be written to: a view of the same memory."""
    if t.layout is not torch.strided or 0 not in t.stride():
        return t
    for dim, (size, stride) in enumerate(zip(t.shape, t.stride(), strict=True)):
        if stride == 0 and size > 1:
            t = t.narrow(dim, 0, 1)
    return t


def _copy(t: Tensor, device: torch.device | None) -> Tensor:
    """A copy that needs no more memory than ``t`` does."""
    thin = _thin(t)
    copied: Tensor = copy_tensors(thin, device)
    return copied if thin is t else copied.expand(t.shape)


def _write(saved: Tensor, part: _Part, model: nn.Module) -> Callable[[], object] | None:
    """What puts a tensor back: in place, or if that cannot be, in its place. None if it is a parameter, which no step can change
    then."""
    source, target = _thin(saved), _thin(part.tensor)
    repeats = all(n in (1, m) for n, m in zip(source.shape, target.shape, strict=True))
    if repeats and (not target.is_inference() or torch.is_inference_mode_enabled()):
        return lambda: target.copy_(source)
    if not part.slot:
        return None
    fresh = source.to(part.tensor, copy=True).expand(part.tensor.shape)
    places = [(m._buffers, slot) for m in model.modules() for slot, t in m._buffers.items() if t is part.tensor]

    def put() -> None:
        for buffers, slot in places:
            buffers[slot] = fresh

    return put


def capture(
    step: int,
    model: nn.Module,
    optimizer: OptimizerPort,
    extras: tuple[Stateful, ...] = (),
    *,
    memory: Any = None,
    device: torch.device | None = None,
) -> Snapshot:
    """Copy all that a step changes. Draws no random number and changes nothing. Shared tensors are copied once."""
    parts = _parts(model, optimizer)
    return Snapshot(
        step=step,
        tensors={p.name: _copy(p.tensor, device) for p in parts},
        optimizer=optimizer.capture(),
        extras=tuple(copy_tensors(e.state_dict()) for e in extras),
        memory=memory,
        owners={p.name: p.owner for p in parts},
        model=weakref.ref(model),
    )


def restore(snapshot: Snapshot, model: nn.Module, optimizer: OptimizerPort, extras: tuple[Stateful, ...] = ()) -> None:
    """Put a run back, in place: parameters keep their identity, so the optimizer and every reference go on working.

    Hyperparameters (learning rate, momentum) are left as the user's schedule has them. Tensors that the model has gained since
    are left alone. Whatever may raise comes before the first weight is written.
    """
    states = [(extra, copy_tensors(state)) for extra, state in zip(extras, snapshot.extras, strict=True)]
    with torch.no_grad():
        parts = _parts(model, optimizer)
        found = _found(snapshot, parts)
        writes = [_write(snapshot.tensors[found[p.name]], p, model) for p in parts if p.name in found]
        for extra, state in states:
            extra.load_state_dict(state)
        optimizer.restore(snapshot.optimizer)
        for write in writes:
            if write is not None:
                write()


class Ring:
    """At most ``size`` snapshots: the run's start, and the newest ones. A snapshot is certified by later, healthy steps.

    Args:
        size: snapshots held, at least 2.
        longest_gap: the schedule's steps between captures never exceed it.
        budget_frac: share of the run's time that captures may take, (0, 1]; past step 128, where the schedule would take more, gaps
            are longer. None looks at no clock: captures come as scheduled, at the same steps on every rank.

    Captures come every 8 steps at first, then whenever the run has become a quarter longer, and at last every ``longest_gap``: what
    a rollback takes away is a small share of what was done.
    """

    def __init__(self, *, size: int = 4, longest_gap: int = 200, budget_frac: float | None = None) -> None:
        if size < 2:
            raise ValueError(f"a ring holds at least 2 snapshots (the start and one more), got size={size}")
        if longest_gap < 1:
            raise ValueError(f"longest_gap must be at least 1 step, got {longest_gap}")
        self._size = size
        self._gap = longest_gap
        self._held: list[Snapshot] = []
        self._certified: set[int] = set()
        self._last = 0
        self._budget = None if budget_frac is None else CaptureBudget(budget_frac)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Snapshot]:
        return iter(self._held)

    def due(self, step: int, *, at_least_every: int | None = None) -> bool:
        """Is it time for a capture before optimizer step ``step``? To be asked once a step.

        ``at_least_every`` so many steps, if that is more often than it would be, no capture is put off for what it costs.
        """
        if self._budget is not None:
            self._budget.tick()
        if at_least_every is not None and step - self._last >= max(8, at_least_every):
            return True
        if self._held and step - self._last < min(self._gap, max(8, self._last // 4)):
            return False
        return not self._held or self._budget is None or self._budget.allows(step)

    def add(self, snapshot: Snapshot, *, seconds: float = 0.0) -> None:
        """Hold ``snapshot``, which took so long; the oldest but the start makes room, an uncertified one before a certified one."""
        if self._budget is not None:
            self._budget.captured(snapshot.step, max(seconds, snapshot.device_seconds))
        if len(self._held) >= self._size:
            middle = self._held[1:-1] or self._held[1:]
            self._held.remove(next((s for s in middle if s.step not in self._certified), middle[0]))
        # Those of another process know names alone, which are the names of now.
        self._held = [s if s.owners else replace(s, owners=snapshot.owners, model=snapshot.model) for s in self._held]
        self._held.append(snapshot)
        self._last = snapshot.step
        if len(self._held) == 1:
            self._certified.add(snapshot.step)

    def certify(self, first: int, last: int) -> None:
        """Snapshots taken from step ``first`` to step ``last`` were healthy, as later steps show."""
        self._certified |= {s.step for s in self._held if first <= s.step <= last}

    def certified(self, step: int) -> bool:
        return step in self._certified

    def complete(
        self,
        model: nn.Module,
        optimizer: OptimizerPort,
        device: torch.device | None = None,
        *,
        memory: Callable[[Any], Any] = lambda memory: memory,
    ) -> None:
        """Give what was not there at a capture to the snapshots as it is now: before the first step of a group added in mid-run, or
        of parameters that a group was given.

        Going back to any of them then puts those weights back as they were when they came. A parameter that has taken another's
        name and shape goes back to what that one was.

        Args:
            memory: what has to become of the caller's own.
        """
        parts = _parts(model, optimizer)
        copies: dict[str, Tensor] = {}
        for i, snapshot in enumerate(self._held):
            now = _renamed(snapshot, parts)
            for p in parts:
                if p.name not in now.tensors:
                    copies[p.name] = now.tensors[p.name] = copies[p.name] if p.name in copies else _copy(p.tensor, device)
            owners = {**now.owners, **{p.name: p.owner for p in parts}}
            self._held[i] = replace(now, memory=memory(now.memory), owners=owners, model=weakref.ref(model))

    def put(self, snapshots: Sequence[Snapshot], certified: Iterable[int], last: int) -> None:
        """Hold what another ring held, whose newest capture was of step ``last``."""
        self._held, self._certified, self._last = list(snapshots), set(certified), last

    @property
    def last(self) -> int:
        """The step of the newest capture, whether it is still held or not."""
        return self._last

    def take(self, step: int) -> Snapshot:
        """The snapshot of ``step``; all later ones are dropped, since their run no longer exists."""
        found = next((s for s in self._held if s.step == step), None)
        if found is None:
            raise ValueError(f"no snapshot of step {step} is held, only of steps {[s.step for s in self._held]}")
        self._held = self._held[: self._held.index(found) + 1]
        self._certified &= {s.step for s in self._held}
        return found
