"""How far a net will have gone when its run ends, at its present pace, and whether that is enough to learn anything. Pure.

A *way* is a sum of update ratios: the length of the path in units of the weights. It is free of the optimizer's and of the net's
scale. What it needs grows with the root of the number of steps, since the longer a run, the more of it is a random walk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from adaptlr.judge.history import GroupPast, History
from adaptlr.judge.outlook import BRIEF
from adaptlr.judge.replaced import thrown_far
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import GroupReading, Provenance, Reading

Moving = list[tuple[GroupReading, GroupPast]]
_SOON, _SURE = 8, 16  # steps after which a quarter of the needed way, and all of it, is asked for: momentum builds up meanwhile;
_QUARTER = 4  # in brief runs, all of it after a quarter of the run
HALF_DOWN = 0.5  # share of its peak below which a schedule has come down
LATE = 0.6  # share of a run of known length after which no net is called cold: what is left would not repay the risk
_LEAST = 24  # steps: in fewer no way is asked for; and in a brief run no share of it is a sign of anything
_IDLE_AGAIN = 0.8, 1 / 3  # shares of the loss at the start, and of the pace, as in the thresholds ``hardly_frac`` and ``idle_frac``
_BLIND = 48  # steps from which a run of unknown length is judged, as if it were half over


def come_down(moving: Moving, share: float) -> bool:
    """The schedule has: a group's learning rate is below this share of its peak so far."""
    return any(g.lr < share * p.peak_lr for g, p in moving)


def way_at_end(history: History, group: GroupReading, past: GroupPast, step: int) -> float:
    """The way that a group will have gone, in weights. A run of unknown length is taken to be half over.

    Steps that have just become larger, twice in a row, stay so: RAdam's first five are not yet adapted.
    """
    if not past.ratios:
        return 0.0
    ahead = history.ahead(group, step)
    ratio = max(past.ratio, min(past.ratios[-2:]))
    return past.progress_frac * (past.way + ratio * (ahead if ahead is not None else step + 1))


def short_way(history: History, reading: Reading, limits: Thresholds) -> float | None:
    """The longest way that any group will have gone, if that is too short; None if it is not, or if it is too early to tell.

    A pretrained net with a new head need not go that far, and one without need not go anywhere.

    Source: measured; 260 runs of twenty nets and tasks, 120 to 200 steps, under four optimizers; and an ImageNet ResNet-18. Brief
    ones: ``python -m experiments.brief``.
    """
    moving = [(g, p) for g, p in zip(reading.groups, history.groups, strict=True) if moves(g)]
    if not has_to_learn(history, [g for g, _ in moving], limits):
        return None
    if not history.median(5) >= limits.unlearned_frac * history.start_level:
        return None
    if min(p.age for _, p in moving) < _SOON or come_down(moving, HALF_DOWN):
        return None
    new = all(g.provenance is Provenance.RANDOM for g, _ in moving)
    judged = told_by(moving)
    way = max(way_at_end(history, g, p, reading.step) for g, p in judged)
    less = limits.less_way if len(judged) == len(moving) else limits.body_way
    judge = _of_known_length if history.outlook.total_steps is not None else _of_unknown_length
    asked = 1.0 if new else less * history.outlook.small_steps
    return way if math.isfinite(way) and judge(history, moving, way / asked, reading.step, limits) else None


def _of_known_length(history: History, moving: Moving, way: float, step: int, limits: Thresholds) -> bool:
    total = history.outlook.total_steps or 0
    if total < _LEAST:
        return False
    short = limits.short_way * math.sqrt(total)
    young = min(p.age for _, p in moving) < min(_SURE, max(_SOON, total // _QUARTER))
    if any(p.rising for _, p in moving):
        return history.outlook.peak_lrs is not None and way < short / (4 if young else 2)
    return way < short / 4 if young else way < short


def _of_unknown_length(history: History, moving: Moving, way: float, step: int, limits: Thresholds) -> bool:
    if step < _BLIND or any(p.rising or p.age < _SURE for _, p in moving):
        return False
    return way < 0.5 * limits.short_way * math.sqrt(2 * (step + 1))


def well_on(history: History, step: int, frac: float) -> bool:
    """So large a share of the run is over, and it is not too late to learn. One of unknown length is taken to be half over.

    Source: 360 runs of 38 columns, told nothing: where the length counted as unknown until the end, 14 of them recovered 0.46 less
    in the mean, and none more.
    """
    total = history.outlook.total_steps
    if total is None:
        return step >= BRIEF
    return total >= BRIEF and frac * total <= step < LATE * total


def slack(history: History, reading: Reading, limits: Thresholds) -> bool:
    """A learning rate of ours under which noise takes back most of every step, and what is left is well below the pace."""
    moving = [(g, p) for g, p in zip(reading.groups, history.groups, strict=True) if moves(g)]
    early = reading.step < (history.outlook.total_steps or 0) / 3
    if not early or not moving or min(p.age for _, p in moving) < limits.search_steps or any(p.rising for _, p in moving):
        return False
    return all(
        p.progress_frac < limits.jagged_frac and p.ratio * p.progress_frac < limits.slack_frac * history.pace_now(g, reading)
        for g, p in moving
    )


def idle(history: History, reading: Reading, moving: Moving, limits: Thresholds, *, helped: bool = False) -> bool:
    """A random net has learned nothing to speak of in a good part of the run, however it walks, in steps well below the pace.

    Where batches differ by so much that it could have, unseen, nothing is said; nor of weights that large steps have thrown far.
    Where the learning rate is ours (``helped``) it was chosen for steps at the pace, and these have become far smaller.

    Source: 447 recorded runs of 72 nets; of 39 such, three trained well. Helped ones: 160 runs of 40 columns of the gauntlet, of
    which six go otherwise: three of a table of embeddings recover 0.3 more, three of a transformer that hardly learns 0.06 less.
    """
    if any(p.rising or g.provenance is not Provenance.RANDOM for g, p in moving):
        return False
    if not well_on(history, history.age - 1, limits.soon_frac):  # since the last rollback
        return False
    if thrown_far(history, reading, limits):
        return False
    level, frac = _IDLE_AGAIN if helped else (limits.hardly_frac, limits.idle_frac)
    if not history.median(8) >= level * history.start_level or history.doubt(5, 8) > 1 - level:
        return False
    return all(p.ratio < frac * history.pace_now(g, reading) for g, p in moving)


def has_to_learn(history: History, moving: Sequence[GroupReading], limits: Thresholds) -> bool:
    """A random net, or a pretrained one with a new head.

    What looks like a new head may be an old one: it has little loss left, which differs from batch to batch by much of itself.
    """
    if not any(g.provenance.begins for g in moving):
        return False
    new = all(g.provenance is Provenance.RANDOM for g in moving)
    return new or (history.most_noise < limits.new_noise and history.noise < limits.new_noise * history.median(5))


def told_by(moving: Moving) -> Moving:
    """The groups whose steps tell whether a net gets anywhere: those that have learned something, where all have one learning rate.

    A new head beside them goes further by itself, and hides that they hardly move.
    """
    body = [(g, p) for g, p in moving if g.provenance.has_learned]
    return body if body and len({g.effective_lr for g, _ in moving}) == 1 else moving


def moves(group: GroupReading) -> bool:
    """Its weights are trained, and can be measured."""
    return not group.frozen and group.update_ratio is not None and group.lr > 0
