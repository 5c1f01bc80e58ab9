"""Rules for learning rates that are too high: (history, reading, thresholds) -> a finding or None. Pure.

``history`` already holds ``reading``. A large update or a silent stage alone convicts nobody: the loss has to agree. What needs no
loss is what is not finite, a batch far out of scale, and silence where no gradient arrives either; and where no update can be
measured, a loss that diverges convicts alone. The order of the rules in :data:`RULES` is the order of their certainty; those of a
loss that does not fall come after them (:mod:`adaptlr.judge.stalled`).
"""

from __future__ import annotations

import math

from adaptlr.judge.history import GroupPast, History
from adaptlr.judge.ruined import grown_before
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.verdict import Rule, also, finding, plateau, said
from adaptlr.judge.words import number, sentence_groups
from adaptlr.records import Finding, Kind, Provenance, Reading, Trait

_FAR, _MUCH_LESS = 0.1, 0.25  # shares of the hottest group's learning rate and update ratio, at which another is not to blame
_GOES_ON = 0.4  # share of the usual steps that may break a run that goes on from an earlier one
_LOST_STEPS = 5  # whose losses say that what had been learned is lost
_CONVERGED = 12, 1e-3  # steps, and the share of itself by which a loss differs in them, of all data at once and at its lowest
_SETTLED_STEPS = 8  # before which gradients and running variances are still finding their scale


def non_finite(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """A loss, a sampled weight or a sampled gradient is NaN or infinite. Nothing trains on from there."""
    groups = tuple([g.index for g in reading.groups if g.nonfinite])
    if math.isfinite(reading.loss) and not groups:
        return None
    what = f"the loss is {reading.loss}" if not math.isfinite(reading.loss) else "weights or gradients are not finite"
    hottest = _hottest(history)
    before = f", after updates of {number(hottest)} of the weights in a step" if hottest > limits.hot_ratio else ""
    found = finding(Kind.NON_FINITE, reading, groups, f"{what}{before}", loss=reading.loss, update_ratio=hottest)
    return found if history.start else also(found, Trait.AT_START)


def bad_batch(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """One batch far out of scale, in a run of small steps. The loss may not show it: what shows it is what remembers the batch.

    Adam's second moment then holds every step down for a thousand more, and a BatchNorm in evaluation divides by a variance that no
    input has, while in training all looks well.
    """
    if history.age <= _SETTLED_STEPS:
        return None
    factor = max([history.norm_spike, *[g.spike for g in history.groups]])
    if factor < limits.spike_factor or (hottest := _hottest(history)) >= limits.hot_ratio:
        return None
    gradients = tuple(i for i, g in enumerate(history.groups) if g.spike >= limits.spike_factor)
    seen = "the gradient" if gradients else "the running variance of a normalisation"
    text = f"one batch made {seen} {number(factor)} times as large as it had been"
    return finding(Kind.BAD_BATCH, reading, gradients, text, loss=reading.loss, spike=factor, update_ratio=hottest)


def ruinous_step(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """An update about as large as the weights themselves, and the loss has risen since.

    Source: measured; the first update ratio all but tells the outcome. A net whose weights start at almost nothing has such ratios
    too, and is healthy: its loss falls. RMSprop's first step is ten times its later ones: a net may shake that off.
    """
    hot = _hot_groups(history, limits.ruin_ratio)
    if not hot:
        return None
    level = _level(history)
    if not reading.loss > level + max(0.1 * abs(level), history.usual_noise) or _may_recover(history, reading, limits):
        return None
    return _too_hot(history, reading, hot, level)


def runaway(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Updates of a tenth of the weights and more that do not die down, and a loss far out of the noise, or twice out of it.

    Adam's first steps are its largest: they shake a healthy net too, whose ratio falls at once and whose loss comes back.
    """
    hot = tuple(i for i in _hot_groups(history, limits.hot_ratio) if _lasts(history.groups[i]))
    if not hot:
        return None
    level = _level(history)
    if not math.isfinite(level):
        return None
    bar = level + max(limits.rise_frac * abs(level), limits.rise_sigmas * history.usual_noise)
    if all(_has_far_to_go(history, i) for i in hot) and _may_recover(history, reading, limits):
        return None
    over = [x for x in history.losses[-3:] if not x <= bar]
    far = reading.loss - level > 10 * abs(level)
    if reading.loss <= bar or not (far or len(over) >= 2) or _may_come_back(history, reading, limits):
        return None
    return _too_hot(history, reading, hot, level)


def divergence(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Three losses in a row far above where the run began, and updates that can have done that, as far as they are measured.

    Where a net plays against another, or learns from its own answers, a loss rises in small healthy steps.
    A run that goes on from an earlier one may begin with a loss of next to nothing, and the next batch costs three times as much;
    under an optimizer that is new, the next dozen.
    """
    if len(history.losses) < 3 or history.age < 3:
        return None
    start = max(history.start_level, history.leapt)
    factor = limits.blown_up_factor if _goes_on(history, reading) else limits.diverged_factor
    last, least = history.losses[-3:], start + (factor - 1) * abs(start)
    if not min(last) > least:  # nearly always; the noise takes longer to know
        return None
    bar = max(least, start + limits.rise_sigmas * history.usual_noise)
    if not all(x > bar for x in last) or not _updates_may_have_done_it(history, reading, limits):
        return None
    text = f"the loss has been above {said(history, min(last))} for 3 steps; the run began at {said(history, history.start_level)}"
    return finding(Kind.DIVERGENCE, reading, _to_blame(history, reading, _moving(reading)), text, loss=reading.loss, start=start)


def regress(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """The run has lost most of what it had learned, or half of it for long, at updates that are not small: a ramp's top.

    All losses that say so have come after the best one: with batches of two or three the same few may look like both.
    """
    hot = _hot_groups(history, limits.hot_ratio / 10)
    if history.age < 8 or not hot or history.age - history.best_age < _LOST_STEPS:
        return None
    start, best, now = history.start_level, history.best, history.median(_LOST_STEPS)
    learned = start - best
    margin = limits.rise_sigmas * history.usual_noise
    if not learned > max(0.1 * abs(start), margin):
        return None
    most = now > best + max(0.5 * (1 + limits.regress_frac) * learned, margin)
    long = len(history.losses) > 12 and min(history.losses[-12:]) > best + max(limits.regress_frac * learned, margin / 2)
    if not (most or long) or _may_come_back(history, reading, limits):
        return None
    was, low, back = (said(history, x) for x in (start, best, now))
    text = f"the loss had come down from {was} to {low} and is back at {back}"
    return finding(
        Kind.TOO_HOT, reading, _to_blame(history, reading, hot), text, traits=(Trait.LOST,), loss=now, best=best, start=start
    )


def collapse(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    """Stages have gone silent, or no gradient arrives, and the loss is stuck where guessing leaves it (the seed's runs at lr=1).

    Where a stage is at zero altogether and no gradient arrives, the loss need not say so: a bias still learns how frequent each
    answer is, and where one is rare that looks like much.

    Source: the seed notebook's lr=1 pictures; dead ReLUs (Lu et al. 2019). A stage is silent against its own first readings. Where
    weights were ruined before, gradients that fade are not this run's doing. Where they fade and all data at once has its lowest
    loss, nothing is wrong.
    """
    if history.age < 8 or grown_before(history, limits):
        return None
    stuck, gone = _is_stuck(history, limits), _has_no_gradient(history, reading, limits)
    if not stuck and not gone:  # nearly always
        return None
    pasts = dict(history.stages)
    fallen = [s for s in reading.stages if s.path in pasts and pasts[s.path].baseline_quiet < limits.quiet_frac - 0.2]
    silent = [s.name for s in fallen if s.quiet_frac >= limits.quiet_frac]
    if not silent and _has_converged(history, limits):
        return None
    if not ((stuck and (silent or gone)) or any(s.quiet_frac == 1.0 for s in fallen)):
        return None
    seen = f"{', '.join(silent)} {'is' if len(silent) == 1 else 'are'} at zero" if silent else "hardly any gradient arrives"
    text = f"collapsed: {seen}, and the loss is stuck at {said(history, history.median(5))}"
    return finding(
        Kind.COLLAPSE, reading, _to_blame(history, reading, _moving(reading)), text, stages=tuple(silent), loss=reading.loss
    )


RULES: tuple[Rule, ...] = (non_finite, bad_batch, ruinous_step, runaway, divergence, collapse, regress)


def _has_no_gradient(history: History, reading: Reading, limits: Thresholds) -> bool:
    """Hardly any arrives at the weights that are trained, against what did at first."""
    dead = [
        g.grad_rms < limits.dead_grad_frac * past.first_grad
        for g, past in zip(reading.groups, history.groups, strict=True)
        if not g.frozen and g.grad_rms is not None
    ]
    return bool(dead) and all(dead)


def _has_converged(history: History, limits: Thresholds) -> bool:
    """A loss that has come down, and is the same in every step: batches would differ."""
    steps, differs = _CONVERGED
    last = history.losses[-steps:]
    return history.median(5) < limits.stuck_frac * history.start_level and max(last) - min(last) < differs * abs(last[-1])


def _is_stuck(history: History, limits: Thresholds) -> bool:
    """The loss is where guessing leaves it."""
    now, start = history.median(5), history.start_level
    return now >= limits.stuck_frac * start or (now >= limits.flat_frac * start and math.isfinite(plateau(history)))


def _may_recover(history: History, reading: Reading, limits: Thresholds) -> bool:
    """A first shock of middling size, on a schedule that does not rise: six steps show whether the loss comes back down."""
    start = history.start_level
    sure = any(g.recent_ratio >= limits.sure_ratio and not _has_far_to_go(history, i) for i, g in enumerate(history.groups))
    if history.age > 2 * limits.shock_steps or sure or any(g.rising for g in history.groups):
        return False
    if history.age < limits.shock_steps:
        return reading.loss <= limits.shock_frac * start
    return history.median(3) <= limits.stuck_frac * start


def _has_far_to_go(history: History, index: int) -> bool:
    """The size of a group's first steps over its weights says little: it began at zero, or is a prompt, an adapter or a head, small
    beside what is frozen.

    Source: softmax regression, probes and prompts, two seeds: learning rates at which they train were rolled back, 0.99 to 0.26.
    """
    return history.groups[index].from_zero or history.outlook.frozen


def _may_come_back(history: History, reading: Reading, limits: Thresholds) -> bool:
    """A net that had learned, and whose loss has shot up, is given a few steps to come back by itself: most do.

    Source: 45 recorded runs of 72 nets that such a loss was held against; 14 of the 17 that trained well had come half of the way
    back in six steps, and 3 of the 21 that were ruined.
    """
    start, best = history.start_level, history.best
    if not best < limits.had_learned_frac * start or not reading.loss < limits.blown_up_factor * start:
        return False
    return not min(history.losses[-limits.spike_steps :]) > best + limits.regress_frac * (start - best)


def _updates_may_have_done_it(history: History, reading: Reading, limits: Thresholds) -> bool:
    """Some were large enough to have raised the loss: lately, or once, so that weights have grown; or none are measured.

    Those of a net that has something to lose need not be as large.
    """
    measured = [g for g in history.groups if g.ratios]
    least = limits.shift_ratio * min(history.caution(reading), _GOES_ON if history.outlook.continued else 1.0)
    return not measured or any(g.recent_ratio >= least or g.largest >= limits.hot_ratio for g in measured)


def _goes_on(history: History, reading: Reading) -> bool:
    """From an earlier run, as far as that is known, or as weights of trained nets without a new head say.

    Source: 22 nets that go on under a new optimizer; at learning rates of a tenth of the best to a hundred times that, four of 16
    rollbacks that were not needed do not come. On 11 nets that go on with other data, turned upside down, nothing changes.
    """
    moving = [g for g in reading.groups if g.update_ratio is not None]
    return history.outlook.continued or (bool(moving) and all(g.provenance is Provenance.TRAINED for g in moving))


def _hottest(history: History) -> float:
    """The largest update ratio that the loss can have felt lately."""
    return max((g.recent_ratio for g in history.groups), default=0.0)


def _hot_groups(history: History, bar: float) -> tuple[int, ...]:
    return tuple([i for i, g in enumerate(history.groups) if g.recent_ratio >= bar])


def _lasts(group: GroupPast) -> bool:
    """The ratio has not fallen since it was largest."""
    return any(not r < 0.75 * group.recent_ratio for r in group.ratios[-2:])


def _moving(reading: Reading) -> tuple[int, ...]:
    return tuple(g.index for g in reading.groups if not g.frozen)


def _level(history: History) -> float:
    """The loss to compare with: the oldest that is remembered, or the lowest running median so far, the newest loss included, if
    that is lower. NaN, if no loss before the newest is finite."""
    before = [x for x in history.losses[:-1] if math.isfinite(x)]
    if not before:
        return math.nan
    return min(before[0], history.best) if math.isfinite(history.best) else before[0]


def _to_blame(history: History, reading: Reading, groups: tuple[int, ...]) -> tuple[int, ...]:
    """Those groups, but for any that has moved far less than the hottest, on a learning rate far lower than that one's."""
    if len(groups) < 2:
        return groups
    hottest = max(groups, key=lambda i: history.groups[i].largest)
    lr, ratio = reading.groups[hottest].effective_lr, history.groups[hottest].largest
    return tuple(
        [i for i in groups if reading.groups[i].effective_lr > _FAR * lr or history.groups[i].largest > _MUCH_LESS * ratio]
    )


def _too_hot(history: History, reading: Reading, hot: tuple[int, ...], level: float) -> Finding:
    hot = _to_blame(history, reading, hot)
    ratio = max(history.groups[g].recent_ratio for g in hot)
    text = (
        f"{sentence_groups(reading, hot)} too hot: an update of {number(ratio)} of the weights in one step "
        f"(healthy: 0.001 to 0.05), and the loss went from {said(history, level)} to {said(history, reading.loss)}"
    )
    return finding(Kind.TOO_HOT, reading, hot, text, update_ratio=ratio, loss=reading.loss, level=level)
