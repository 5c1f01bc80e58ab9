"""A reading's turn: from what was found in it to what is done, put on record and told. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

from adaptlr.judge.advice import next_time
from adaptlr.judge.control import Control, Refuge, Settings
from adaptlr.judge.doubt import acquit, tried
from adaptlr.judge.history import History
from adaptlr.judge.policy import decide
from adaptlr.judge.telling import worth_saying
from adaptlr.records import Action, Decision, Finding, Kind, Reading


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """What has become of the run."""

    control: Control
    history: History
    decision: Decision | None = None  # to be carried out
    records: tuple[Finding | Decision, ...] = ()  # for the trace
    said: tuple[Finding | Decision, ...] = ()  # those of them that are told


def take_turn(
    settings: Settings,
    control: Control,
    history: History,
    reading: Reading,
    findings: tuple[Finding, ...],
    new: tuple[Finding, ...],
    refuges: Callable[[], tuple[Refuge, ...]],
) -> Turn:
    """Verdicts that wait for later steps are looked at first, and what is found is decided about if none was taken back.

    Args:
        findings: all of this reading, and ``new``, which of them are to be told.
        refuges: the snapshots at hand, oldest first. Asked only where something was found.
    """
    if control.stopped or not (findings or control.suspicion or control.slowed):  # as on most steps
        return Turn(control=control, history=history, records=new, said=new)
    before = control
    control, decision = acquit(control, findings, reading, history)
    control, stands = tried(control, reading, history)
    findings = (*findings, stands) if stands else findings
    if decision is not None:
        history = history.moved_on()
    elif findings:
        control, decision = decide(settings, control, findings, reading, history, refuges())
    if decision is not None and decision.action is Action.HOLD and not new:
        decision = None
    answered = () if decision is None else decision.findings
    recorded = tuple(f for f in findings if f in new or f.kind in answered)
    unanswered = tuple(f for f in recorded if f.kind not in answered)
    done = () if decision is None else (decision,)
    said = (*unanswered, *done) if worth_saying(before, control) else unanswered
    return Turn(control=control, history=history, decision=decision, records=(*recorded, *done), said=said)


def advise(
    settings: Settings, control: Control, history: History, reading: Reading, findings: tuple[Finding, ...]
) -> tuple[tuple[Finding, ...], tuple[float, ...] | None]:
    """Findings of a run that is only watched, with what to write next time: as it would be put right. And each group's learning
    rate then; None where nothing would be done."""
    start = Refuge(step=0, certified=True, per_lr=(), level=math.nan)
    control, decision = decide(settings, control, findings, reading, history, (start,))
    if decision is None or not decision.advice:
        return findings, None
    starved = next((f.groups for f in findings if f.kind is Kind.STARVED and f.kind in decision.findings), ())
    advised = tuple(dataclasses.replace(f, advice=decision.advice) if f.kind in decision.findings else f for f in findings)
    return advised, next_time(reading, control, history, starved=starved)
