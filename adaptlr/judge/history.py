"""What the rules remember of a run: a frozen summary that each reading moves on by one step. Pure; no torch."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from adaptlr.judge.floor import floor_under
from adaptlr.judge.outlook import Lesson, Outlook
from adaptlr.records import GroupReading, Reading

_LOSSES = 24  # kept for levels and for their noise
_STEPS = 6  # of update ratios kept,
_JUMP = 3.0  # of those since the schedule last raised the learning rate by so much in one step: a warm restart
_STRAIGHT, _STRAIGHT_STEPS = 0.7, (10, 16)  # distance over path of a net that walks as one with momentum; steps it is measured in
_LARGE = 0.05  # update ratio above which few nets trained well
_TAME = 0.03  # mean update ratio above which bends are the learning rate's doing
STARTING = 5  # losses that make the level at the start,
_SHOCK = 0.1  # and the update ratio from which those after it say nothing about that
_ALIGNED = 0.9  # cosine of a gradient with the last one, from which the two point the same way
_DOZEN, _CALM = 12, 0.015  # steps and their largest update ratio, in which the noise of the loss is that of the batches
_FIRST, _GENTLE = (6, 12), 0.05  # the same of first steps, while none was calm: weights have not got anywhere yet
_STAGE_BASELINE = 4  # readings of a stage that make its own baseline
LEARNED = 0.5  # share of the loss at the start below which a net has learned something
_LOWER = 0.1  # share of the loss at the start by which that of a net that has learned something is lower
_GUESSING = 0.97  # share of what guessing costs, at and above which nothing is known
_PACE_OF_TRAINED = 0.4  # share of the pace for weights that have learned something


@lru_cache(maxsize=16)  # several rules ask the same of one reading
def _noise(losses: tuple[float, ...]) -> float:
    finite = [x for x in losses if math.isfinite(x)]
    if len(finite) < 6:
        return 0.1 * abs(finite[0]) if finite else 0.0
    jumps = [abs(b - a) for a, b in itertools.pairwise(finite)]
    return 1.4826 * statistics.median(jumps) / math.sqrt(2)


@lru_cache(maxsize=16)
def _median(losses: tuple[float, ...]) -> float:
    return float(statistics.median([math.inf if math.isnan(x) else x for x in losses])) if losses else math.nan


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupPast:
    """One group's last steps. Ratios, path and walk are of the steps since the start or the last change of its scale."""

    ratios: tuple[float, ...] = ()  # update ratios, newest last; none from before the schedule jumped up
    peak_lr: float = 0.0  # largest scheduled lr so far
    resting: bool = True  # the scheduled lr is that of the step before
    last_lr: float = 0.0
    effective_lr: float = 0.0  # of the step before, as it was held
    rising: bool = False  # the schedule is still going up, and no ceiling holds that down
    first_grad: float = 0.0  # gradient RMS of the run's first step, when nothing was ruined yet
    largest_grad: float = 0.0  # gradient RMS since the start or the last rollback
    spike: float = 0.0  # the newest gradient RMS over the largest before it
    starved_steps: int = 0  # in a row; counted by the rule's own condition on a reading
    aligned: int = 0  # steps in a row, the newest included, on which the gradient pointed where the last one had
    agreement: float = 0.0  # of a gradient with the last one, mean of the last dozen or so steps
    index: float | None = None  # distance index rho, newest
    largest: float = 0.0  # update ratio
    largest_lr: float = 0.0  # effective learning rate of that step
    flung: float = 0.0  # sum of the update ratios that were large
    path: float = 0.0  # sum of the update ratios
    straight: float | None = None  # distance gone over path, of the first steps that were not wild; noise without momentum bends it
    way: float = 0.0  # likewise since the start or the last rollback, changes of scale or not
    age: int = 0  # steps since the start or the last change of scale
    from_zero: bool = False  # all of its weights were at zero when the run began

    def anew(self) -> GroupPast:
        """What stays when the steps so far say nothing about those to come."""
        return GroupPast(
            peak_lr=self.peak_lr,
            resting=self.resting,
            first_grad=self.first_grad,
            last_lr=self.last_lr,
            effective_lr=self.effective_lr,
            straight=self.straight,
            from_zero=self.from_zero,
        )

    @property
    def known(self) -> bool:
        """Enough steps were taken at about this learning rate to say what it does."""
        return len(self.ratios) == _STEPS

    @property
    def ratio(self) -> float:
        """The update ratio of the last few steps, their median; 0 while there are none."""
        return statistics.median(self.ratios or (0.0,))

    @property
    def progress_frac(self) -> float:
        """Share of an update that gets anywhere: without momentum, most of it is noise that the next one takes back."""
        return 1.0 if self.straight is None else min(1.0, self.straight / _STRAIGHT)

    @property
    def walk(self) -> float | None:
        """The length of the path over the distance that the gradients vouch for: rho x t where steps are equal."""
        last = self.ratios[-1] if self.ratios else 0.0
        return self.index * self.path / last if self.index is not None and last > 0 else None

    @property
    def recent_ratio(self) -> float:
        """Largest update ratio of the steps that a loss can already have felt, i.e. all but the newest."""
        past = self.ratios[:-1]
        return max([math.inf if math.isnan(r) else r for r in past], default=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class StagePast:
    """One stage's own baseline, of its first readings, and its newest reading."""

    baseline: tuple[float, ...] = ()  # quiet fractions
    baseline_dormant: tuple[float, ...] = ()
    quiet: float = 0.0
    dormant: float = 0.0

    @property
    def baseline_quiet(self) -> float:
        return statistics.median(self.baseline) if self.baseline else 0.0

    @property
    def died_frac(self) -> float:
        """Share of the stage's units that are dormant now and were not at first."""
        return self.dormant - (statistics.median(self.baseline_dormant) if self.baseline_dormant else 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The run so far, as far as the rules need it. ``start`` survives a rollback; the rest begins anew with it.

    All losses in it are measured from ``floor``; :meth:`shown` is what the user knows them as.
    """

    floor: float = 0.0  # what losses are measured from: 0 while all are above that
    start: tuple[float, ...] = ()  # the first losses of the run
    losses: tuple[float, ...] = ()  # newest last, the newest included
    best: float = math.inf  # lowest running median of three losses
    best_age: int = 0  # reading on which it was seen
    low: float = math.inf  # lowest running median of a dozen: noise makes that of three an accident,
    low_age: int = 0  # which none of the next fifty beats, though the loss falls
    age: int = 0  # readings since the start or the last rollback
    groups: tuple[GroupPast, ...] = ()
    stages: tuple[tuple[str, StagePast], ...] = ()
    outlook: Outlook = Outlook()  # noqa: RUF009  (frozen)
    norm_var: float | None = None  # the newest reading's
    norm_spike: float = 0.0  # and that over the one before
    calm: float = 0.0  # noise of the loss over its level, of the calmest dozen of small steps; 0 while there were none
    rough: float = 0.0  # and the largest of first steps, after the start or a rollback, that were gentle; 0 while there were none
    leapt: float = -math.inf  # the loss after the data changed; -inf if it has not

    @property
    def start_level(self) -> float:
        """The loss of the untrained net: the median of the first few, or the very first if the next are ruined or learned."""
        if not self.start:
            return math.nan
        first, middle = self.start[0], _median(self.start)
        return middle if first < middle < 1.5 * first else first

    def shown(self, loss: float) -> float:
        """A loss that is measured from the floor, as the user knows it."""
        return loss + self.floor

    def over_floor(self, loss: float) -> float:
        """And the other way."""
        return loss - self.floor

    @property
    def noise(self) -> float:
        """Robust standard deviation of the loss from step to step; a tenth of the loss while there are too few to tell."""
        return _noise(self.losses[:-1])

    @property
    def most_noise(self) -> float:
        """What the loss differs by from batch to batch whatever the learning rate, over its level; 0 while that is not known."""
        return max(self.calm, self.rough)

    @property
    def usual_noise(self) -> float:
        """Of the loss from step to step: what it is now, or the most that batches made it at this level, whichever is larger."""
        level = abs(self.median(8))
        return max(self.noise, self.most_noise * level) if math.isfinite(level) else self.noise

    def doubt(self, *counts: int) -> float:
        """Two standard errors, over its level, of the difference between medians of so many losses, as far as batches differ."""
        return 2 * 1.2533 * self.most_noise * math.sqrt(sum(1 / n for n in counts))

    def median(self, n: int) -> float:
        """Median of the last ``n`` losses; a NaN counts as infinite."""
        return _median(self.losses[-n:])

    def no_better_than_guessing(self, loss: float) -> bool:
        """It is no lower than that of answers that know nothing of their inputs, as far as that is known."""
        guess = self.outlook.guess
        return guess is not None and not self.floor and loss >= _GUESSING * guess

    @property
    def has_come_down(self) -> bool:
        """The loss is lower than at the start."""
        return self.median(_LOSSES) < (1 - _LOWER) * self.start_level

    def falling(self, steps: int, frac: float) -> bool:
        """The loss has come down to so small a share within so many steps, or in all if there are fewer."""
        before = self.losses[: max(3, len(self.losses) - steps)][-3:]
        return self.median(3) < frac * _median(before)

    def past(self, index: int) -> GroupPast:
        """What is remembered of a group; nothing, if no reading has had it yet."""
        return self.groups[index] if index < len(self.groups) else GroupPast()

    def _schedule(self, group: GroupReading) -> tuple[bool, float]:
        """Whether a group's scheduled learning rate rests, and the largest so far."""
        past = self.past(group.index)
        return past.resting, max(past.peak_lr, group.lr)

    def ahead(self, group: GroupReading, step: int) -> float | None:
        """:meth:`Outlook.ahead` of a group as it is now."""
        resting, largest = self._schedule(group)
        return self.outlook.ahead(group.index, step, lr=group.lr, resting=resting, seen=largest)

    def pace(self, group: GroupReading, reading: Reading) -> float:
        """:meth:`Outlook.pace` of a group as it is now; less of it where there is something to lose."""
        resting, largest = self._schedule(group)
        pace = self.outlook.pace(group.index, reading.step, lr=group.lr, resting=resting, seen=largest)
        return pace * self.caution(reading)

    def caution(self, reading: Reading) -> float:
        """Share of its usual steps that a net is allowed: less if it has learned something, and a new head of it no more; but not
        if it was put right to such steps when it learned that."""
        learned = any(g.provenance.has_learned and not g.frozen for g in reading.groups)
        if learned and (lesson := self._lesson(reading.groups)) and lesson.all_of_it:
            return 1.0
        return _PACE_OF_TRAINED * self.outlook.small_steps if learned else 1.0

    def peak(self, group: GroupReading) -> float:
        """The largest learning rate of a group's schedule, as far as that is known."""
        return self.outlook.peak(group.index, self._schedule(group)[1])

    def _lesson(self, groups: Iterable[GroupReading]) -> Lesson | None:
        """Of an earlier fit, if the schedule of this one asks for what was wrong then."""
        lesson = self.outlook.lesson
        return lesson if lesson and lesson.holds(max(self.peak(g) for g in groups)) else None

    def known_cold(self, groups: Iterable[GroupReading]) -> float | None:
        """By how much an earlier fit was raised, if the schedule of this one asks for no more; None if nothing is known of that."""
        lesson = self._lesson(groups)
        return lesson.raised if lesson and lesson.raised > 1 else None

    def of_peak(self, group: GroupReading) -> float:
        """A group's learning rate over its :meth:`peak`."""
        return group.lr / self.peak(group)

    def pace_now(self, group: GroupReading, reading: Reading) -> float:
        """:meth:`pace` at this point of the group's schedule."""
        return self.pace(group, reading) * self.of_peak(group)

    def restarted(self) -> History:
        """After a rollback: the memory of how the run began, and of each stage's baseline, is kept."""
        groups = tuple(g.anew() for g in self.groups)
        return History(
            floor=self.floor,
            start=self.start,
            groups=groups,
            stages=self.stages,
            outlook=self.outlook,
            calm=self.calm,
            rough=self.rough,
            leapt=self.leapt,
        )

    @property
    def settled(self) -> bool:
        """No change of the data is so recent that the losses since are too few to say whether the net learns."""
        return self.leapt == -math.inf or len(self.losses) == _LOSSES

    def moved_on(self, steps: int = _LOSSES) -> History:
        """After the data changed, so many steps ago or before all that is remembered: older losses are not comparable."""
        losses = self.losses[-steps:]
        leapt = max(filter(math.isfinite, losses), default=self.leapt)
        best = _median(losses)
        return dataclasses.replace(self, losses=losses, best=best, best_age=self.age, low=best, low_age=self.age, leapt=leapt)

    def with_room_for(self, loss: float) -> History:
        """All losses measured from a floor that is below this one too."""
        if not self.floor and not loss < 0:  # as in nearly every run, at every step
            return self
        start = self.shown(self.start_level) if self.start else loss
        floor = floor_under(self.floor, start=start, best=self.shown(self.best), loss=loss)
        by = self.floor - floor
        if not by:
            return self
        return dataclasses.replace(
            self,
            floor=floor,
            start=tuple(x + by for x in self.start),
            losses=tuple(x + by for x in self.losses),
            best=self.best + by,
            low=self.low + by,
            leapt=self.leapt + by,
        )

    def rescaled(self, groups: tuple[int, ...]) -> History:
        """After a change of these groups' scales: what they did before says nothing about them now."""
        new = tuple(
            dataclasses.replace(g.anew(), way=g.way, largest_grad=g.largest_grad) if i in groups else g
            for i, g in enumerate(self.groups)
        )
        return dataclasses.replace(self, groups=new)


def _advance_group(past: GroupPast, now: GroupReading) -> GroupPast:
    ratio = now.update_ratio
    grad = now.grad_rms if now.grad_rms is not None else 0.0
    agrees = now.grad_agreement if now.grad_agreement is not None and math.isfinite(now.grad_agreement) else 0.0
    age = past.age + 1
    moved = ratio if ratio is not None and math.isfinite(ratio) else 0.0
    path = past.path + moved
    tame = _STRAIGHT_STEPS[0] <= age <= _STRAIGHT_STEPS[1] and 0 < path < _TAME * age
    before = () if 0 < _JUMP * past.last_lr < now.lr else past.ratios
    return GroupPast(
        ratios=(*before, ratio)[-_STEPS:] if ratio is not None else before,
        peak_lr=max(past.peak_lr, now.lr),
        resting=past.last_lr in (0.0, now.lr),
        last_lr=now.lr,
        effective_lr=now.effective_lr,
        rising=past.age > 0 and now.lr > past.last_lr and now.effective_lr > past.effective_lr,
        first_grad=past.first_grad or (grad if math.isfinite(grad) else 0.0),
        largest_grad=max(past.largest_grad, grad) if math.isfinite(grad) else past.largest_grad,
        spike=grad / past.largest_grad if past.largest_grad > 0 and math.isfinite(grad) else 0.0,
        starved_steps=past.starved_steps,
        aligned=past.aligned + 1 if agrees >= _ALIGNED else 0,
        agreement=past.agreement + (agrees - past.agreement) / min(age, _DOZEN),
        index=now.distance_index,
        largest=max(past.largest, moved),
        largest_lr=now.effective_lr if moved > past.largest else past.largest_lr,
        flung=past.flung + (moved if moved >= _LARGE else 0.0),
        path=path,
        straight=now.travel / path if tame and now.travel is not None else past.straight,
        way=past.way + moved,
        age=age,
        from_zero=past.from_zero or (past.peak_lr == 0.0 and now.weight_rms == 0.0),
    )


def advance(history: History, reading: Reading) -> History:
    """The history after one more reading. Groups are matched by position; new groups begin empty."""
    history = history.with_room_for(reading.loss)
    loss = history.over_floor(reading.loss)
    losses = (*history.losses, loss)[-_LOSSES:]
    pasts = history.groups + tuple(GroupPast() for _ in range(len(reading.groups) - len(history.groups)))
    stages = _advance_stages(history.stages, reading) if reading.stages else history.stages
    best, best_age, age = history.best, history.best_age, history.age + 1
    if len(losses) >= 3 and (now := _median(losses[-3:])) < best:
        best, best_age = now, age
    low, low_age = history.low, history.low_age
    if len(losses) >= _DOZEN and (now := _median(losses[-_DOZEN:])) < low:
        low, low_age = now, age
    groups = tuple([_advance_group(p, g) for p, g in zip(pasts, reading.groups, strict=False)])
    return History(  # written out: dataclasses.replace takes several times as long, and this is done at every step
        floor=history.floor,
        start=_begun(history, loss),
        losses=losses,
        best=best,
        best_age=best_age,
        low=low,
        low_age=low_age,
        age=age,
        groups=groups,
        stages=stages,
        outlook=history.outlook,
        norm_var=reading.norm_var,
        norm_spike=_growth(history.norm_var, reading.norm_var),
        calm=_calmest(history.calm, losses, groups),
        rough=_roughest(history.rough, losses, groups, age),
        leapt=history.leapt,
    )


def _growth(before: float | None, now: float | None) -> float:
    """Of a running variance in one step; 0 where there is nothing to compare. From finite to not finite is without bounds."""
    if before is None or now is None or not 0 < before < math.inf:
        return 0.0
    return now / before if math.isfinite(now) else math.inf


def _begun(history: History, loss: float) -> tuple[float, ...]:
    """The first finite losses of the run, as far as no step has thrown the weights about before them."""
    start = history.start
    if not math.isfinite(loss) or len(start) >= STARTING or (start and any(g.largest >= _SHOCK for g in history.groups)):
        return start
    return (*start, loss)


def _calmest(calm: float, losses: tuple[float, ...], groups: tuple[GroupPast, ...]) -> float:
    """How much the loss differs from batch to batch by itself: its noise over its level in a dozen steps that were all small."""
    age = min([g.age for g in groups], default=0)
    if age < _DOZEN or age % 4 or len(losses) < _DOZEN or any(g.largest >= _CALM for g in groups):
        return calm
    now = _roughness(losses[-_DOZEN:])
    return min(calm, now) if calm and now else calm or now


def _roughest(rough: float, losses: tuple[float, ...], groups: tuple[GroupPast, ...], age: int) -> float:
    """The same of the first steps, if they were gentle: a net that small steps have not brought anywhere shows what batches do."""
    if age not in _FIRST or len(losses) < age or any(g.largest >= _GENTLE for g in groups):
        return rough
    return max(rough, _roughness(losses[-age:]))


def _roughness(losses: tuple[float, ...]) -> float:
    """Robust noise of the loss over its level."""
    level = abs(_median(losses))
    bends = [abs(a - 2 * b + c) for a, b, c in zip(losses, losses[1:], losses[2:], strict=False)]  # free of a loss that falls
    return 1.4826 * statistics.median(bends) / math.sqrt(6) / level if level > 0 and math.isfinite(level) else 0.0


def _advance_stages(pasts: tuple[tuple[str, StagePast], ...], reading: Reading) -> tuple[tuple[str, StagePast], ...]:
    stages = dict(pasts)
    for s in reading.stages:
        past = stages.get(s.path, StagePast())
        young = len(past.baseline) < _STAGE_BASELINE
        dormant = s.dormant_frac if s.dormant_frac is not None else 0.0
        stages[s.path] = StagePast(
            baseline=(*past.baseline, s.quiet_frac) if young else past.baseline,
            baseline_dormant=(*past.baseline_dormant, dormant) if young else past.baseline_dormant,
            quiet=s.quiet_frac,
            dormant=dormant,
        )
    return tuple(stages.items())
