"""Golden text for decisions in a few words."""

from __future__ import annotations

import dataclasses

import pytest

from adaptlr.records import Action, Decision, Kind, Reading
from adaptlr.show.words import factors, headline, short
from adaptlr.trace import Trace
from tests.show.fake import fake_trace


def _decision(action: Action = Action.RESCALE, before=(1.0, 1.0, 1.0), after=(1.0, 1.0, 1.0), **more) -> Decision:
    return Decision(step=7, action=action, scales_before=before, scales_after=after, message="Because.", **more)


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (_decision(Action.ROLLBACK, after=(1 / 300,) * 3, restored_step=0), "rolled back to 0, x1/300"),
        (_decision(Action.ROLLBACK, restored_step=12), "rolled back to 12"),
        (_decision(Action.ROLLBACK, after=(0.1, 1.0, 1.0), restored_step=5), "rolled back to 5, group 0 x1/10"),
        (_decision(after=(1000.0, 1.0, 1.0)), "group 0 x1000"),
        (_decision(after=(10.0, 1.0, 0.5)), "group 0 x10, group 2 x1/2"),
        (_decision(after=(2.5,) * 3), "all groups x2.5"),
        (_decision(before=(2.0,), after=(1.0,)), "group 0 x1/2"),
        (_decision(after=(0.0, 1.0, 1.0)), "group 0 x0"),
        (_decision(), "rescaled, unchanged"),
        (_decision(Action.HOLD), "warned"),
        (_decision(Action.STOP), "stopped acting"),
    ],
)
def test_short(decision: Decision, words: str) -> None:
    assert short(decision) == words


def test_unchanged_scales_have_no_factor() -> None:
    assert factors(_decision()) == ""


def test_headline() -> None:
    assert headline(fake_trace()) == "Step 59, collapse: rolled back to 0, x1/300, and 1 more decision"
    assert headline(fake_trace(cured=False)) == "Step 59, collapse: warned"
    trace = Trace()
    trace.append(Reading(step=0, loss=1.0))
    assert headline(trace) == "1 step, no fault found"
    trace.append(fake_trace().findings[0])
    assert headline(trace) == "Step 59, collapse: nothing was changed"
    trace.append(dataclasses.replace(trace.findings[0], step=80, kind=Kind.SHIFT))
    assert headline(trace) == "Step 59, collapse: nothing was changed, and 1 more finding"
