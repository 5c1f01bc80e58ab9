"""Groups of random weights that stand still beside one that moves: a discriminative learning rate on an untrained net. Pure.

Weights decide what is allowed: ``slice(1e-6, 1e-2)`` is right for a pretrained net and ruinous for a random one.
"""

from __future__ import annotations

import dataclasses
import math

from adaptlr.judge.history import History
from adaptlr.judge.pace import moves, way_at_end
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.verdict import finding
from adaptlr.judge.words import group_name, number
from adaptlr.records import Finding, GroupReading, Kind, Provenance, Reading

_EVER_MOVED = 20  # times the ratio of a starved group: one that has moved by so much is not, its gradient has gone


def starved_now(history: History, reading: Reading, limits: Thresholds) -> tuple[int, ...]:
    """Groups that hardly move in this step, nor did before, while another does, at a lower learning rate, from random weights.

    One that moved at first and has come to a stand is no matter of its learning rate: another group has ruined the net, or the net
    has learned.
    """
    moving = [g for g in reading.groups if moves(g)]
    if len(moving) < 2:
        return ()
    out = []
    for g in moving:
        others = [o for o in moving if o.index != g.index and o.effective_lr > g.effective_lr]
        if not others or g.provenance is not Provenance.RANDOM or g.update_ratio is None:
            continue
        best = max(others, key=lambda o: o.effective_lr)
        ratios = [o.update_ratio for o in others if o.update_ratio is not None]
        if (
            _far_below(g, best.effective_lr, limits)
            and g.update_ratio < limits.starved_share * 5 * max(ratios)
            and g.update_ratio < 10 * limits.starved_ratio
            and history.groups[g.index].largest < _EVER_MOVED * limits.starved_ratio
        ):
            out.append(g.index)
    return tuple(i for i in out if _gets_nowhere(history, reading, i, limits))


def _far_below(group: GroupReading, best_lr: float, limits: Thresholds) -> bool:
    return group.effective_lr <= 2 * limits.starved_share * best_lr


def _gets_nowhere(history: History, reading: Reading, index: int, limits: Thresholds) -> bool:
    """Where a hot group among good ones makes these look starved, they will go a good way by themselves."""
    total = history.outlook.total_steps
    if total is None:
        return True
    way = way_at_end(history, reading.groups[index], history.groups[index], reading.step)
    return way < limits.short_way * math.sqrt(total)


def count_starved(history: History, reading: Reading, limits: Thresholds) -> History:
    """The history with each group's count of starved steps in a row brought up to date."""
    now = starved_now(history, reading, limits)
    if not now and not any(past.starved_steps for past in history.groups):
        return history
    groups = tuple(
        dataclasses.replace(past, starved_steps=past.starved_steps + 1 if i in now else 0) for i, past in enumerate(history.groups)
    )
    return dataclasses.replace(history, groups=groups)


def starved(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Groups at their random initialisation that hardly move, while another group does: a discriminative lr on an untrained net.

    Source: the seed's audio contest, ``slice(1e-6, 1e-2)`` on a ResNet-18 that was not pretrained.
    """
    groups = tuple(i for i, past in enumerate(history.groups) if past.starved_steps >= limits.starved_steps)
    if not groups:
        return None
    groups = _with_those_between(reading, groups, limits)
    ratios = [g.update_ratio for g in reading.groups if g.update_ratio is not None and not g.frozen]
    worst = min(reading.groups[i].update_ratio or 0.0 for i in groups)
    best = max(ratios)
    share = f"1/{number(best / worst)} of the best fed group" if worst > 0 else "nothing at all"
    one = len(groups) == 1
    subject = " and ".join(group_name(reading, i) for i in groups)
    if one:
        text = f"{subject} is starved: it moves {number(worst)} of its weight a step, {share}, and is still at its"
    else:
        text = (
            f"{subject} are starved: the slowest moves {number(worst)} of its weight a step, {share}, and they are still at their"
        )
    text += " random initialisation"
    return finding(Kind.STARVED, reading, groups, text, update_ratio=worst, best_update_ratio=best)


def _with_those_between(reading: Reading, starved: tuple[int, ...], limits: Thresholds) -> tuple[int, ...]:
    """These groups, and the others of random weights on a learning rate as far below the best: feeding the one and not the other
    would leave the net with a bottleneck."""
    best = max(g.effective_lr for g in reading.groups if moves(g))
    low = [g for g in reading.groups if moves(g) and _far_below(g, best, limits)]
    return tuple([g.index for g in low if g.index in starved or g.provenance is Provenance.RANDOM])
