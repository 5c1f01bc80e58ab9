"""Too cold, decay-dominated: what convicts, and what of the same kind does not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from adaptlr.judge.detect import observe
from adaptlr.judge.history import History
from adaptlr.judge.outlook import Lesson, Outlook
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Finding, Kind, Provenance, Trait
from tests.judge.runs import group, kinds, play, reading


def cold_run(*, ratio: float, rho_t: float | None, lrs: list[float] | None = None, losses: list[float] | None = None) -> bool:
    """Is a run with this update ratio and this path over vouched distance called too cold within 40 steps?"""
    n = 40
    lrs = lrs or [1e-5] * n
    losses = losses or [2.3] * n
    readings = [
        reading(i, losses[i], group(ratio=ratio, lr=lrs[i], rho=None if rho_t is None else rho_t / (i + 1))) for i in range(n)
    ]
    found = kinds(play(readings)[1])
    assert all(names == [str(Kind.TOO_COLD)] for names in found.values())
    return bool(found)


@pytest.mark.parametrize(
    ("ratio", "rho_t", "cold"),
    [
        pytest.param(2e-4, 2.5, True, id="small-straight"),
        pytest.param(2e-4, 20.0, False, id="small-but-settled"),
        pytest.param(9e-4, 2.5, True, id="straight-and-unchanged"),
        pytest.param(1.3e-3, 2.5, False, id="straight-but-moving"),
        pytest.param(2e-5, 8.0, True, id="tiny-and-bent-by-noise"),
        pytest.param(5e-4, 8.0, False, id="healthy-plateau"),
        pytest.param(9e-4, 8.0, False, id="unchanged-but-settled"),
        pytest.param(1e-6, None, True, id="standing-still"),
        pytest.param(2e-4, None, False, id="no-distance-yet"),
    ],
)
def test_too_cold(ratio: float, rho_t: float | None, cold: bool) -> None:
    assert cold_run(ratio=ratio, rho_t=rho_t) is cold


@pytest.mark.parametrize(
    ("continued", "agreement", "bounce", "provenance", "cold"),
    [
        pytest.param(False, 0.0, 0.5, Provenance.RANDOM, True, id="a-run-of-its-own"),
        pytest.param(True, 0.0, 0.01, Provenance.RANDOM, False, id="gradients-point-anywhere"),
        pytest.param(True, 0.6, 0.01, Provenance.RANDOM, True, id="gradients-agree"),
        pytest.param(True, 0.6, 0.5, Provenance.RANDOM, False, id="as-noisy-as-what-has-learned"),
        pytest.param(True, 0.6, 0.01, Provenance.MIXED, False, id="weights-tell"),
    ],
)
def test_what_goes_on_from_an_earlier_run_is_cold_if_it_looks_unlearned(
    continued: bool, agreement: float, bounce: float, provenance: Provenance, cold: bool
) -> None:
    losses = [2.3 * (1 + bounce * (-1) ** (i // 2)) for i in range(40)]
    same = {"ratio": 1e-6, "lr": 1e-5, "agreement": agreement, "provenance": provenance}
    readings = [reading(i, x, group(rho=2.5 / (i + 1), **same)) for i, x in enumerate(losses)]  # type: ignore[arg-type]
    assert bool(kinds(play(readings, outlook=Outlook(continued=continued))[1])) is cold


@pytest.mark.parametrize(
    ("loss", "guess", "provenance", "cold"),
    [
        pytest.param(2.3, math.log(10), Provenance.RANDOM, True, id="guesses"),
        pytest.param(2.9, math.log(10), Provenance.RANDOM, True, id="and-badly"),
        pytest.param(2.2, math.log(10), Provenance.RANDOM, False, id="knows-something"),
        pytest.param(3.1, math.log(10), Provenance.RANDOM, False, id="another-kind-of-loss"),
        pytest.param(-2.3, math.log(10), Provenance.RANDOM, False, id="one-below-zero"),
        pytest.param(2.3, math.log(10), Provenance.TRAINED, False, id="weights-tell"),
        pytest.param(2.3, None, Provenance.RANDOM, False, id="of-one-answer"),
    ],
)
def test_what_goes_on_from_an_earlier_run_is_cold_if_it_guesses(
    loss: float, guess: float | None, provenance: Provenance, cold: bool
) -> None:
    """However its gradients point."""
    same = {"ratio": 1e-6, "lr": 1e-5, "agreement": 0.0, "provenance": provenance}
    readings = [reading(i, loss, group(rho=2.5 / (i + 1), **same)) for i in range(40)]  # type: ignore[arg-type]
    found = kinds(play(readings, outlook=Outlook(continued=True, guess=guess))[1])
    assert bool(found) is cold


@pytest.mark.parametrize(
    ("ratio", "rho_t", "asked", "cold"),
    [
        pytest.param(1e-6, 2.5, 1e-5, True, id="asks-for-as-much"),
        pytest.param(1e-6, 2.5, 1e-6, False, id="asks-for-more"),
        pytest.param(1e-3, 90.0, 1e-5, True, id="well-below-the-pace"),
        pytest.param(1e-3, 90.0, 1e-6, False, id="but-asks-for-more"),
        pytest.param(2e-3, 90.0, 1e-5, False, id="hardly-below-it"),
    ],
)
def test_what_goes_on_from_a_run_that_had_to_be_raised_is_cold_again(ratio: float, rho_t: float, asked: float, cold: bool) -> None:
    """However its gradients point, and however little of a straight line it walks; a net that has learned has 0.4 of the pace."""
    outlook = Outlook(continued=True, peak_lrs=(1e-5,), lesson=Lesson(asked=asked, took=1e-3))
    same = {"ratio": ratio, "lr": 1e-5, "provenance": Provenance.MIXED}
    readings = [reading(i, 0.5, group(rho=rho_t / (i + 1), **same)) for i in range(40)]  # type: ignore[arg-type]
    assert bool(kinds(play(readings, outlook=outlook)[1])) is cold


@pytest.mark.parametrize(
    ("lr", "rho", "known", "cold"),
    [
        pytest.param(1e-6, 0.2, True, False, id="down"),
        pytest.param(4e-6, 0.2, True, True, id="half-way-down-and-straight-on"),
        pytest.param(4e-6, 9.0, True, False, id="half-way-down-and-bent"),
        pytest.param(4e-6, 0.2, False, False, id="of-unknown-length"),
    ],
)
def test_what_was_raised_before_is_left_to_a_schedule_that_has_come_down(lr: float, rho: float, known: bool, cold: bool) -> None:
    outlook = Outlook(total_steps=100 if known else None, peak_lrs=(1e-5,), lesson=Lesson(asked=1e-5, took=1e-3))
    same = {"ratio": 4e-4, "rho": rho, "provenance": Provenance.MIXED}
    readings = [reading(i, 0.5, group(lr=1e-5 if i < 5 else lr, **same)) for i in range(40)]  # type: ignore[arg-type]
    assert bool(kinds(play(readings, outlook=outlook)[1])) is cold


@pytest.mark.parametrize(
    ("low", "bounce", "cold"),
    [
        pytest.param(2.1, 0.0, True, id="hardly-lower"),
        pytest.param(1.2, 0.0, False, id="lower"),
        pytest.param(1.2, 0.25, True, id="as-batches-differ"),
    ],
)
def test_a_net_that_has_been_lower_is_not_cold(low: float, bounce: float, cold: bool) -> None:
    losses = [2.3 * (1 + bounce * (-1) ** i) for i in range(12)] + [low] * 6 + [2.5] * 22
    assert cold_run(ratio=2e-4, rho_t=2.5, losses=losses) is cold


def test_a_rising_warm_up_and_an_annealed_tail_are_not_cold() -> None:
    rising = [1e-6 * (i + 1) for i in range(40)]
    falling = [1e-2, *([1e-5] * 39)]
    assert not cold_run(ratio=2e-4, rho_t=2.5, lrs=rising)
    assert not cold_run(ratio=2e-4, rho_t=2.5, lrs=falling)
    assert cold_run(ratio=1e-6, rho_t=2.5, lrs=rising)  # no warm-up brings that to life


def test_updates_that_are_not_tiny_are_cold_only_while_the_loss_is_unchanged() -> None:
    assert not cold_run(ratio=9e-4, rho_t=2.5, losses=[2.3 * 0.99**i for i in range(40)])
    assert cold_run(ratio=9e-4, rho_t=2.5, losses=[2.3 * 0.999**i for i in range(40)])


def searching(*, ratio: float, rho_t: float, scale: float = 100.0, loss: float = 2.0) -> bool:
    """Is a run whose learning rate is ours called too cold (again) within 20 steps?"""
    losses = [2.3] * 5 + [loss] * 15
    readings = [reading(i, x, group(ratio=ratio, lr=1e-5, scale=scale, rho=rho_t / (i + 1))) for i, x in enumerate(losses)]
    found = [f for fs in play(readings)[1] for f in fs]
    assert all(f.kind is Kind.TOO_COLD and "still too cold" in f.message for f in found)
    return bool(found)


@pytest.mark.parametrize(
    ("run", "cold"),
    [
        pytest.param({"ratio": 5e-3, "rho_t": 4.0}, True, id="straight"),
        pytest.param({"ratio": 5e-3, "rho_t": 4.0, "scale": 1.0}, False, id="the-users-own"),
        pytest.param({"ratio": 5e-3, "rho_t": 60.0}, False, id="bent"),
        pytest.param({"ratio": 3.5e-2, "rho_t": 4.0}, False, id="large-steps"),
        pytest.param({"ratio": 5e-3, "rho_t": 4.0, "loss": 0.5}, False, id="learned"),
    ],
)
def test_the_search_goes_on_while_the_net_walks_straight(run: dict[str, float], cold: bool) -> None:
    assert searching(**run) is cold


def test_the_search_waits_while_the_loss_falls() -> None:
    def found(per_step: float) -> bool:
        """Within 30 steps that each leave so much of the loss."""
        losses = [2.3 * per_step**i for i in range(30)]
        return any(play(reading(i, x, group(ratio=5e-3, lr=1e-5, scale=100.0, rho=4.0 / (i + 1))) for i, x in enumerate(losses))[1])

    assert found(1.0)
    assert not found(0.97)


@pytest.mark.parametrize(
    ("run", "step"),
    [
        pytest.param({}, 8, id="eight-steps-the-same-way"),
        pytest.param({"agreement": 0.85}, None, id="gradients-turn"),
        pytest.param({"scale": 1.0}, None, id="the-learning-rate-is-the-users"),
        pytest.param({"ratio": 0.04}, None, id="steps-are-not-small"),
        pytest.param({"level": 0.25}, None, id="the-search-is-over"),
        pytest.param({"turns": True}, None, id="not-in-a-row"),
        pytest.param({"rising": True}, None, id="a-ramp"),
    ],
)
def test_the_search_goes_on_though_the_loss_falls_while_gradients_point_the_same_way(run: dict[str, Any], step: int | None) -> None:
    how: dict[str, Any] = {"agreement": 0.98, "scale": 100.0, "ratio": 5e-3, "level": 1.0, "turns": False, "rising": False, **run}
    history, found = History(), []
    for i in range(24):
        lr = 1e-5 * (i + 1 if how["rising"] else 1)
        g = group(ratio=how["ratio"], lr=lr, scale=how["scale"], rho=100.0)
        agreement = 0.0 if i == 0 or (how["turns"] and i % 6 == 5) else how["agreement"]
        loss = 2.3 * how["level"] * 0.97**i if i > 2 else 2.3
        history, findings = observe(history, reading(i, loss, dataclasses.replace(g, grad_agreement=agreement)), Thresholds())
        found += findings
    assert [f.step for f in found[:1]] == ([step] if step else [])
    assert all(f.kind is Kind.TOO_COLD and f.evidence["aligned"] >= 8 for f in found)


@pytest.mark.parametrize(
    ("provenance", "noise", "new"),
    [
        pytest.param(Provenance.RANDOM, 0.5, True, id="random"),
        pytest.param(Provenance.MIXED, 0.05, True, id="a-new-head"),
        pytest.param(Provenance.MIXED, 0.5, False, id="an-old-head"),
        pytest.param(Provenance.TRAINED, 0.05, False, id="no-head"),
    ],
)
def test_who_stands_still_and_has_to_learn_is_told_from_who_does_not(provenance: Provenance, noise: float, new: bool) -> None:
    losses = [2.3 * (1 + noise * (-1) ** (i // 2)) for i in range(40)]
    readings = [reading(i, x, group(ratio=1e-4, rho=4.0 / (i + 1), provenance=provenance)) for i, x in enumerate(losses)]
    found = [f for fs in play(readings)[1] for f in fs if f.kind is Kind.TOO_COLD]
    assert found
    assert all((Trait.TO_LEARN in f.traits) == new for f in found)


@pytest.mark.parametrize(
    ("lr", "scales", "found"),
    [
        pytest.param(1e-5, (100.0, 100.0), [1], id="a-net-that-was-raised"),
        pytest.param(3e-5, (100.0, 100.0), [], id="not-what-is-ahead-of-the-others"),
        pytest.param(1e-5, (1.0, 100.0), [], id="a-group-that-was-fed"),
        pytest.param(1e-5, (0.1, 0.1), [], id="a-net-that-was-slowed-down"),
    ],
)
def test_of_a_net_that_was_raised_the_search_goes_on_for_groups_whose_gradients_point_the_same_way(
    lr: float, scales: tuple[float, float], found: list[int]
) -> None:
    history, groups = History(), list[int]()
    for i in range(16):
        turning = group(0, ratio=5e-3, lr=2e-5, scale=scales[0], rho=100.0)
        aligned = dataclasses.replace(group(1, ratio=5e-3, lr=lr, scale=scales[1], rho=100.0), grad_agreement=0.95)
        history, findings = observe(history, reading(i, 2.3 * 0.97**i, turning, aligned), Thresholds())
        groups += [g for f in findings for g in f.groups]
    assert sorted(set(groups)) == found


def test_the_walk_is_the_same_under_any_schedule() -> None:
    """Equal steps, and steps that grow to the same path: the vouched distance grows with the path, not with the count of steps."""
    rising = [1e-6 * (i + 1) for i in range(30)] + [3e-5] * 10
    path, readings = 0.0, []
    for i, lr in enumerate(rising):
        ratio = 10 * lr
        path += ratio
        readings.append(reading(i, 2.3, group(ratio=ratio, lr=lr, rho=2.5 * ratio / path)))
    found = kinds(play(readings)[1])
    assert min(found) == 31, "as soon as the warm-up is over"


def test_a_run_that_has_learned_is_not_cold() -> None:
    assert not cold_run(ratio=2e-4, rho_t=2.5, losses=[2.3 * 0.9**i for i in range(40)])


@pytest.mark.parametrize(
    ("decay", "ratio", "expected"),
    [
        pytest.param(0.01, 0.0101, True, id="the-seed-at-lr-1"),
        pytest.param(0.01, 0.05, False, id="the-gradient-does-more"),
        pytest.param(1e-4, 1e-4, False, id="little-decay"),
        pytest.param(0.0, 0.01, False, id="none"),
    ],
)
def test_decay_dominated(decay: float, ratio: float, expected: bool) -> None:
    readings = [reading(i, 2.3 - 0.01 * i, group(lr=1.0, decay=decay, ratio=ratio)) for i in range(4)]
    found = kinds(play(readings)[1])
    assert bool(found) is expected
    if expected:
        assert set(found) == {1, 2, 3}
        assert found[1] == [str(Kind.DECAY_DOMINATED)]


def test_of_a_net_that_was_helped_the_groups_that_still_walk_straight_are_found() -> None:
    """A group that was fed walks straight on in small steps; beside it, one on the user's learning rate is where it should be."""
    fed: dict[str, Any] = {"lr": 1e-6, "scale": 1e4, "ratio": 8e-3, "rho": 0.2}

    def found(beside: float, **more: Any) -> list[Finding]:
        readings = [
            reading(i, 2.3 - 0.01 * i, group(0, **fed | more), group(1, lr=1e-2, ratio=0.02, rho=beside)) for i in range(24)
        ]
        return [f for now in play(readings)[1] for f in now if f.kind is Kind.TOO_COLD]

    first = found(beside=20.0)[0]
    assert first.groups == (0,)
    assert "group 0 is still too cold: it moves no more than 0.008 of its weight a step" in first.message
    assert found(beside=0.2)[0].groups == (0, 1)
    assert found(beside=20.0, scale=1.0) == []


class TestTooFar:
    """Every batch asks for the same, and the loss hardly comes down."""

    def found(
        self,
        *,
        steps: int = 17,
        ratio: float = 0.02,
        agreement: float = 0.99,
        losses: tuple[float, float] = (3e4, 3e4),
        guess: float | None = None,
        provenance: Provenance = Provenance.RANDOM,
        scale: float = 1.0,
    ) -> list[str]:
        same: dict[str, Any] = {"ratio": ratio, "agreement": agreement, "provenance": provenance, "scale": scale}
        readings = [reading(i, losses[i > 8], group(rho=90.0, **same)) for i in range(steps)]
        return [f.message for f in play(readings, outlook=Outlook(guess=guess))[1][-1]]

    @pytest.mark.parametrize("ratio", [1e-3, 0.02, 0.29])
    def test_at_any_pace(self, ratio: float) -> None:
        (said,) = self.found(ratio=ratio)
        assert "every batch has asked for the same for 17 steps" in said
        assert "normalise them" in said

    def test_sooner_where_the_learning_rate_is_ours(self) -> None:
        assert self.found(steps=9) == []
        assert len(self.found(steps=9, scale=3.0)) == 1

    def test_of_a_small_loss_it_does_not_speak_of_targets(self) -> None:
        (said,) = self.found(losses=(1.0, 1.0))
        assert said.endswith("has hardly come down")

    @pytest.mark.parametrize(
        "but",
        [
            pytest.param({"ratio": 0.31}, id="large-steps"),
            pytest.param({"agreement": 0.89}, id="batches-differ"),
            pytest.param({"losses": (3e4, 2.8e4)}, id="the-loss-comes-down"),
            pytest.param({"losses": (2.3, 2.3), "guess": math.log(10)}, id="it-learns-how-frequent-each-answer-is"),
            pytest.param({"provenance": Provenance.TRAINED}, id="it-knows-something"),
        ],
    )
    def test_but(self, but: dict[str, Any]) -> None:
        assert self.found(**but) == []
