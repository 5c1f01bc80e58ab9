"""Data that changes under a run is told from steps that are too large: by when the loss leaps, and after what updates."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Finding, Kind
from tests.judge.runs import group, play, reading, simple

FALLING = [2.3 * 0.9**i for i in range(30)]  # down to 0.11
AFTER = [3.0, 2.9, 2.8, 2.6, 2.4, 2.3, 2.1, 2.0]


def found(losses: Sequence[float], ratios: Sequence[float] | float = 0.005, limits: Thresholds | None = None) -> list[Finding]:
    return [f for findings in play(simple(losses, ratios), limits)[1] for f in findings]


def test_a_leap_after_small_steps_is_of_the_data_and_no_learning_rate_is_blamed() -> None:
    (only,) = found([*FALLING, *AFTER])
    assert (only.kind, only.step, only.groups) == (Kind.SHIFT, 32, ())
    assert only.message.startswith("step 32: the loss went from 0.16 to 2.9 in one step, after an update of 0.005 of the weights")
    assert only.evidence["update_ratio"] == 0.005


@pytest.mark.parametrize(
    ("losses", "ratios"),
    [
        ([*FALLING, 0.4, 1.2, *AFTER], 0.012),  # it grew over several steps
        ([*FALLING, 2.0, 2.9, 4.5, 7.0], 0.012),  # it goes on rising
        ([*FALLING, *AFTER], 0.03),  # steps large enough to do it
        ([*FALLING, *AFTER], [*[0.005] * 29, 0.012, *[0.005] * 8]),  # the last one stands out
        ([*FALLING, *AFTER], [*[0.012] * 30, 0.2, *[0.2] * 7]),  # what came since is hot
        ([*FALLING, 3.0, *FALLING[-8:]], 0.005),  # one odd batch
        ([*FALLING, 0.3, 0.3, 0.3, 0.3], 0.005),  # little of what was learned is lost
        ([2.3, 2.2] * 10 + [4.0] * 4, 0.005),  # nothing was learned
        ([*FALLING, 3.0, math.nan, 3.0], 0.005),
        ([*FALLING, math.inf, math.inf, math.inf], 0.005),
    ],
)
def test_not(losses: list[float], ratios: list[float] | float) -> None:
    assert Kind.SHIFT not in [f.kind for f in found(losses, ratios)]


def test_what_was_learned_before_it_counts_no_more() -> None:
    """The same losses, had the steps been larger, are held against them."""
    long = [*AFTER, *[2.0] * 30]
    assert [f.kind for f in found([*FALLING, *long], 0.012)] == [Kind.SHIFT]
    assert Kind.TOO_HOT in [f.kind for f in found([*FALLING, *long], 0.03)]


def test_a_run_may_break_after_it() -> None:
    again = [3.0 * 0.85**i for i in range(25)]
    losses = [*FALLING, *again, 0.5, 1.0, 3.0, 7.0, 20.0, 60.0, 200.0]
    kinds = [f.kind for f in found(losses, [0.005] * 55 + [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])]
    assert kinds[0] == Kind.SHIFT
    assert set(kinds[1:]) & {Kind.DIVERGENCE, Kind.TOO_HOT}


def test_losses_above_those_of_the_start_are_then_no_divergence() -> None:
    assert [f.kind for f in found([*FALLING, *[6.9, 6.8, 6.6, 6.4, 6.0, 5.5]])] == [Kind.SHIFT]
    assert Kind.DIVERGENCE in [f.kind for f in found([*FALLING, 0.2, 1.0, 3.0, 6.9, 6.8, 6.6, 6.4], 0.02)]


def test_no_net_is_called_cold_before_the_losses_since_can_tell() -> None:
    """A straight walk at a high loss: too cold, but not while all that is known of the loss is that the data has changed."""
    losses = [*FALLING, *[3.0 - 0.001 * i for i in range(40)]]
    cold = [group(ratio=1e-4, rho=0.01) for _ in losses]
    readings = [reading(i, loss, g) for i, (loss, g) in enumerate(zip(losses, cold, strict=True))]
    _, findings = play(readings)
    steps = {str(f.kind): f.step for fs in reversed(findings) for f in fs}
    assert steps["data shift"] == 32
    assert steps["too cold"] == 32 + 21, "when 24 losses have come since the change"


def test_the_threshold_decides() -> None:
    assert not found([*FALLING, *AFTER], 0.005, Thresholds(shift_ratio=0.004))
