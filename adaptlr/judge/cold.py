"""Rules for a net that is too cold as a whole, and for weight decay that does the work of the gradient. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple

from adaptlr.judge.history import History
from adaptlr.judge.pace import HALF_DOWN, LATE, Moving, come_down, has_to_learn, idle, moves, short_way, slack, told_by, well_on
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.verdict import also, finding, said
from adaptlr.judge.words import group_name, number, sentence_groups
from adaptlr.records import Finding, Kind, Provenance, Reading, Trait

_LOWER = 0.2  # share by which the loss of a net that is too cold may have been lower than it is,
_LUCKY = 1.5  # or so many times the doubt about two medians, for one of them is the lowest of many
_BRISK = 0.75  # share of the loss of some steps ago, below which it falls as fast as anybody could wish
_DOWN = 0.2  # share of its peak below which the schedule of a run of known length has come down
_LARGE_LOSS = 10.0  # a squared error of more is of targets that are not normalised
_GUESSED = 1.3  # share of what guessing costs, up to which the loss of a net that has learned nothing is


def too_cold(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Every group moves too little for the net to be trained in a sensible time, and the schedule is not about to change that.

    The sign is free of scale: the length of the path so far over the distance that the gradients vouch for. While a net walks a
    straight line it mostly stays below 7 under any optimizer and schedule; at a good learning rate it climbs far above. Under
    BatchNorm noise may bend it at any learning rate: there cold nets may be missed.
    Updates that are less small are accused only if the loss has as good as not changed, or if the learning rate is no longer the
    user's own: then the search for it goes on. A warm-up that still rises is left alone unless nothing moves at all; an annealed
    tail always; and a run that goes on from an earlier one unless its gradients point the same way, step after step, or unless that
    one had to be raised from there.

    Source: D-Adaptation's estimate (Defazio & Mishchenko 2023), measured as a sign.
    """
    moving = [(g, p) for g, p in zip(reading.groups, history.groups, strict=True) if moves(g)]
    if not moving or min(p.age for _, p in moving) < limits.cold_steps // 2:
        return None
    if not history.settled or not all(p.known for _, p in moving):
        return None
    known = history.known_cold(g for g, _ in moving) is not None
    if history.outlook.continued and not known and not _looks_unlearned(history, moving, limits):
        return None
    found = _too_cold(history, reading, moving, limits) or (_again(history, reading, moving, limits) if known else None)
    if found is None or not has_to_learn(history, [g for g, _ in moving], limits):
        return found
    return also(found, Trait.TO_LEARN)


def _too_cold(history: History, reading: Reading, moving: Moving, limits: Thresholds) -> Finding | None:
    helped = any(g.scale != 1.0 for g, _ in moving)
    search = _search(history, reading, moving, limits, helped=helped)
    if (way := short_way(history, reading, limits)) is not None:
        return _will_not_get_far(history, reading, moving, way)
    if not helped and (slow := _dawdling(history, reading, moving, limits)) is not None:
        return slow
    if history.median(5) < (limits.found_frac if helped else limits.learned_frac) * history.start_level:
        return None
    if not helped and _has_been_lower(history):
        return None
    if _over(history, reading, moving):
        return None
    return _too_far(history, reading, moving, limits) or _too_straight(history, reading, moving, limits, search)


def _dawdling(history: History, reading: Reading, moving: Moving, limits: Thresholds) -> Finding | None:
    """A net from random weights walks in a straight line, well below its pace, where a good part of its run is over: whatever it
    learns, it would in larger steps too.

    Source: 86 columns of the gauntlet's draws at a tenth, a third and once their best learning rate. Of 258 runs 22 end better by
    0.02 to 0.13 of the best one's result, and three worse, by 0.02, 0.04 and 0.28. And twenty tasks that were made to break it: at
    learning rates three to ten times too low seven recover .63 to .95 without it, and .91 to 1.00 with it. At learning rates that
    people start from, 11 more of 70 runs are raised for it, and all 11 end better (``python -m experiments.everyday``).
    """
    known = history.outlook.total_steps is not None
    if not known or not well_on(history, reading.step, limits.soon_frac) or _over(history, reading, moving):
        return None
    if history.median(5) < limits.found_frac * history.start_level or history.falling(limits.search_steps, _BRISK):
        return None
    if any(p.rising or g.provenance is not Provenance.RANDOM for g, p in moving):
        return None
    still, pace = _pace_of(moving), min(history.pace_now(g, reading) for g, _ in moving)
    walks = [p.walk / math.sqrt(p.age) for _, p in moving if p.walk is not None]
    if not still < limits.idle_frac * pace or not walks or max(walks) > limits.late_walk:
        return None
    text = (
        f"too cold: no group moves more than {number(still)} of its weight a step, where {number(pace)} would be usual for a run "
        f"of this length, and the walk so far is a straight line"
    )
    return _cold(reading, moving, text, traits=(Trait.STRAIGHT,), update_ratio=still, pace=pace)


def _over(history: History, reading: Reading, moving: Moving) -> bool:
    """The schedule has come down, or there is too little left of the run.

    Where the length is known, that tells: one that decays all along is below half its peak after a quarter of the run.

    Source: a multi-label net under RMSprop, its learning rate 0.99 times as large each step, at 1e-4: .70 and .71 of the best one's
    result where half the peak was the end, .96 and 1.02 with a fifth.
    """
    total = history.outlook.total_steps
    if total is not None and reading.step >= LATE * total:
        return True
    return come_down(moving, HALF_DOWN if total is None else _DOWN)


def _again(history: History, reading: Reading, moving: Moving, limits: Thresholds) -> Finding | None:
    """The fit before had to be raised from no lower a learning rate, and steps are well below the pace. How straight the walk is,
    and what the loss does, need not say it a second time."""
    if any(g.scale != 1.0 for g, _ in moving) or come_down(moving, HALF_DOWN) or _over(history, reading, moving):
        return None
    still, pace = _pace_of(moving), min(history.pace_now(g, reading) for g, _ in moving)
    if not still < limits.again_frac * pace:
        return None
    text = f"too cold: no group moves more than {number(still)} of its weight a step, where {number(pace)} would be usual"
    return _cold(reading, moving, text, update_ratio=still, pace=pace)


def _has_been_lower(history: History) -> bool:
    """The loss was lower, by more than batches differ, and small steps have not raised it. Where a net learns from its own answers,
    as values do from values, or plays against another, that is how it goes on."""
    by = max(_LOWER, _LUCKY * history.doubt(3, 5))
    return history.best < history.median(5) * (1 - by)


def _looks_unlearned(history: History, moving: Moving, limits: Thresholds) -> bool:
    """Weights look random, the loss hardly differs from batch to batch, and either it is what guessing costs, or gradients point
    the same way, step after step.

    It is asked of runs that go on from an earlier one. That weights look random is not enough: those of a small net without
    normalisation hardly move for what it learns.

    Source: measured; five nets, three optimizers, learning rates from 1e-6 to 1e-3, after 300 steps of batches of 64. What guessing
    costs: seven nets at 1e-6, 1e-5 and 1e-4, in a second fit after one that was not watched, recover 0.88 with it and 0.34 without.
    """
    if any(g.provenance.has_learned for g, _ in moving) or history.most_noise > limits.new_noise:
        return False
    return _is_of_guessing(history, history.median(8)) or all(p.agreement >= limits.goes_on_cosine for _, p in moving)


def _is_of_guessing(history: History, loss: float) -> bool:
    """A loss is that of answers that know nothing of their inputs."""
    guess = history.outlook.guess
    return guess is not None and history.no_better_than_guessing(loss) and loss <= _GUESSED * guess


class _Search(NamedTuple):
    """What a straight line is taken to be where a learning rate that suits is looked for, though steps are not that small."""

    helped: bool  # the learning rate is ours
    least: float  # path over vouched distance that is straight in any case
    walk: float  # and that over the root of the steps
    falling: float  # share of the loss of some steps ago below which it falls


def _search(history: History, reading: Reading, moving: Moving, limits: Thresholds, *, helped: bool) -> _Search | None:
    """The earlier in a run, the straighter has the line to be, and the less may the loss fall; None: steps have to be small.

    So they have, too, where they are as large as a run of unknown length asks for.
    """
    if helped:
        return _Search(helped, limits.cold_walk, limits.search_walk, limits.falling_frac)
    unknown = history.outlook.total_steps is None
    if unknown and _pace_of(moving) >= min(history.pace_now(g, reading) for g, _ in moving):
        return None
    if well_on(history, reading.step, limits.late_frac):
        return _Search(helped, limits.cold_walk, limits.late_walk, limits.falling_frac)
    if well_on(history, reading.step, limits.soon_frac) and _pace_of(moving) >= _bar(history, limits, None):
        return _Search(helped, 0.0, limits.soon_walk, limits.hardly_frac)
    return None


def _too_straight(history: History, reading: Reading, moving: Moving, limits: Thresholds, search: _Search | None) -> Finding | None:
    """The whole net, or groups of which the learning rate is ours, walk in a straight line, while the loss does not fall."""
    still, bar = _pace_of(moving), _bar(history, limits, search)
    helped = search is not None and search.helped
    if helped and still < bar and slack(history, reading, limits):
        return _takes_back(reading, moving, still)
    if idle(history, reading, moving, limits, helped=helped):
        return _learns_nothing(history, reading, moving, helped=helped)
    if helped and (aligned := _aligned(moving, bar, limits)):
        return _the_same_way(reading, aligned)
    if search is not None and history.falling(limits.search_steps, search.falling):
        return None
    if _walks(moving, bar, limits, search):
        return _straight_on(reading, moving, helped=helped)
    ours = [(g, p) for g, p in moving if g.scale != 1.0 and _walks([(g, p)], bar, limits, search)]
    return _straight_on(reading, ours, helped=True) if ours else None


def _learns_nothing(history: History, reading: Reading, moving: Moving, *, helped: bool) -> Finding:
    still, pace = _pace_of(moving), min(history.pace_now(g, reading) for g, _ in moving)
    run = "a run of this length" if history.outlook.total_steps is not None else "a run that is half over, its length being unknown"
    text = (
        f"{_too_cold_again(helped)}: no group moves more than {number(still)} of its weight a step, where {number(pace)} would be "
        f"usual for {run}, and the loss has hardly come down"
    )
    return _cold(reading, moving, text, update_ratio=still, pace=pace)


def _too_cold_again(helped: bool) -> str:
    return "still too cold" if helped else "too cold"


def _pace_of(moving: Moving) -> float:
    return max(p.ratio for _, p in moving)


def _walks(moving: Moving, bar: float, limits: Thresholds, search: _Search | None) -> bool:
    """These groups walk in a straight line, in steps that are small."""
    still = _pace_of(moving)
    if not still < bar:
        return False
    return still < limits.frozen_ratio or _straight(moving, still, limits, search)


def _straight_on(reading: Reading, moving: Moving, *, helped: bool) -> Finding:
    walk = max((p.walk for _, p in moving if p.walk is not None), default=0.0)
    return _hardly_moves(reading, moving, "the walk so far is a straight line", helped=helped, walk=walk)


def _aligned(moving: Moving, bar: float, limits: Thresholds) -> Moving:
    """Groups whose gradients have pointed the same way for long, in steps that are small, on learning rates of ours.

    Either all groups, or, of a net that was raised as a whole, those that are not ahead of the others.
    """
    found = [(g, p) for g, p in moving if g.scale != 1.0 and p.aligned >= limits.aligned_steps and not p.rising and p.ratio < bar]
    if len(found) == len(moving):
        return found
    if not all(g.scale > 1.0 for g, _ in moving):
        return []
    ahead = max(g.effective_lr for g, p in moving if (g, p) not in found)
    return [(g, p) for g, p in found if g.effective_lr <= ahead]


def _too_far(history: History, reading: Reading, moving: Moving, limits: Thresholds) -> Finding | None:
    """Batches agree so well on where to go, and so little has come of it, that the net is far from there, at any pace.

    So it is where targets are far from zero. Not of a loss that began at what guessing costs: then all batches ask for the same at
    first, which is how frequent each answer is.

    Source: nine regressions on targets as they are, up to 300,000, two seeds each, Adam and SGD at learning rates from 1e-6 to 100:
    0.81 of the best fixed one's result over the mean, where 0.70 without this rule and what excuses such nets in judge.stalled, and
    0.28 by themselves.
    """
    still, level = _pace_of(moving), history.median(5)
    if not level >= limits.unchanged_frac * history.start_level or not still < limits.far_ratio:
        return None
    if _is_of_guessing(history, history.start_level):
        return None
    if any(p.rising or g.provenance is not Provenance.RANDOM for g, p in moving):
        return None
    if any(p.aligned < (limits.far_steps if g.scale == 1.0 else limits.aligned_steps) for g, p in moving):
        return None
    steps = min(p.aligned for _, p in moving)
    advice = ", as where targets are far from 0: normalise them, if so" if history.start_level > _LARGE_LOSS else ""
    text = (
        f"too cold: every batch has asked for the same for {steps} steps, of {number(still)} of the weights, and the loss, "
        f"{said(history, level)}, has hardly come down{advice}"
    )
    return _cold(reading, moving, text, traits=(Trait.STRAIGHT, Trait.FAR), update_ratio=still, aligned=float(steps))


def _the_same_way(reading: Reading, moving: Moving) -> Finding:
    steps = min(p.aligned for _, p in moving)
    sign = f"the gradient has pointed the same way for {steps} steps"
    return _hardly_moves(reading, moving, sign, helped=True, aligned=float(steps))


def _hardly_moves(reading: Reading, moving: Moving, sign: str, *, helped: bool, **evidence: float) -> Finding:
    still = _pace_of(moving)
    subject = "it moves no" if len(moving) == 1 < len(reading.groups) else "no group moves"
    text = f"{_too_cold_again(helped)}: {subject} more than {number(still)} of its weight a step, and {sign}"
    return _cold(reading, moving, text, traits=(Trait.STRAIGHT,), update_ratio=still, **evidence)


def _will_not_get_far(history: History, reading: Reading, moving: Moving, way: float) -> Finding:
    judged = told_by(moving)
    still = _pace_of(judged)
    end = "when the run ends" if history.outlook.total_steps is not None else "after twice as many steps as now"
    who = "no group" if len(judged) == len(moving) else "no group but the new head"
    text = (
        f"too cold: at this pace, {number(still)} of the weights a step, {who} will have gone further than {number(way)} times its "
        f"weights {end}"
    )
    return _cold(reading, moving, text, update_ratio=still, way=way)


def _takes_back(reading: Reading, moving: Moving, still: float) -> Finding:
    progress = max(p.progress_frac for _, p in moving)
    text = (
        f"still too cold: no group moves more than {number(still)} of its weight a step, and the next steps take back all but "
        f"{number(progress)} of that"
    )
    return _cold(reading, moving, text, update_ratio=still, progress=progress)


def _cold(reading: Reading, moving: Moving, text: str, *, traits: tuple[Trait, ...] = (), **evidence: float) -> Finding:
    groups = tuple(g.index for g, _ in moving)
    every = tuple(s for g in reading.groups for s in g.stages)
    text = f"{sentence_groups(reading, groups)} {text}"
    return finding(Kind.TOO_COLD, reading, groups, text, stages=every, traits=traits, **evidence)


def _bar(history: History, limits: Thresholds, search: _Search | None) -> float:
    """The update ratio below which a net may be called cold."""
    if search is not None:
        return limits.search_ratio
    unchanged = history.median(5) >= limits.unchanged_frac * history.start_level
    return limits.slow_ratio if unchanged else limits.cold_ratio


def _straight(moving: Moving, still: float, limits: Thresholds, search: _Search | None) -> bool:
    """The net has walked in a straight line for long enough to tell, and not on a schedule that rises.

    The smaller the steps, the less straight the walk need look: noise bends it, and a healthy net's steps are not small. So it is
    the longer the walk is: what is random in it grows with the root of the steps.
    """
    walks = [p.walk for _, p in moving if p.walk is not None]
    age = min(p.age for _, p in moving)
    helped = search is not None and search.helped
    if any(p.rising for _, p in moving) or not walks or age < (limits.search_steps if helped else limits.cold_steps):
        return False
    least = limits.cold_walk if search is None else search.least
    straight = least * min(3.0, max(1.0, math.sqrt(limits.cold_ratio / still)))
    if search is not None:
        straight = max(straight, search.walk * math.sqrt(age))
    return max(walks) <= straight


def decay_dominated(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """lr x weight decay shrinks the weights by more than the gradient moves them: 0.99 a step at lr=1 and decay 0.01.

    A warning: the cure is the lower learning rate that "too hot" asks for, or less decay. Source: the seed's conv1 curves.
    """
    out = []
    for g, past in zip(reading.groups, history.groups, strict=True):
        if g.frozen or g.update_ratio is None or past.age < 2:
            continue
        if g.lr_weight_decay >= limits.decay_per_step and g.lr_weight_decay >= limits.decay_share * g.update_ratio:
            out.append(g.index)
    if not out:
        return None
    g = max((reading.groups[i] for i in out), key=lambda r: r.lr_weight_decay)
    text = (
        f"weight decay does the work of the gradient in {', '.join(group_name(reading, i) for i in out)}: "
        f"lr x weight decay takes {number(g.lr_weight_decay)} of every weight away each step, "
        f"the whole update is {number(g.update_ratio or 0)}"
    )
    evidence = {"lr_weight_decay": g.lr_weight_decay, "update_ratio": g.update_ratio or 0.0}
    return finding(Kind.DECAY_DOMINATED, reading, tuple(out), text, **evidence)
