"""Losses that go below zero: what they are measured from, and that rules speak of them as of any other."""

from __future__ import annotations

import dataclasses
import math
import random
import statistics

import pytest

from adaptlr.judge.control import Control, GroupControl, Slowed
from adaptlr.judge.detect import observe
from adaptlr.judge.doubt import tried
from adaptlr.judge.floor import floor_under
from adaptlr.judge.history import History, advance
from adaptlr.judge.outlook import Outlook
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Finding, Kind, Trait
from tests.judge.runs import group, kinds, play, reading, simple

SIMILARITY = [-0.05 - 0.85 * (1 - 0.9**i) for i in range(40)]  # -0.05 to -0.89, as a cosine similarity is trained


@pytest.mark.parametrize(
    ("floor", "start", "best", "loss", "expected"),
    [
        pytest.param(0.0, 2.3, 0.5, 0.4, 0.0, id="all-above-zero"),
        pytest.param(0.0, 2.3, 0.5, math.nan, 0.0, id="nan"),
        pytest.param(0.0, 2.3, 0.5, -math.inf, 0.0, id="minus-infinity"),
        pytest.param(0.0, -0.05, math.inf, -0.05, -0.1, id="begins-below-by-its-own-size"),
        pytest.param(-0.1, -0.05, -0.05, 0.4, -0.1, id="never-rises"),
        pytest.param(-0.1, -0.05, -0.85, -0.8, -1.45, id="as-far-below-as-it-fell-roughly"),
        pytest.param(0.0, 0.0, math.inf, 0.0, 0.0, id="nothing-to-go-by"),
        pytest.param(0.0, 0.7, 1e-6, 0.0, 0.0, id="nothing-left-to-learn"),
        pytest.param(0.0, 0.7, 1e-6, -1e-7, 0.0, id="the-same-rounded"),
    ],
)
def test_floor(floor: float, start: float, best: float, loss: float, expected: float) -> None:
    assert floor_under(floor, start=start, best=best, loss=loss) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_user_is_shown_the_losses_that_there_were(seed: int) -> None:
    rng = random.Random(seed)
    losses = [1.0 - 0.1 * i + rng.gauss(0, 0.3) for i in range(40)]
    history, floors = History(), []
    for i, (r, loss) in enumerate(zip(simple(losses), losses, strict=True)):
        history = advance(history, r)
        floors.append(history.floor)
        assert history.losses[-1] > 0
        assert history.shown(history.losses[-1]) == pytest.approx(loss)
        assert history.shown(history.median(5)) == pytest.approx(statistics.median(losses[max(0, i - 4) : i + 1]))
    medians = [statistics.median(losses[i : i + 3]) for i in range(38)]
    assert history.shown(history.best) == pytest.approx(min(medians))
    assert [history.shown(x) for x in history.start] == pytest.approx(losses[:5])
    assert floors == sorted(floors, reverse=True)
    assert floors[-1] < min(losses)
    assert history.restarted().floor == history.floor


def test_losses_above_zero_are_as_they_are() -> None:
    history, _ = play(simple([2.3 * 0.9**i for i in range(60)]))
    assert history.floor == 0.0


def test_a_loss_of_nothing_at_all_is_no_collapse() -> None:
    """A net without an error left: its cross entropy is 0 in single precision, and no gradient arrives."""
    losses = [max(0.0, 1.0 - 0.05 * i) for i in range(60)]
    readings = [reading(i, x, group(ratio=0.01, grad=x + 1e-9)) for i, x in enumerate(losses)]
    history, found = play(readings)
    assert not any(found)
    assert history.floor == 0.0


def test_too_hot_in_the_words_of_the_user() -> None:
    _, found = play(simple([-0.05, 0.6], [2.0, 1.5]))
    (hot,) = found[1]
    assert hot.kind is Kind.TOO_HOT
    assert "the loss went from -0.05 to 0.6" in hot.message
    assert hot.evidence["loss"] == pytest.approx(0.6)
    assert hot.evidence["level"] == pytest.approx(-0.05)


def test_what_was_learned_and_lost() -> None:
    _, found = play(simple([*SIMILARITY, *[-0.1] * 8], 0.03))
    (step, names), *_ = kinds(found).items()
    assert (step >= 40, names) == (True, [str(Kind.TOO_HOT)])
    assert "had come down from -0.05 to -0.88 and is back at -0.1" in found[step][0].message


def test_a_healthy_run_is_healthy() -> None:
    assert not any(play(simple(SIMILARITY, 0.02))[1])
    assert not any(play(simple([1.0 - 0.1 * i for i in range(60)], 0.02))[1])


@pytest.mark.parametrize(("losses", "step"), [([-0.05] * 40, 7), (SIMILARITY, None)], ids=["stands", "falls"])
def test_too_cold(losses: list[float], step: int | None) -> None:
    """Of a run that has learned nothing; one that has is measured by what it does."""
    history = History(outlook=Outlook(total_steps=160, peak_lrs=(1e-3,)))
    ratio = 2e-4 if step else 5e-3
    found = {}
    for i, loss in enumerate(losses):
        g = dataclasses.replace(group(ratio=ratio, rho=100.0), travel=0.9 * ratio * (i + 1))
        history, findings = observe(history, reading(i, loss, g), Thresholds())
        found.update({f.kind: i for f in findings if f.kind not in found})
    assert found == ({Kind.TOO_COLD: step} if step else {})


@pytest.mark.parametrize(("loss", "stands"), [(-0.5, False), (-0.1, True)])
def test_a_trial_that_the_floor_has_moved_in(loss: float, stands: bool) -> None:
    """What it began with is kept as the user knows it: by then the floor may be lower."""
    history, _ = play(simple([-0.05] * 12 + [loss] * 12))
    why = Finding(step=12, kind=Kind.TOO_HOT, groups=(0,), stages=(), message="", traits=(Trait.STALLED,))
    slowed = Slowed(finding=why, until=24, loss=-0.05 if not stands else -0.1, groups=(GroupControl(),))
    control, verdict = tried(Control(groups=(GroupControl(),), slowed=slowed), reading(24, loss), history)
    assert (verdict is not None) is stands
    assert (control.slowed is not None) is stands
