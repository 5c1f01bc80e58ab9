"""What the policy may do, what it remembers, and the ceilings by which it holds a learning rate. Pure.

A *ceiling* bounds a group's update ratio: before each step, the scale is lowered so that the step about to be taken stays under it.
It is free of the optimizer's and the net's scale, follows a schedule that still ramps up, and leaves the shape of one that anneals.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from adaptlr.judge.history import History
from adaptlr.ranges import Least, Over, Share, check, default, explained
from adaptlr.records import Finding, GroupReading, Kind, Reading

WORTH_IT = 1.2  # no learning rate is changed by less
LOOSEST = 0.05  # update ratio: the top of what trained well
WARMUP_STEP = 1.05  # after a rollback, a scale may grow by so much a step,
LEAST_PROGRESS = 0.5  # no ceiling is loosened for less
WARMUP_LEAST = 5.0  # by so much in all,
WARMUP_MOST = 10.0  # and by so much where the schedule had ramped up before the run broke


@explained
@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the controller may do. The defaults are one set for every net.

    Raises:
        TypeError: a setting is no number, or no whole one where it counts something; the message quotes the value.
        ValueError: a setting is outside its range; likewise.
    """

    ceiling: Annotated[float | None, Over(0, upto=1)] = default(
        None,
        "update ratio that a group which was too hot is held under; None: what suits the run's length, at most 0.01 if that is "
        "unknown",
    )
    side_ceiling: Share = default(
        LOOSEST, "update ratio that the other groups of such a run are held under: the top of what trained well"
    )
    slow_retreat: Annotated[float, Least(1.5, upto=1000)] = default(
        10.0, "what a learning rate whose damage began below what it is now is divided by"
    )
    anneal_frac: Annotated[float, Least(0, upto=0.99)] = default(
        0.25,
        "share of the run at its end in which a learning rate of ours comes down, if the schedule's does not and the length is "
        "known; 0: it does not come down",
    )
    retreat: Annotated[float, Least(1.5, upto=100)] = default(
        3.0, "what a rollback divides the learning rate that broke the run by, and each further one the ceilings as well"
    )
    raise_frac: Share = default(1.0, "share of its pace that a net which was too cold is raised to")
    search_times: Annotated[float, Least(1, upto=100)] = default(
        3.0, "multiples of its pace that a net which walks straight on may be raised to"
    )
    raise_again: Annotated[float, Over(1, upto=100)] = default(
        3.0, "factor by which a net which walks straight on is raised at least"
    )
    early_steps: Annotated[int, Least(0, upto=10**9)] = default(
        200, "step before which what broke slowly starts over from the beginning: snapshots may hold the damage"
    )
    max_rollbacks: Annotated[int, Least(0, upto=1000)] = default(
        8,
        "rollbacks in one run (after bad batches: in a row), after which it is said that they did not help, and the run is left "
        "alone; 0: none",
    )
    max_raises: Annotated[int, Least(0, upto=1000)] = default(
        8,
        "raises in one run, of starved groups and of nets that are too cold, after which there are no more; 0: none",
    )
    quiet_steps: Annotated[int, Least(1, upto=10**9)] = default(
        50,
        "steps that a finding has to be away for before it is said again, then twice as many, and so on; within so many steps of "
        "a bad batch a second one is taken for the data's scale, and of an acquittal no other is considered",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupControl:
    """How one group's learning rate is held."""

    scale: float = 1.0
    ceiling: float | None = None  # update ratio; None: no ceiling
    max_lr: float | None = None  # effective learning rate; None: no limit
    broke_lr: float | None = None  # what that may be raised to again, if a search finds that the cut went too far
    per_lr: float | None = None  # newest update ratio over effective lr
    first_per_lr: float | None = None  # the same of the run's first step, to start again from
    first_lr: float | None = None  # scheduled lr of that step
    warmup: float = 1.0  # factor by which the scale may still grow, a little each step, below the ceilings
    tail: float = 1.0  # factor that brings a learning rate of ours down at the end of the run
    progress: float = 1.0  # share of a step that gets anywhere, [0.5, 1], once that is known
    follows: bool = False  # holds nothing but norms and biases, which no ratio can be taken of: goes with the others


@dataclass(frozen=True, kw_only=True, slots=True)
class Suspicion:
    """The loss that a rollback held against the learning rate. If no lower on the weights put back, that is not to blame."""

    level: float  # the loss where the run was put back to
    loss: float  # and what it had risen to since
    groups: tuple[GroupControl, ...]  # as they were held before
    at_start: bool = False  # the run was put back to its start


@dataclass(frozen=True, kw_only=True, slots=True)
class Slowed:
    """A run that a doubtful verdict has slowed down where it is. It is rolled back if the loss does not come down by that."""

    finding: Finding
    until: int  # the step on which that is looked at
    loss: float  # what it is compared with
    groups: tuple[GroupControl, ...]  # as they were held before


@dataclass(frozen=True, kw_only=True, slots=True)
class Raise:
    """The newest raise since the last rollback. If the run breaks after it, that was too much."""

    step: int
    groups: tuple[GroupControl, ...]  # as they were held before


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """How often findings of a kind were told, and when one was made last, told or not."""

    kind: Kind
    times: int
    step: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Control:
    """The policy's memory. It survives every rollback."""

    groups: tuple[GroupControl, ...] = ()
    rollbacks: int = 0
    raises: int = 0
    acted: bool = False
    stopped: bool = False
    said: tuple[Said, ...] = ()  # of each kind that was found
    last_poison: int | None = None  # the step that a bad batch ruined, last
    poisons: int = 0  # and how many there were in the run,
    poison_every: int | None = None  # and how many steps lay between the last two, or before the first
    put_back: int = 0  # and how many of them came in a row, with no other batch between
    acquitted: int | None = None  # the step on which a learning rate was, last: none is again within ``quiet_steps``
    suspicion: Suspicion | None = None  # of the newest rollback, until the losses after it have decided
    raised: Raise | None = None
    slowed: Slowed | None = None
    slowed_once: bool = False  # a run is, once: no second time

    @property
    def scales(self) -> tuple[float, ...]:
        return tuple(g.scale * g.tail for g in self.groups)


@dataclass(frozen=True, kw_only=True, slots=True)
class Refuge:
    """A snapshot that could be restored: the step it was taken before, and whether the steps after it were healthy."""

    step: int
    certified: bool
    per_lr: tuple[float | None, ...] = ()  # each group's update ratio over effective lr at that time
    level: float = math.nan  # the loss at that time


def newest_healthy(refuges: tuple[Refuge, ...]) -> Refuge:
    """As far as that is known; the run's start, if nothing is."""
    return next((r for r in reversed(refuges) if r.certified), refuges[0])


def hold_under(group: GroupControl, lr: float) -> GroupControl:
    """The group with its scale lowered, if need be, so that a step at scheduled ``lr`` stays under its ceilings.

    The scale rises only by what is left of a warm-up that the ruined run has used up.
    """
    if lr <= 0:
        return group
    growth = min(WARMUP_STEP, group.warmup) if group.ceiling is not None else 1.0  # to a ceiling, and never without one
    scale = group.scale * growth
    if group.max_lr is not None:
        scale = min(scale, group.max_lr / lr)
    if group.ceiling is not None and group.per_lr is not None and group.per_lr > 0:
        scale = min(scale, loosened(group.ceiling, group.progress) / (group.per_lr * lr))
    if growth == 1.0 and scale == group.scale:  # as on most steps: making another costs more than all of this
        return group
    return dataclasses.replace(group, scale=scale, warmup=group.warmup / growth)


def loosened(ceiling: float, progress: float) -> float:
    """What a ceiling comes to for a group of which only a share ``progress`` of a step gets anywhere: no momentum adds steps up.

    Noise then adds up less, too, by the same factor, hence the square.
    """
    return max(ceiling, min(ceiling / progress**2, LOOSEST))


def hold_all(groups: tuple[GroupControl, ...], lrs: Sequence[float]) -> tuple[GroupControl, ...]:
    """Every group held under its ceilings for a step at these scheduled learning rates; followers take the lowest scale so held."""
    held = [hold_under(g, lr) for g, lr in zip(groups, lrs, strict=True)]
    lowest = min((g.scale for g in held if g.ceiling is not None and not g.follows), default=None)
    if lowest is None:
        return tuple(held)
    return tuple(dataclasses.replace(g, scale=lowest) if g.follows else g for g in held)


def with_followers(groups: tuple[GroupControl, ...], reading: Reading) -> tuple[GroupControl, ...]:
    """Groups of which no update ratio is known (norms and biases only) go with those that are held."""
    marked = tuple(dataclasses.replace(g, follows=now.update_ratio is None) for g, now in zip(groups, reading.groups, strict=True))
    return hold_all(marked, [0.0] * len(marked))


def pace_of(settings: Settings, history: History, reading: Reading, group: GroupReading) -> float:
    """The update ratio that a group is held under: as set, or what the length of the run asks for."""
    return settings.ceiling if settings.ceiling is not None else history.pace(group, reading)


def annealed(
    settings: Settings, groups: tuple[GroupControl, ...], history: History, step: int, lrs: Sequence[float]
) -> tuple[GroupControl, ...]:
    """Learning rates of ours come down over the last part of a run of known length, where the schedule leaves that to us."""
    out = []
    for i, (g, lr) in enumerate(zip(groups, lrs, strict=True)):
        ours = g.scale != 1.0 or g.ceiling is not None
        seen = history.groups[i].peak_lr if i < len(history.groups) else lr
        tail = history.outlook.tail(i, step, lr=lr, seen=seen, frac=settings.anneal_frac) if ours else 1.0
        out.append(g if tail == g.tail else dataclasses.replace(g, tail=tail))
    return tuple(out)


def widened(control: Control, lrs: Sequence[float]) -> Control:
    """The control of an optimizer that has been given more groups; ``lrs`` are the scheduled ones of all. New scales are 1."""
    new = tuple(GroupControl() for _ in range(len(lrs) - len(control.groups)))
    suspicion, raised, slowed = control.suspicion, control.raised, control.slowed
    return dataclasses.replace(
        control,
        groups=(*control.groups, *new),
        suspicion=suspicion and dataclasses.replace(suspicion, groups=(*suspicion.groups, *new)),
        raised=raised and dataclasses.replace(raised, groups=(*raised.groups, *new)),
        slowed=slowed and dataclasses.replace(slowed, groups=(*slowed.groups, *new)),
    )


def _looser_by(group: GroupControl, progress: float) -> float:
    """By what factor a group's ceiling is looser now that so much of its steps gets anywhere: its scale may grow by as much."""
    if group.ceiling is None or progress == group.progress:
        return 1.0
    return max(1.0, loosened(group.ceiling, progress) / loosened(group.ceiling, group.progress))


def measured(settings: Settings, control: Control, history: History, reading: Reading) -> Control:
    """The control after a step's update ratios were seen."""
    groups = control.groups + tuple(GroupControl() for _ in range(len(reading.groups) - len(control.groups)))
    out = []
    for i, (group, now) in enumerate(zip(groups, reading.groups, strict=False)):
        ratio, lr = now.update_ratio, now.effective_lr
        if ratio is None or not math.isfinite(ratio) or lr <= 0 or now.frozen:
            out.append(group)
            continue
        progress = group.progress
        if settings.ceiling is None and i < len(history.groups):
            progress = max(history.groups[i].progress_frac, LEAST_PROGRESS)
        first = group.first_per_lr if group.first_per_lr is not None else ratio / lr
        first_lr = group.first_lr if group.first_lr is not None else now.lr
        out.append(
            GroupControl(  # written out: dataclasses.replace takes several times as long, and this is done at every step
                scale=group.scale,
                ceiling=group.ceiling,
                max_lr=group.max_lr,
                broke_lr=group.broke_lr,
                per_lr=ratio / lr,
                first_per_lr=first,
                first_lr=first_lr,
                warmup=group.warmup * _looser_by(group, progress),
                tail=group.tail,
                progress=progress,
            )
        )
    return dataclasses.replace(control, groups=tuple(out))
