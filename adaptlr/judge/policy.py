"""Findings -> decision. Pure: (settings, control, findings, ...) -> (control, decision).

The cure for "too hot" is a rollback and, from then on, ceilings on update ratio and learning rate
(:mod:`adaptlr.judge.control`). If the run breaks again, they drop, and the rollback goes back to the start. A starved group gets
the learning rate of the best fed one; a net that is too cold is raised until it moves.
"""

from __future__ import annotations

import dataclasses
import math
import statistics

from adaptlr.judge.control import (
    WARMUP_LEAST,
    WARMUP_MOST,
    Control,
    GroupControl,
    Raise,
    Refuge,
    Said,
    Settings,
    hold_all,
    hold_under,
    loosened,
)
from adaptlr.judge.detect import HOT
from adaptlr.judge.doubt import doubtful, slowed_by, suspicion_of, worth_a_try
from adaptlr.judge.history import History
from adaptlr.judge.pace import moves, told_by
from adaptlr.judge.words import group_name, number, plural, times
from adaptlr.records import Action, Decision, Finding, GroupReading, Kind, Provenance, Reading, Trait

_WELL_STEPS = 24
_LEARNED = 0.5  # share of the loss at the start below which a net has learned something
_WORTH_IT = 1.2  # no learning rate is raised by less
_OF_THE_LOSS = HOT - {Kind.NON_FINITE} | {Kind.TOO_COLD}  # what is held against a loss that does not come down
_CONTESTED = (
    "another optimizer steps between this net's forward pass and its gradients, as in a game of two, in which a loss need not come "
    "down: nothing was changed"
)
_LATE = 0.4  # share of a run of known length from which no more of it is given up than must be


def news(
    settings: Settings, control: Control, findings: tuple[Finding, ...], *, once: bool = False
) -> tuple[Control, tuple[Finding, ...]]:
    """Those findings that are to be told: once an event, never a flood. Or ``once`` in a run, the first.

    What comes back time and again is one event: each time that it is told, it has to be away for twice as long before the next.
    """
    if not findings:
        return control, ()
    said = {s.kind: s for s in control.said}
    if once:
        new = () if said else findings[:1]
    else:
        new = tuple(f for f in findings if f.kind not in said or _is_told_again(settings, said[f.kind], f.step))
    for f in findings:
        times = said[f.kind].times if f.kind in said else 0
        said[f.kind] = Said(kind=f.kind, times=times + (f in new), step=f.step)
    return dataclasses.replace(control, said=tuple(said.values())), new


def _is_told_again(settings: Settings, said: Said, step: int) -> bool:
    return step - said.step > settings.quiet_steps * 2 ** max(said.times - 1, 0)


def decide(
    settings: Settings,
    control: Control,
    findings: tuple[Finding, ...],
    reading: Reading,
    history: History,
    refuges: tuple[Refuge, ...],
) -> tuple[Control, Decision | None]:
    """What to do about ``findings``; None where there is nothing to do or to say.

    ``refuges`` are the snapshots at hand, oldest first; the oldest is the run's start, or where it was taken up again.
    """
    if not findings or control.stopped:
        return control, None
    if history.outlook.contested and (held := next((f for f in findings if f.kind in _OF_THE_LOSS), None)):
        return control, _decision(Action.HOLD, control, control, held, _CONTESTED)
    if before := next((f for f in findings if f.kind is Kind.RUINED), None):
        return _leave(control, before)
    hot = next((f for f in findings if f.kind in HOT), None)
    if (hot and _such_is_the_data(settings, control, hot, reading, history)) or _is_tried_out(control, hot, reading):
        return control, None
    if hot:
        return _roll_back(settings, control, hot, reading, history, refuges)
    low = next((f for f in findings if f.kind in _RAISES), None)
    return _RAISES[low.kind](settings, control, low, reading, history) if low else (control, None)


def _such_is_the_data(settings: Settings, control: Control, hot: Finding, reading: Reading, history: History) -> bool:
    """A second batch out of scale soon after another."""
    return hot.kind is Kind.BAD_BATCH and not _ruined_by_data(settings, control, hot, reading, history)


def _is_tried_out(control: Control, hot: Finding | None, reading: Reading) -> bool:
    """The run was slowed down a few steps ago, and nothing has happened since that could not wait."""
    return control.slowed is not None and reading.step < control.slowed.until and (hot is None or doubtful(hot))


def _ruined_by_data(settings: Settings, control: Control, finding: Finding, reading: Reading, history: History) -> bool:
    """A run that went well and in small steps was broken by one batch; or by its first.

    One that is out of scale is not if another was just before. One that is not finite is, however often: of 3,446 runs at learning
    rates from 1e-6 to 10 none had to be put right for that, as those that are too hot are found before.
    """
    if Trait.AT_START in finding.traits:
        return True
    if finding.kind not in (Kind.NON_FINITE, Kind.BAD_BATCH):
        return False
    if not finding.evidence.get("update_ratio", 0.0) < settings.side_ceiling:
        return False
    if finding.kind is Kind.NON_FINITE and _has_just_been_put_back(control, reading, history):
        return True
    lately = control.last_poison is not None and reading.step - control.last_poison <= settings.quiet_steps
    return (finding.kind is Kind.NON_FINITE or not lately) and _was_healthy(history)


def _has_just_been_put_back(control: Control, reading: Reading, history: History) -> bool:
    """After a bad batch, too few steps ago to say how it goes."""
    if control.last_poison is None or len(history.losses) > 3:
        return False
    return reading.step - control.last_poison <= history.age + 1  # the step that was on its way then was never judged


def _had_learned(history: History) -> bool:
    """Since its start, or since it was last put back, the run has for some time gone well, down to half the loss at its start."""
    return history.best_age >= _WELL_STEPS and history.best < _LEARNED * history.start_level


def _roll_back(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History, refuges: tuple[Refuge, ...]
) -> tuple[Control, Decision]:
    ruined_by_data = _ruined_by_data(settings, control, finding, reading, history)
    if ruined_by_data and refuges and settings.max_rollbacks:
        return _put_back(settings, control, finding, reading, history, refuges)
    if control.rollbacks >= settings.max_rollbacks or not refuges:
        return _stop(control, finding, refuges)
    learned = _had_learned(history)
    slow = finding.kind is Kind.COLLAPSE or Trait.STALLED in finding.traits or Trait.LOST in finding.traits
    refuge = _refuge(settings, control, finding, reading, history, refuges, slow=slow, learned=learned)
    if worth_a_try(control, finding, refuge) and (slower := _slow_down(settings, control, finding, reading, history)):
        return slower
    broken = control if control.slowed is None else dataclasses.replace(control, groups=control.slowed.groups)
    accused, groups = _accused(control, finding), list[GroupControl]()
    for i, (g, now) in enumerate(zip(broken.groups, reading.groups, strict=True)):
        cut = _cut(
            settings,
            g,
            now.lr,
            pace=_pace(settings, history, reading, now),
            side=settings.side_ceiling * history.caution(reading),
            accused=i in accused,
            slow=slow,
            learned=learned,
            doubtful=Trait.STALLED in finding.traits,
            rollbacks=control.rollbacks,
            hottest_lr=history.past(i).largest_lr,
            refuge_per_lr=_per_lr_at(refuge, i, g),
        )
        groups.append(_lowered(cut, g, control.raised.groups[i], now.lr) if control.raised and i in accused else cut)
    held = _with_followers(tuple(groups), reading)
    lately = control.acquitted is not None and reading.step - control.acquitted <= settings.quiet_steps
    doubt = None if lately else suspicion_of(broken, history, refuge, at_start=refuge.step == 0)
    rollbacks = control.rollbacks + 1
    new = dataclasses.replace(control, groups=held, rollbacks=rollbacks, acted=True, suspicion=doubt, raised=None, slowed=None)
    factor = min((a.scale / b.scale for a, b in zip(new.groups, control.groups, strict=True)), default=1.0)
    ceiling = min((g.ceiling for g in held if g.ceiling is not None), default=math.nan)
    done = (
        f"rolled back to step {refuge.step}, learning rate now {times(factor)}, "
        f"and no step above {number(ceiling)} of the weights from here on"
    )
    advice = _lr_advice(reading, new, history)
    return new, _decision(Action.ROLLBACK, control, new, finding, done, restored_step=refuge.step, advice=advice)


def _put_back(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History, refuges: tuple[Refuge, ...]
) -> tuple[Control, Decision]:
    """A batch ruined the weights, and no learning rate: back to before it, as often as that happens, but not in a row for ever."""
    before = [r for r in refuges if r.step <= reading.step]
    if finding.kind is Kind.NON_FINITE and before and Trait.AT_START not in finding.traits:
        refuge = before[-1]  # as all went well up to that batch, nothing is wrong with the newest
    else:
        refuge = _refuge(
            settings, control, finding, reading, history, refuges, slow=False, learned=_had_learned(history), data=True
        )
    new = dataclasses.replace(
        control,
        acted=True,
        last_poison=reading.step,
        poisons=control.poisons + 1,
        poison_every=reading.step - (control.last_poison or 0),
        put_back=1 if any(map(math.isfinite, history.losses)) else control.put_back + 1,
    )
    blame = "nothing led up to it, so a bad batch is to blame"
    if new.poisons > 1:
        blame += f", number {new.poisons} in this run: look for what is not finite in inputs and targets"
    if new.put_back <= settings.max_rollbacks:
        done = f"{blame}; back to step {refuge.step}, learning rates as they were"
        return new, _decision(Action.ROLLBACK, control, new, finding, done, restored_step=refuge.step)
    new = _stopped(new)
    done = f"{blame}; back to step {refuge.step} once more, and adaptlr leaves the run alone from here on"
    return new, _decision(Action.STOP, control, new, finding, done, restored_step=refuge.step)


def worth_saying(before: Control, after: Control) -> bool:
    """What a decision has made of one is said: but of bad batches only of the first, second, fourth, eighth, ..."""
    n = after.poisons
    return n == before.poisons or after.stopped or n & (n - 1) == 0


def _leave(control: Control, finding: Finding) -> tuple[Control, Decision]:
    """No learning rate is to blame for what was wrong before. A net that may yet learn something is watched on."""
    if Trait.ALIVE in finding.traits:
        return control, _decision(Action.HOLD, control, control, finding, "nothing was changed")
    stopped = _stopped(control)
    return stopped, _decision(Action.STOP, control, stopped, finding, "adaptlr leaves the run alone")


def _stopped(control: Control) -> Control:
    """Nothing more is done, and nothing is being waited for."""
    return dataclasses.replace(control, stopped=True, suspicion=None, slowed=None, raised=None)


def _stop(control: Control, finding: Finding, refuges: tuple[Refuge, ...]) -> tuple[Control, Decision]:
    """Leave the run alone. If ever lower learning rates have not helped, they are not to blame, and are the user's again; and if
    its weights are not finite, those of the newest snapshot that was healthy are."""
    done = "there is no snapshot to go back to: adaptlr leaves the run alone from here on"
    stopped, restored = _stopped(control), None
    if refuges and not control.rollbacks:
        done = "max_rollbacks=0 allows none: adaptlr leaves the run alone from here on"
    elif refuges:
        stopped = dataclasses.replace(stopped, groups=tuple(GroupControl() for _ in control.groups))
        done = (
            f"{plural(control.rollbacks, 'rollback')} did not help, so the learning rate is not to blame: it is as it was, and "
            f"adaptlr leaves the run alone from here on. Look for another cause"
        )
        if finding.kind is Kind.NON_FINITE:
            restored = _newest_healthy(refuges).step
            done += f". The weights are those of step {restored} again"
    return stopped, _decision(Action.STOP, control, stopped, finding, done, restored_step=restored)


def _accused(control: Control, finding: Finding) -> tuple[int, ...]:
    return finding.groups or tuple(range(len(control.groups)))


def _slow_down(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History
) -> tuple[Control, Decision] | None:
    """The accused groups at their pace where the run is; None if they are hardly above it."""
    groups = list(control.groups)
    for i in _accused(control, finding):
        g, pace = groups[i], _pace(settings, history, reading, reading.groups[i])
        ceiling = pace if g.ceiling is None else min(pace, g.ceiling)
        ratio = history.past(i).ratio
        share = min(1.0, loosened(ceiling, g.progress) / ratio) if ratio > 0 else 1.0
        groups[i] = dataclasses.replace(g, scale=g.scale * share, ceiling=ceiling, warmup=1.0)
    held = _with_followers(tuple(groups), reading)
    factor = min(a.scale / b.scale for a, b in zip(held, control.groups, strict=True))
    if factor * _WORTH_IT > 1:
        return None
    slowed = slowed_by(finding, history, control.groups)
    new = dataclasses.replace(control, groups=held, acted=True, suspicion=None, slowed=slowed, slowed_once=True)
    done = f"slowed down where it is, to see whether that is enough: learning rate now {times(factor)}"
    return new, _decision(Action.RESCALE, control, new, finding, done, advice=_lr_advice(reading, new, history))


def _refuge(
    settings: Settings,
    control: Control,
    finding: Finding,
    reading: Reading,
    history: History,
    refuges: tuple[Refuge, ...],
    *,
    slow: bool,
    learned: bool,
    data: bool = False,
) -> Refuge:
    """Where to go back to: a healthy snapshot, as long as the damage cannot be in it already; otherwise the run's start."""
    if Trait.STUCK in finding.traits and control.raised is None:  # in weights that all snapshots since have
        return refuges[0]
    certified = [r for r in refuges if r.certified]
    total = history.outlook.total_steps
    late = total is not None and reading.step >= _LATE * total
    if certified and (late or learned):
        return certified[-1]
    if control.raised is not None and not data:  # what broke it came after that
        before = [r for r in certified if r.step <= control.raised.step]
        if before:
            return before[-1]
    first_time = control.rollbacks == 0 or data
    had_learned = [r for r in certified if history.over_floor(r.level) < _LEARNED * history.start_level]
    if had_learned and control.rollbacks == 1 and Trait.REPLACED not in finding.traits:  # that is not given up at once
        return had_learned[-1]
    early = Trait.REPLACED in finding.traits or (slow and reading.step < settings.early_steps)
    return _newest_healthy(refuges) if first_time and not early else refuges[0]


def _newest_healthy(refuges: tuple[Refuge, ...]) -> Refuge:
    """As far as that is known; the run's start, if nothing is."""
    return next((r for r in reversed(refuges) if r.certified), refuges[0])


def _decision(
    action: Action,
    before: Control,
    after: Control,
    finding: Finding,
    done: str,
    *,
    restored_step: int | None = None,
    advice: str = "",
) -> Decision:
    """What is done about a finding, with the finding's own words before it."""
    return Decision(
        step=finding.step,
        action=action,
        scales_before=before.scales,
        scales_after=after.scales,
        findings=(finding.kind,),
        restored_step=restored_step,
        message=f"{finding.message}; {done}",
        advice=advice,
    )


def _with_followers(groups: tuple[GroupControl, ...], reading: Reading) -> tuple[GroupControl, ...]:
    """Groups of which no update ratio is known (norms and biases only) go with those that are held."""
    marked = tuple(dataclasses.replace(g, follows=now.update_ratio is None) for g, now in zip(groups, reading.groups, strict=True))
    return hold_all(marked, [0.0] * len(marked))


def _was_healthy(history: History) -> bool:
    """The losses before the newest stood where the run's best ones were."""
    before = [x for x in history.losses[:-1] if math.isfinite(x)]
    if len(before) < 3 or len(before) < len(history.losses) - 1:
        return False
    return statistics.median(before[-3:]) <= max(history.best, min(history.start_level, history.best * 1.5)) + 4 * history.noise


def _per_lr_at(refuge: Refuge, index: int, group: GroupControl) -> float | None:
    """The update ratio over lr that the group had where the run goes back to."""
    if refuge.step == 0 or index >= len(refuge.per_lr):
        return group.first_per_lr
    return refuge.per_lr[index]


def _cut(
    settings: Settings,
    group: GroupControl,
    lr: float,
    *,
    pace: float,
    side: float,
    accused: bool,
    slow: bool,
    learned: bool,
    doubtful: bool,
    rollbacks: int,
    hottest_lr: float,
    refuge_per_lr: float | None,
) -> GroupControl:
    """One group after a rollback: its ceilings, and the scale that keeps the first step from there under them."""
    retreat = settings.retreat**rollbacks
    effective = lr * group.scale
    ramped = lr / group.first_lr if group.first_lr else 1.0
    slow = (slow or ramped > settings.slow_retreat) and not learned  # what broke on a ramp had been breaking below its top
    if accused:
        ceiling = pace / retreat
        limit = effective / (settings.slow_retreat if slow else settings.retreat)
        max_lr = min(limit, group.max_lr) if group.max_lr is not None else limit
        broken_at = max(effective, hottest_lr)  # a ceiling may have cut it since
        broke_lr = math.inf if doubtful else max(max_lr, min(broken_at / settings.retreat, group.broke_lr or math.inf))
    else:
        ceiling = side / retreat
        max_lr, broke_lr = group.max_lr, group.broke_lr
    if group.ceiling is not None:
        ceiling = min(ceiling, group.ceiling)
    cut = dataclasses.replace(group, ceiling=ceiling, max_lr=max_lr, broke_lr=broke_lr, per_lr=refuge_per_lr, warmup=1.0)
    held = hold_under(cut, lr)
    warmup = min(max(WARMUP_LEAST, ramped), WARMUP_MOST)
    if not accused:  # it may come back to where it was, and is not raised
        warmup = min(warmup, max(1.0, group.scale / held.scale))
    return dataclasses.replace(held, warmup=warmup)


def _lowered(cut: GroupControl, broken: GroupControl, was: GroupControl, lr: float) -> GroupControl:
    """What a raise had been too much for goes back to where it was, and not below that, however deep the cut."""
    if not (was.scale < broken.scale and cut.scale < was.scale) or lr <= 0:
        return cut
    ceiling = max(cut.ceiling or 0.0, was.ceiling or 0.0) or None
    max_lr = max(cut.max_lr or 0.0, was.scale * lr)
    return hold_under(dataclasses.replace(cut, scale=was.scale, ceiling=ceiling, max_lr=max_lr), lr)


def _feed(
    settings: Settings, control: Control, finding: Finding, reading: Reading, history: History
) -> tuple[Control, Decision | None]:
    """Give starved groups the learning rate of the best fed one, as far as the pace for the steps that are left allows it.

    The user chose that learning rate for other weights than these.
    """
    fed = [g for g in reading.groups if g.index not in finding.groups and not g.frozen and g.lr > 0]
    target = max(g.effective_lr for g in fed)
    groups = list(control.groups)
    for i in finding.groups:
        g, pace = groups[i], _pace(settings, history, reading, reading.groups[i])
        ceiling = pace if g.ceiling is None else min(pace, g.ceiling)
        max_lr = _searched(g, target)
        lr = target if max_lr is None else min(target, max_lr)
        groups[i] = dataclasses.replace(g, scale=lr / reading.groups[i].lr, ceiling=ceiling, max_lr=max_lr, warmup=WARMUP_LEAST)
    if not any(groups[i].scale > _WORTH_IT * control.groups[i].scale for i in finding.groups):
        return control, None  # it is held where it broke
    new = dataclasses.replace(control, groups=tuple(groups), acted=True, raises=control.raises + 1)
    least = min((c for i in finding.groups if (c := groups[i].ceiling) is not None), default=math.nan)
    factors = ", ".join(f"{group_name(reading, i)} {times(groups[i].scale / control.groups[i].scale)}" for i in finding.groups)
    done = f"now at the learning rate of the best fed group, with no step above {number(least)} of the weights: {factors}"
    advice = f"Next time: one learning rate for all groups, {_of_schedule(control, reading, finding.groups, history)}"
    return new, _decision(Action.RESCALE, control, new, finding, done, advice=advice)


def _warm(
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
        return control, _decision(Action.HOLD, control, control, finding, done)
    judged = told_by([(g, history.past(g.index)) for g in moving])
    fastest = max((g for g, _ in judged), key=lambda g: g.update_ratio or 0.0)  # a head keeps under its own ceiling
    ratio = fastest.update_ratio or 0.0
    # at once, on a ramp too, whose own steps are too small for a warm-up: what is above the ceiling later is cut as it comes
    target = settings.raise_frac * loosened(_pace(settings, history, reading, fastest), control.groups[fastest.index].progress)
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
        pace = _pace(settings, history, reading, reading.groups[i])
        far = finding.evidence["update_ratio"] if Trait.FAR in finding.traits else 0.0
        top = max(settings.search_times * pace, settings.raise_again * far) if searching else pace
        ceiling = min(g.ceiling * factor, max(g.ceiling, top)) if g.ceiling is not None else max(pace, min(ratio * factor, top))
        scale, lr = g.scale * factor, reading.groups[i].lr
        beyond = settings.raise_again * g.scale * lr if _has_outgrown(control, history) else 0.0
        lifted = dataclasses.replace(g, scale=scale, ceiling=ceiling, max_lr=_searched(g, scale * lr, beyond=beyond))
        groups.append(hold_under(lifted, lr))
    raised = Raise(step=reading.step, groups=control.groups)
    held = _with_followers(tuple(groups), reading)
    new = dataclasses.replace(control, groups=held, raises=control.raises + 1, acted=True, raised=raised)
    gained = max(a.scale / b.scale for a, b in zip(new.groups, control.groups, strict=True))
    if gained < _WORTH_IT:
        return control, None
    before = "" if known is None else "so was the fit before, which had to be raised: "
    done = f"{before}its learning rate is now {times(gained)}"
    advice = "" if lost else _lr_advice(reading, new, history)  # what suits weights that were thrown far ruins others
    return new, _decision(Action.RESCALE, control, new, finding, done, advice=advice)


_RAISES = {Kind.STARVED: _feed, Kind.TOO_COLD: _warm}


def _has_outgrown(control: Control, history: History) -> bool:
    """What broke the net once, early as a rule, need not break it now that it has learned something: it is steepest at first.

    Source: 19 tasks of regression and likelihoods at learning rates from 1e-6 to 10, where nine runs of 304 go otherwise, seven of
    them better, by up to 0.23 of the best fixed learning rate's result; and 785 recorded runs of 158 columns that had been rolled
    back and were too cold then, of which 27 go otherwise, 14 better and six worse, by 0.11 in all. Of four that two things had
    broken one would be ruined.
    """
    return control.rollbacks == 1 and history.median(5) < _LEARNED * history.start_level


def _searched(group: GroupControl, lr: float, *, beyond: float = 0.0) -> float | None:
    """What a group's learning rate may be raised to, if that is ``lr``: to what broke it no more than ``beyond`` says."""
    if group.max_lr is None or group.broke_lr is None:
        return group.max_lr
    return max(group.max_lr, min(lr, max(group.broke_lr, beyond)))


def _pace(settings: Settings, history: History, reading: Reading, group: GroupReading) -> float:
    """The update ratio that a group is held under: as set, or what the length of the run asks for."""
    return settings.ceiling if settings.ceiling is not None else history.pace(group, reading)


def next_time(reading: Reading, control: Control, history: History, *, starved: tuple[int, ...] = ()) -> tuple[float, ...]:
    """What to write for each group: the schedule's largest where it is the user's, and what it is now where it is ours, for that is
    held down as a warm-up rises. With ``starved`` groups, the one of the best fed group for all."""
    if not starved:
        own = [(g, c.scale) for g, c in zip(reading.groups, control.groups, strict=True)]
        return tuple(history.peak(g) if scale == 1.0 else g.lr * scale for g, scale in own)
    best = _best_fed(reading, starved)
    lr = history.peak(best) * control.groups[best.index].scale
    return tuple(g.lr if g.frozen else lr for g in reading.groups)


def _best_fed(reading: Reading, starved: tuple[int, ...]) -> GroupReading:
    return max((g for g in reading.groups if g.index not in starved and not g.frozen), key=lambda g: g.effective_lr)


def _of_schedule(control: Control, reading: Reading, starved: tuple[int, ...], history: History) -> str:
    """The learning rate of the best fed group, as the user wrote it if the schedule is known."""
    best = _best_fed(reading, starved)
    if history.outlook.peak_lrs and best.index < len(history.outlook.peak_lrs):
        return number(next_time(reading, control, history, starved=starved)[best.index])
    return f"that of group {best.index} ({number(best.effective_lr)} at this step)"


def _lr_advice(reading: Reading, control: Control, history: History) -> str:
    lrs = [number(lr) for g, lr in zip(reading.groups, next_time(reading, control, history), strict=True) if not g.frozen]
    if len(set(lrs)) == 1:
        return f"Next time: a learning rate of about {lrs[0]}"
    return f"Next time: learning rates of about {', '.join(lrs)}, group by group"
