"""Rules for a loss that does not fall while weights are thrown about: (history, reading, thresholds) -> a finding or None. Pure.

There may be other reasons for that, so their verdicts have the trait ``STALLED``, and are tried out where that is cheaper
(:mod:`adaptlr.judge.doubt`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from adaptlr.judge.history import GroupPast, History
from adaptlr.judge.replaced import replaced, thrown_far
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.verdict import Rule, also, finding, plateau, said
from adaptlr.judge.words import number, sentence_groups
from adaptlr.records import Finding, Kind, Reading, Trait


def stall(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """The loss has stood still since the first steps while the weights are thrown about: a ramp does this before it breaks.

    Standing still is not enough, some tasks are slow to begin: the loss has to bounce, and by more than it did in smaller steps, or
    units to die. Where it bounces by so much that a fall may be hidden, steps have to be larger. Small updates are never accused.

    Source: 447 recorded runs of 72 nets. Of 15 that it held against, six trained well; of the 12 whose loss had been lower within
    the last 16 steps, and that it holds against no more, nine.
    """
    n = limits.stall_steps // 2
    stands = len(history.losses) >= 2 * n and history.age - history.best_age >= limits.stall_steps
    if not stands or not _on_own_lr(reading) or _too_noisy(history, limits):
        return None
    dying = any(stage.died_frac >= limits.died_frac for _, stage in history.stages)
    bounce = max(limits.bounce_frac, limits.bounce_times * history.most_noise)
    bouncing = history.noise >= bounce * history.median(n) >= bounce * limits.stall_frac * history.start_level
    if not (dying or bouncing) or history.median(n) < limits.found_frac * history.start_level:
        return None
    if math.isinf(plateau(history, limits.stall_steps)) and history.median(n) < statistics.median(history.losses[-2 * n : -n]):
        return None
    least = limits.thrown_ratio if history.noise > limits.noisy_frac * history.median(n) else limits.stall_ratio
    hot = tuple(i for i, g in enumerate(history.groups) if g.age >= limits.stall_steps and g.ratio >= least and not _walks(g))
    if not hot:
        return None
    ratio = max(history.groups[i].ratio for i in hot)
    text = (
        f"{sentence_groups(reading, hot)} too hot: updates of {number(ratio)} of the weights a step, "
        f"and the loss has stood at {said(history, history.median(n))} for {2 * n} steps"
    )
    found = finding(Kind.TOO_HOT, reading, hot, text, update_ratio=ratio, loss=history.median(n), traits=(Trait.STALLED,))
    if dying:
        return also(found, Trait.DYING, died=max(stage.died_frac for _, stage in history.stages))
    return also(found, bounce=history.noise / history.median(n))


def shaken(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """An update as large as the weights replaced them, or several did, and the net has not begun to learn since: one hot group does
    this, and a net whose weights grow until steps look small again. One that is mostly frozen need not have learned that much."""
    age, now, start = history.age, history.median(7), history.start_level
    wild = _thrown_about(history, (i for i, g in enumerate(history.groups) if g.largest >= limits.ruin_ratio), limits)
    bar = limits.shaken_frac * _doubtless(history) if not history.outlook.frozen else start
    if wild and age == limits.shaken_steps and now > bar:
        ratio = max(history.groups[i].largest for i in wild)
        what = f"an update of {number(ratio)} of the weights in one step"
    else:
        wild = _thrown_about(history, replaced(history, reading, limits), limits)
        if not wild or not limits.replaced_steps <= age <= 2 * limits.replaced_steps:
            return None
        if not now > limits.stuck_frac * _doubtless(history) or history.outlook.frozen:
            return None
        ratio = max(history.groups[i].largest for i in wild)
        what = f"updates of up to {number(ratio)} of the weights have replaced them"
    text = (
        f"{sentence_groups(reading, wild)} too hot: {what}, and after {age} steps the loss has "
        f"{'only come' if now < start else 'risen'} from {said(history, start)} to {said(history, now)}"
    )
    found = finding(Kind.TOO_HOT, reading, wild, text, update_ratio=ratio, loss=now, level=start, traits=(Trait.REPLACED,))
    return found if ratio >= limits.ruin_ratio else also(found, Trait.STALLED)


def thrown(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Weights that are thrown about: updates of a twentieth of them and more in a path that leads nowhere, and no loss that falls.

    The loss may be well below its start all the same: the last layer's bias soon knows how frequent each class is. Gradients that
    point back each time swing across a valley, and along it the net gets on.

    Source: measured; recurrent nets and transformers far too hot, whose loss neither bounces nor rises. Of 33 recorded runs that it
    held against, five swung, and all five trained well, of the others seven.
    """
    n = limits.thrown_steps
    if history.age < n or history.median(8) < limits.learned_frac * history.start_level:
        return None
    if not _on_own_lr(reading) or _too_noisy(history, limits):
        return None
    if history.falling(16, limits.thrown_frac + history.doubt(3, 3)):
        return None
    hot = tuple(
        i
        for i, g in enumerate(history.groups)
        if g.age >= n
        and g.ratio >= limits.thrown_ratio
        and (g.walk is None or g.walk >= limits.thrown_walk)
        and g.agreement > -limits.swing
    )
    if not hot:
        return None
    ratio = max(history.groups[i].ratio for i in hot)
    text = (
        f"{sentence_groups(reading, hot)} too hot: updates of {number(ratio)} of the weights a step that lead nowhere, "
        f"and the loss, {said(history, history.median(8))}, has hardly fallen for 16 steps"
    )
    return finding(Kind.TOO_HOT, reading, hot, text, update_ratio=ratio, loss=history.median(8), traits=(Trait.STALLED,))


def stuck(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Weights that large updates replaced, and a loss that has not been lower since, for a good part of the run's first half.

    The steps may be small by now: those weights have grown, or their units have been driven to where they no longer answer.

    A net that has learned something, and still goes faster than its pace, is left to a schedule that comes down: that may be what
    ends its plateau. One that hardly moves has nothing to gain by that.

    Not of adapters, prompts and heads on a net that is frozen: what its loss can come down to with them is not known.

    Source: 447 recorded runs of 72 nets; of those that it held against, 60 were ruined and 3 trained well. Left to schedules that
    come down, two of 208 others end better, by 0.15 and 0.33 of the best fixed learning rate's result, and none worse; on flat ones
    four of 57 would be lost. A language model under SGD at 10, gradients clipped to 0.25, whose loss swings by half from batch to
    batch and falls all the while, recovers 1.00, and .53 where only the lowest median of three counts; of 180 runs of 36 columns
    at a tenth to ten times their best learning rate none goes otherwise for it.
    """
    since, total = history.age - max(history.best_age, history.low_age), history.outlook.total_steps
    if since < limits.stuck_steps or history.best < limits.stuck_best * history.start_level or history.outlook.frozen:
        return None
    if total is None and since < max(limits.stuck_unknown, history.age / 2):
        return None
    if total is not None and not (limits.stuck_share * total <= since and 2 * reading.step < total):
        return None
    if history.best < limits.learned_frac * history.start_level and _will_be_slower(history, reading):
        return None
    wild = _thrown_about(history, thrown_far(history, reading, limits), limits)
    if not wild:
        return None
    ratio, now = max(history.groups[i].largest for i in wild), history.median(8)
    text = (
        f"{sentence_groups(reading, wild)} too hot: updates of up to {number(ratio)} of the weights have replaced them, "
        f"and the loss, {said(history, now)}, has not been lower for {since} steps"
    )
    return finding(Kind.TOO_HOT, reading, wild, text, update_ratio=ratio, loss=now, traits=(Trait.STALLED, Trait.STUCK))


RULES: tuple[Rule, ...] = (shaken, stall, thrown, stuck)


def _on_own_lr(reading: Reading) -> bool:
    """All learning rates are the user's. Ours keep to the pace, and one that has been raised changes what the others' steps do:
    that a loss does not fall says little then.

    Source: 186 runs of 87 nets and tasks in which one of the two rules spoke. If they may do so on the user's alone, 45 go
    otherwise: 28 end better, by 0.20 of the best fixed learning rate's result, and nine worse, by 0.22.
    """
    return all(g.scale == 1.0 for g in reading.groups if not g.frozen)


def _too_noisy(history: History, limits: Thresholds) -> bool:
    """Losses differ so much from step to step that nobody can tell in so few whether they fall: batches of two or three do this."""
    return history.noise > limits.noise_most * history.median(8)


def _will_be_slower(history: History, reading: Reading) -> bool:
    """The schedule comes down, from steps that are larger than they should be at this point of it."""
    fast = any(history.past(g.index).ratio >= history.pace_now(g, reading) for g in reading.groups if not g.frozen)
    return fast and _comes_down(history, reading)


def _comes_down(history: History, reading: Reading) -> bool:
    """The schedule itself has begun to lower every learning rate: what learns no more at its top may yet do so."""
    return all(g.lr < history.past(g.index).peak_lr for g in reading.groups if not g.frozen)


def _walks(group: GroupPast) -> bool:
    """The group is getting somewhere: its gradients vouch for the distance it goes."""
    return group.index is not None and group.index < 5


def _thrown_about(history: History, groups: Iterable[int], limits: Thresholds) -> tuple[int, ...]:
    """Of these groups, those whose gradients have not pointed the same way for some time, or since the learning rate was raised:
    such a one has far to go.

    Source: nets on targets as they are, of some 200,000, that trained at 0.1 and at 1 and were rolled back. In 146 columns of the
    gauntlet, seven learning rates each, it excuses nothing.
    """
    pasts = history.groups
    return tuple(i for i in groups if pasts[i].aligned < max(1, min(limits.aligned_steps, pasts[i].age)))


def _doubtless(history: History) -> float:
    """The loss at the start, raised by what a median of seven losses may be off it as batches differ."""
    return history.start_level * (1 + history.doubt(5, 7))
