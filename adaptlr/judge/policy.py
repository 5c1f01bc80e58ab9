"""Findings -> decision. Pure: (settings, control, findings, ...) -> (control, decision).

The cure for "too hot" is a rollback and, from then on, ceilings on update ratio and learning rate (:mod:`adaptlr.judge.retreat`).
If the run breaks again, they drop, and the rollback goes back to the start. A starved group gets the learning rate of the best fed
one; a net that is too cold is raised until it moves (:mod:`adaptlr.judge.raises`).
"""

from __future__ import annotations

from adaptlr.judge.bad_batch import put_back, ruined_by_data
from adaptlr.judge.control import Control, Refuge, Settings
from adaptlr.judge.detect import HOT
from adaptlr.judge.doubt import doubtful
from adaptlr.judge.history import History
from adaptlr.judge.raises import feed, warm
from adaptlr.judge.retreat import retreat
from adaptlr.judge.stopping import leave, stop
from adaptlr.judge.verdict import decided
from adaptlr.records import Action, Decision, Finding, Kind, Reading

_RAISES = {Kind.STARVED: feed, Kind.TOO_COLD: warm}
_OF_THE_LOSS = HOT - {Kind.NON_FINITE} | {Kind.TOO_COLD}  # what is held against a loss that does not come down


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
    excuse = history.outlook.excuse
    if excuse and (held := next((f for f in findings if f.kind in _OF_THE_LOSS), None)):
        return control, decided(Action.HOLD, control, control, held, excuse)
    if before := next((f for f in findings if f.kind is Kind.RUINED), None):
        return leave(control, before)
    hot = next((f for f in findings if f.kind in HOT), None)
    if _is_tried_out(control, hot, reading):
        return control, None
    if hot:
        return _go_back(settings, control, hot, reading, history, refuges)
    low = next((f for f in findings if f.kind in _RAISES), None)
    return _RAISES[low.kind](settings, control, low, reading, history) if low else (control, None)


def _is_tried_out(control: Control, hot: Finding | None, reading: Reading) -> bool:
    """The run was slowed down a few steps ago, and nothing has happened since that could not wait."""
    return control.slowed is not None and reading.step < control.slowed.until and (hot is None or doubtful(hot))


def _go_back(
    settings: Settings, control: Control, hot: Finding, reading: Reading, history: History, refuges: tuple[Refuge, ...]
) -> tuple[Control, Decision | None]:
    by_data = ruined_by_data(settings, control, hot, reading, history)
    if hot.kind is Kind.BAD_BATCH and not by_data:  # such is the data: it was told, and that is all
        return control, None
    if by_data and refuges and settings.max_rollbacks:
        return put_back(settings, control, hot, reading, history, refuges)
    if control.rollbacks >= settings.max_rollbacks or not refuges:
        return stop(control, hot, refuges)
    return retreat(settings, control, hot, reading, history, refuges)
