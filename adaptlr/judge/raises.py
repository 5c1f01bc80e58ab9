"""Learning rates that are raised: of a starved group, and of a net that is too cold. Pure."""

from __future__ import annotations

import dataclasses
import math

from adaptlr.judge.advice import lr_advice, of_schedule
from adaptlr.judge.control import (
    WARMUP_LEAST,
    WORTH_IT,
    Control,
    GroupControl,
    Raise,
    Settings,
    hold_under,
    loosened,
    pace_of,
    with_followers,
)
from adaptlr.judge.history import LEARNED, History
from adaptlr.judge.pace import moves, told_by
from adaptlr.judge.verdict import decided
from adaptlr.judge.words import group_name, number, times
from adaptlr.records import Action, Decision, Finding, Kind, Provenance, Reading, Trait


def feed(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History
) -> tuple[Control, Decision | None]:
    """Give starved groups the learning rate of the best fed one, as far as the pace for the steps that are left allows it.

    The user chose that learning rate for other weights than these.
    """
    if control.raises >= settings.max_raises:
        return control, None
    fed = [g for g in reading.groups if g.index not in finding.groups and not g.frozen and g.lr > 0]
    target = max(g.effective_lr for g in fed)
    groups = list(control.groups)
    for i in finding.groups:
        g, pace = groups[i], pace_of(settings, history, reading, reading.groups[i])
        ceiling = pace if g.ceiling is None else min(pace, g.ceiling)
        max_lr = _searched(g, target)
        lr = target if max_lr is None else min(target, max_lr)
        groups[i] = dataclasses.replace(g, scale=lr / reading.groups[i].lr, ceiling=ceiling, max_lr=max_lr, warmup=WARMUP_LEAST)
    if not any(groups[i].scale > WORTH_IT * control.groups[i].scale for i in finding.groups):
        return control, None  # it is held where it broke
    new = dataclasses.replace(control, groups=tuple(groups), acted=True, raises=control.raises + 1)
    least = min((c for i in finding.groups if (c := groups[i].ceiling) is not None), default=math.nan)
    factors = ", ".join(f"{group_name(reading, i)} {times(groups[i].scale / control.groups[i].scale)}" for i in finding.groups)
    done = f"now at the learning rate of the best fed group, with no step above {number(least)} of the weights: {factors}"
    advice = f"Next time: one learning rate for all groups, {of_schedule(control, reading, finding.groups, history)}"
    return new, decided(Action.RESCALE, control, new, finding, done, advice=advice)


def warm(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History
) -> tuple[Control, Decision | None]:
    """Raise a net that is at its random initialisation, or once one that has a head that is; warn about others.

    Whatever the weights are, if they have not learned: what rollbacks cut too deep, and no further than to what was asked for.

    Once, too, one whose earlier fit had to be raised from no lower a learning rate: by as much as that, at most. Weights that were
    thrown far before the run are as good as random: of twelve such nets at a good learning rate five learn more for it, up to .79
    in place of .59, and the others as little as without.
    """
    moving = [reading.groups[i] for i in finding.groups]
    if control.raises >= settings.max_raises:
        return control, None
    learned = any(g.provenance.has_learned for g in reading.groups if moves(g))
    lost = any(s.kind is Kind.RUINED for s in control.said)  # what it had learned, if anything, and with it what would be spared
    random = lost or (not learned and all(g.provenance is Provenance.RANDOM for g in moving))
    ours = control.rollbacks > 0 and not learned and all(control.groups[g.index].scale < 1.0 for g in moving)
    free = random or ours
    if not free and control.acted:
        return control, None
    known = history.known_cold(moving)
    if not free and Trait.TO_LEARN not in finding.traits and known is None:
        done = "its weights are not (all) random, so this may be meant: nothing was changed"
        return control, decided(Action.HOLD, control, control, finding, done)
    judged = told_by([(g, history.past(g.index)) for g in moving])
    fastest = max((g for g, _ in judged), key=lambda g: g.update_ratio or 0.0)  # a head keeps under its own ceiling
    ratio = fastest.update_ratio or 0.0
    # at once, on a ramp too, whose own steps are too small for a warm-up: what is above the ceiling later is cut as it comes
    target = settings.raise_frac * loosened(pace_of(settings, history, reading, fastest), control.groups[fastest.index].progress)
    wanted = target / ratio if ratio > 0 else 1e3
    searching = free and Trait.STRAIGHT in finding.traits
    least = settings.raise_again if searching else 1.0
    factor = min(max(wanted, least), known or 1e6)
    if ours and not random:  # back to what was asked for, and no further
        factor = min(factor, *(1 / control.groups[g.index].scale for g in moving))
    groups = []
    for i, g in enumerate(control.groups):
        if i not in finding.groups:
            groups.append(g)
            continue
        pace = pace_of(settings, history, reading, reading.groups[i])
        far = finding.evidence["update_ratio"] if Trait.FAR in finding.traits else 0.0
        top = max(settings.search_times * pace, settings.raise_again * far) if searching else pace
        ceiling = min(g.ceiling * factor, max(g.ceiling, top)) if g.ceiling is not None else max(pace, min(ratio * factor, top))
        scale, lr = g.scale * factor, reading.groups[i].lr
        beyond = settings.raise_again * g.scale * lr if _has_outgrown(control, history) else 0.0
        lifted = dataclasses.replace(g, scale=scale, ceiling=ceiling, max_lr=_searched(g, scale * lr, beyond=beyond))
        groups.append(hold_under(lifted, lr))
    raised = Raise(step=reading.step, groups=control.groups)
    held = with_followers(tuple(groups), reading)
    new = dataclasses.replace(control, groups=held, raises=control.raises + 1, acted=True, raised=raised)
    gained = max(a.scale / b.scale for a, b in zip(new.groups, control.groups, strict=True))
    if gained < WORTH_IT:
        return control, None
    before = "" if known is None else "so was the fit before, which had to be raised: "
    done = f"{before}its learning rate is now {times(gained)}"
    advice = "" if lost else lr_advice(reading, new, history)  # what suits weights that were thrown far ruins others
    return new, decided(Action.RESCALE, control, new, finding, done, advice=advice)


def _has_outgrown(control: Control, history: History) -> bool:
    """What broke the net once, early as a rule, need not break it now that it has learned something: it is steepest at first.

    Source: 19 tasks of regression and likelihoods at learning rates from 1e-6 to 10, where nine runs of 304 go otherwise, seven of
    them better, by up to 0.23 of the best fixed learning rate's result; and 785 recorded runs of 158 columns that had been rolled
    back and were too cold then, of which 27 go otherwise, 14 better and six worse, by 0.11 in all. Of four that two things had
    broken one would be ruined.
    """
    return control.rollbacks == 1 and history.median(5) < LEARNED * history.start_level


def _searched(group: GroupControl, lr: float, *, beyond: float = 0.0) -> float | None:
    """What a group's learning rate may be raised to, if that is ``lr``: to what broke it no more than ``beyond`` says."""
    if group.max_lr is None or group.broke_lr is None:
        return group.max_lr
    return max(group.max_lr, min(lr, max(group.broke_lr, beyond)))
