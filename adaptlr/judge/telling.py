"""Which findings and decisions are told: once an event, and what comes back less and less often. Pure."""

from __future__ import annotations

import dataclasses

from adaptlr.judge.control import Control, Said, Settings
from adaptlr.records import Finding


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


def worth_saying(before: Control, after: Control) -> bool:
    """What a decision has made of one is said: but of bad batches only of the first, second, fourth, eighth, ..."""
    n = after.poisons
    return n == before.poisons or after.stopped or n & (n - 1) == 0
