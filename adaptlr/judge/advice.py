"""What to write in the code next time, and what the next fit of the same model can go by. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from adaptlr.judge.control import Control
from adaptlr.judge.history import History
from adaptlr.judge.outlook import Lesson
from adaptlr.judge.words import number
from adaptlr.records import GroupReading, Provenance, Reading


def next_time(reading: Reading, control: Control, history: History, *, starved: tuple[int, ...] = ()) -> tuple[float, ...]:
    """What to write for each group: the schedule's largest where it is the user's, and what it is now where it is ours, for that is
    held down as a warm-up rises. With ``starved`` groups, the one of the best fed group for all."""
    if not starved:
        own = [(g, c.scale) for g, c in zip(reading.groups, control.groups, strict=True)]
        return tuple(history.peak(g) if scale == 1.0 else g.lr * scale for g, scale in own)
    best = _best_fed(reading, starved)
    lr = history.peak(best) * control.groups[best.index].scale
    return tuple(g.lr if g.frozen else lr for g in reading.groups)


def lr_advice(reading: Reading, control: Control, history: History) -> str:
    lrs = [number(lr) for g, lr in zip(reading.groups, next_time(reading, control, history), strict=True) if not g.frozen]
    if len(set(lrs)) == 1:
        return f"Next time: a learning rate of about {lrs[0]}"
    return f"Next time: learning rates of about {', '.join(lrs)}, group by group"


def of_schedule(control: Control, reading: Reading, starved: tuple[int, ...], history: History) -> str:
    """The learning rate of the best fed group, as the user wrote it if the schedule is known."""
    best = _best_fed(reading, starved)
    if history.outlook.peak_lrs and best.index < len(history.outlook.peak_lrs):
        return number(next_time(reading, control, history, starved=starved)[best.index])
    return f"that of group {best.index} ({number(best.effective_lr)} at this step)"


def _best_fed(reading: Reading, starved: tuple[int, ...]) -> GroupReading:
    return max((g for g in reading.groups if g.index not in starved and not g.frozen), key=lambda g: g.effective_lr)


def lesson_of(history: History, control: Control, began: Sequence[GroupReading], took: Sequence[float]) -> Lesson | None:
    """What a run has taught: that there was one, and how wrong its learning rates were, if they were.

    Where nothing was done, what an earlier run has taught; None where no step was seen.

    Args:
        began: the groups in the run's first step.
        took: each group's largest effective learning rate since the last decision that changed it.
    """
    outlook = history.outlook
    before = outlook.lesson
    asked = max([outlook.peak(i, g.peak_lr) for i, g in enumerate(history.groups)], default=0.0)
    if not asked > 0:
        return before
    learned = outlook.continued or history.has_come_down
    if before is not None and not control.acted:
        return dataclasses.replace(before, learned=learned)
    largest = max(took, default=0.0)
    raise_broke_it = largest > asked and control.raised is None
    if not control.acted or control.stopped or raise_broke_it or not largest > 0:
        return Lesson(asked=asked, took=asked, learned=learned)
    known = [g for g in began if g.update_ratio is not None]
    random = bool(known) and all(g.provenance is Provenance.RANDOM for g in known)
    all_of_it = random or (before is not None and before.all_of_it)
    return Lesson(asked=asked, took=largest, all_of_it=all_of_it, learned=learned)
