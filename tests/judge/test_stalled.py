"""Rules for a loss that does not fall: what convicts, and what of the same kind does not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from adaptlr.judge.detect import observe
from adaptlr.judge.history import History
from adaptlr.judge.outlook import Outlook
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Kind, Provenance
from tests.judge.runs import group, kinds, play, reading, simple, stage

LIMITS = Thresholds()


BOUNCING = [2.3 - 0.02 * i for i in range(12)] + [2.12, 2.42] * 12  # a loss that fell evenly at first


class TestStall:
    """A loss that stands still at large updates; a plateau at small ones is left alone."""

    @pytest.mark.parametrize(
        ("ratio", "rho", "hot"),
        [(0.03, 10.0, True), (0.03, None, True), (0.01, 10.0, False), (0.03, 0.2, False)],
        ids=["hot", "hot-without-distance", "small-updates", "walking-straight"],
    )
    def test_table(self, ratio: float, rho: float | None, hot: bool) -> None:
        readings = [reading(i, x, group(ratio=ratio, rho=rho)) for i, x in enumerate(BOUNCING)]
        found = [f for fs in play(readings)[1] for f in fs]
        assert bool(found) is hot
        if hot:
            assert found[0].kind is Kind.TOO_HOT
            assert "stood at" in found[0].message
            assert found[0].evidence["bounce"] == pytest.approx(0.14, abs=0.01)

    def test_a_task_that_is_slow_to_begin_is_left_alone(self) -> None:
        losses = [0.69, 0.68, *([0.66, 0.7] * 10)]
        assert not any(play([reading(i, x, group(ratio=0.03, rho=10.0)) for i, x in enumerate(losses)])[1])

    def test_dying_units_convict_at_any_loss(self) -> None:
        def found(dormant: float) -> bool:
            losses = [5.8, 3.0, 2.4, *([2.3] * 18)]
            readings = [
                reading(i, x, group(ratio=0.03, rho=10.0), stages=(stage(dormant=0.0 if i < 4 else dormant),))
                for i, x in enumerate(losses)
            ]
            return any(fs for fs in play(readings)[1])

        assert found(0.6)
        assert not found(0.1)

    def test_a_loss_that_bounced_as_much_in_small_steps_is_left_alone(self) -> None:
        def found(calmly: float) -> bool:
            """Sixteen small steps that bounce by so much of the loss, then large ones that bounce by a fifth."""
            before = [reading(i, 2.0 * (1 + calmly * (-1) ** i), group(ratio=0.001, rho=10.0)) for i in range(16)]
            after = [reading(16 + i, 2.0 * (1 + 0.1 * (-1) ** i), group(ratio=0.04, rho=10.0)) for i in range(24)]
            return any(play([*before, *after])[1][16:])

        assert found(0.01)
        assert not found(0.1)

    @pytest.mark.parametrize(
        ("bounce", "ratio", "hot"), [(0.3, 0.03, True), (0.4, 0.03, False), (0.4, 0.06, True), (0.6, 0.06, False)]
    )
    def test_the_more_a_bounce_may_hide_the_larger_have_steps_to_be(self, bounce: float, ratio: float, hot: bool) -> None:
        losses = [2.3, 2.1, *([2.0 - bounce / 2, 2.0 + bounce / 2] * 14)]
        assert any(play([reading(i, x, group(ratio=ratio if i else 0.06, rho=10.0)) for i, x in enumerate(losses)])[1]) is hot

    @pytest.mark.parametrize(("scale", "hot"), [(1.0, True), (0.1, False), (3.0, False)])
    def test_a_learning_rate_of_ours_is_not_blamed(self, scale: float, hot: bool) -> None:
        assert any(play([reading(i, x, group(ratio=0.04, scale=scale, rho=10.0)) for i, x in enumerate(BOUNCING)])[1]) is hot

    @pytest.mark.parametrize(("other", "hot"), [({}, True), ({"scale": 3.0}, False), ({"scale": 3.0, "frozen": True}, True)])
    def test_nor_one_beside_it(self, other: dict[str, Any], hot: bool) -> None:
        groups = (group(ratio=0.04, rho=10.0), group(1, ratio=0.001, rho=10.0, **other))
        assert any(play([reading(i, x, *groups) for i, x in enumerate(BOUNCING)])[1]) is hot

    @pytest.mark.parametrize(("first", "hot"), [(0.03, False), (0.06, True)], ids=["gentle", "not-gentle"])
    def test_a_loss_that_bounced_as_much_from_the_first_steps_on_is_left_alone(self, first: float, hot: bool) -> None:
        """Batches differ, unless those steps were large enough to throw a net about from the start."""
        losses = [2.3, 2.1, *([1.85, 2.15] * 14)]
        assert any(play([reading(i, x, group(ratio=0.03 if i else first, rho=10.0)) for i, x in enumerate(losses)])[1]) is hot

    def test_what_happened_at_another_learning_rate_does_not_count(self) -> None:
        history, _ = play([reading(i, x, group(ratio=0.04, rho=0.2)) for i, x in enumerate(BOUNCING)])
        history, found = history.rescaled((0,)), []
        for i in range(len(BOUNCING), 60):
            history, findings = observe(history, reading(i, 1.85 + 0.3 * (i % 2), group(ratio=0.04, rho=10.0)), LIMITS)
            found += [f.step for f in findings]
        assert found[0] == len(BOUNCING) + 18, "three losses on, there was a lower one"

    @pytest.mark.parametrize("lower", [False, True])
    def test_a_loss_that_was_lower_a_moment_ago_has_not_stood_still(self, lower: bool) -> None:
        losses = [*BOUNCING[:18], *([1.9] * 3 if lower else BOUNCING[18:21]), *BOUNCING[18:]]
        found = [f for fs in play([reading(i, x, group(ratio=0.03, rho=10.0)) for i, x in enumerate(losses)])[1] for f in fs]
        assert found[0].step == (19 + 16 if lower else 27)


class TestThrown:
    """Large steps that lead nowhere, and a loss that neither bounces nor falls."""

    @pytest.mark.parametrize(
        ("run", "step"),
        [
            pytest.param({}, 23, id="thrown"),
            pytest.param({"walk": None}, 23, id="no-distance-vouched-for"),
            pytest.param({"ratio": 0.04}, None, id="smaller-steps"),
            pytest.param({"walk": 100.0}, None, id="getting-somewhere"),
            pytest.param({"per_step": 0.99}, None, id="the-loss-falls"),
            pytest.param({"level": 1.2}, None, id="learned-much"),
            pytest.param({"scale": 0.5}, None, id="on-a-learning-rate-of-ours"),
            pytest.param({"bounce": 0.4}, None, id="a-fall-would-be-hidden"),
            pytest.param({"agreement": -0.3}, None, id="across-a-valley"),
            pytest.param({"agreement": -0.1}, 23, id="thrown-and-gradients-turn-a-little"),
        ],
    )
    def test_table(self, run: dict[str, Any], step: int | None) -> None:
        how: dict[str, Any] = {
            "ratio": 0.06,
            "walk": 400.0,
            "per_step": 1.0,
            "level": 1.6,
            "agreement": 0.0,
            "scale": 1.0,
            "bounce": 0.0,
            **run,
        }
        losses = [2.3] * 5 + [how["level"] * how["per_step"] ** i * (1 + how["bounce"] * (i % 2)) for i in range(40)]
        groups = [
            group(ratio=how["ratio"], rho=how["walk"] and how["walk"] / (i + 1), scale=how["scale"]) for i in range(len(losses))
        ]
        readings = [
            reading(i, x, dataclasses.replace(g, grad_agreement=how["agreement"]))
            for i, (x, g) in enumerate(zip(losses, groups, strict=True))
        ]
        found = [(f.step, f.kind) for fs in play(readings)[1] for f in fs]
        assert found[:1] == ([(step, Kind.TOO_HOT)] if step else [])


class TestStuck:
    """Weights that large first steps replaced, smaller steps since, and a loss that has been no lower for a tenth of the run."""

    @pytest.mark.parametrize(
        ("run", "step"),
        [
            pytest.param({}, 51, id="stuck"),
            pytest.param({"total": 200}, 35, id="a-shorter-run"),
            pytest.param({"frozen": True}, None, id="most-of-the-net-is-frozen"),
            pytest.param({"total": None}, 71, id="of-unknown-length"),
            pytest.param({"first": 0.09, "large": 8}, None, id="no-large-step"),
            pytest.param({"large": 2}, None, id="small-ones-have-gone-as-far"),
            pytest.param({"travel": 0.45}, None, id="has-not-gone-far"),
            pytest.param({"lowest": 0.8}, None, id="learned-much"),
            pytest.param({"per_step": 0.997}, None, id="the-loss-falls"),
            pytest.param({"dip": 0.7, "per_step": 0.997}, None, id="a-dip-and-the-loss-falls-all-the-while"),
            pytest.param({"dip": 0.7}, 51, id="a-dip-and-it-does-not"),
            pytest.param({"lowest": 1.2}, 51, id="learned-something"),
            pytest.param({"lowest": 1.2, "ratio": 0.02, "anneal": 0.99}, None, id="learned-and-a-fast-schedule-comes-down"),
            pytest.param({"lowest": 1.2, "ratio": 0.004, "anneal": 0.99}, 51, id="learned-and-a-slow-schedule-comes-down"),
            pytest.param({"lowest": 1.2, "ratio": 0.02, "anneal": 1.01}, 51, id="learned-and-a-fast-schedule-goes-up"),
            pytest.param({"noise": 0.1, "anneal": 0.99}, 51, id="learned-little-and-the-schedule-comes-down"),
        ],
    )
    def test_table(self, run: dict[str, Any], step: int | None) -> None:
        how: dict[str, Any] = {
            "noise": 0.0,
            "anneal": 1.0,
            "total": 400,
            "first": 0.12,
            "large": 5,
            "travel": 0.6,
            "lowest": 1.8,
            "dip": 1.0,
            "per_step": 1.0,
            "ratio": 0.005,
            "frozen": False,
            **run,
        }
        losses = (
            [2.3] * 5
            + [how["lowest"]] * 5
            + [how["lowest"] * how["dip"]] * 3
            + [
                1.05 * (1 + how["noise"]) * how["lowest"] * how["per_step"] ** i * (1 + how["noise"] * (-1) ** i)
                for i in range(200)
            ]
        )
        history, found = History(outlook=Outlook(total_steps=how["total"], frozen=how["frozen"])), []
        for i, loss in enumerate(losses):
            large = 3 <= i < 3 + how["large"]
            g = group(ratio=how["first"] if large else how["ratio"], rho=100.0, lr=1e-3 * how["anneal"] ** i)
            g = dataclasses.replace(g, travel=how["travel"])
            history, findings = observe(history, reading(i, loss, g), LIMITS)
            found += [(f.step, f.kind) for f in findings]
        assert found[:1] == ([(step, Kind.TOO_HOT)] if step else [])

    def test_not_in_the_second_half_of_a_run(self) -> None:
        history = History(outlook=Outlook(total_steps=120))
        for i in range(120):
            g = dataclasses.replace(group(ratio=0.12 if i % 8 == 0 and i <= 40 else 0.005, rho=100.0), travel=0.6)
            history, findings = observe(history, reading(i, 2.3 - 0.012 * min(i, 40), g), LIMITS)
            assert not findings


def noisy(losses: list[float], noise: float) -> list[float]:
    """Losses with such noise over their level, the same in any two steps."""
    return [x * (1 + noise * (-1) ** i) for i, x in enumerate(losses)]


class TestWhereBatchesDiffer:
    """What a dozen first, gentle steps have shown to be the noise of batches convicts nobody later; the same losses alone do."""

    FIRST = 12

    def convicted(self, first: float, then: list[float], **how: Any) -> bool:
        losses = noisy([2.3] * self.FIRST, first) + then
        readings = [
            reading(i, x, group(ratio=0.001 if i < self.FIRST else how["ratio"], rho=how["rho"])) for i, x in enumerate(losses)
        ]
        return any(play(readings)[1])

    @pytest.mark.parametrize(("first", "hot"), [(0.0, True), (0.1, False)])
    def test_a_rise_within_that_noise_is_no_regress(self, first: float, hot: bool) -> None:
        assert self.convicted(first, [1.9] * 10 + [2.3] * 14, ratio=0.02, rho=0.2) is hot

    @pytest.mark.parametrize(("first", "hot"), [(0.0, True), (0.1, False)])
    def test_a_fall_that_may_be_hidden_by_it_is_no_standstill(self, first: float, hot: bool) -> None:
        assert self.convicted(first, [1.6] * 40, ratio=0.06, rho=100.0) is hot

    def test_noise_of_first_steps_outlives_a_rollback(self) -> None:
        history, _ = play([reading(i, x, group(ratio=0.001)) for i, x in enumerate(noisy([2.3] * 12, 0.1))])
        assert history.most_noise == history.restarted().most_noise == pytest.approx(0.2 * 1.4826 / math.sqrt(6) * 2, rel=0.05)


@pytest.mark.parametrize(
    ("first", "later", "step"),
    [
        pytest.param(1.5, 2.2, 15, id="shaken-and-nothing-learned"),
        pytest.param(1.5, 1.6, None, id="shaken-and-learns"),
        pytest.param(0.2, 2.2, None, id="not-shaken"),
    ],
)
def test_a_step_that_replaced_the_weights_is_too_hot_if_nothing_is_learned_after_it(
    first: float, later: float, step: int | None
) -> None:
    found = kinds(play(simple([2.3, 2.3, 2.3, *[later] * 17], [first, *[0.03] * 19]))[1])
    assert min(found, default=None) == step


@pytest.mark.parametrize(("later", "step"), [(2.2, None), (2.4, 15)])
def test_of_a_net_that_is_mostly_frozen_it_need_not_be_much_lower(later: float, step: int | None) -> None:
    run = simple([2.3, 2.3, 2.3, *[later] * 17], [1.5, *[0.03] * 19])
    assert min(kinds(play(run, outlook=Outlook(frozen=True))[1]), default=None) == step


@pytest.mark.parametrize(("agreement", "hot"), [(0.5, True), (0.95, False)])
@pytest.mark.parametrize("travel", [0.1, 0.9], ids=["shaken", "replaced"])
def test_a_group_whose_gradients_agree_is_not_thrown_but_has_far_to_go(agreement: float, hot: bool, travel: float) -> None:
    """A net on targets far from zero, at steps that are large as they have to be."""
    ratios = [1.5 if travel < 0.5 else 0.4, *[0.33] * 39]
    same: dict[str, Any] = {"agreement": agreement, "rho": 2.0, "provenance": Provenance.TRAINED}
    readings = [
        dataclasses.replace(r, groups=(dataclasses.replace(r.groups[0], travel=travel),))
        for r in (reading(i, 2.2, group(ratio=x, **same)) for i, x in enumerate(ratios))
    ]
    assert bool(kinds(play(readings)[1])) is hot


@pytest.mark.parametrize(
    ("run", "step"),
    [
        pytest.param({}, 30, id="replaced"),
        pytest.param({"travel": 0.6}, None, id="still-half-itself"),
        pytest.param({"later": 2.0}, None, id="it-learns"),
        pytest.param({"at": 60}, None, id="in-its-own-time"),
        pytest.param({"rho": 0.5}, None, id="in-a-straight-line"),
        pytest.param({"at": 8}, 23, id="too-early-to-tell"),
        pytest.param({"frozen": True}, None, id="most-of-the-net-is-frozen"),
    ],
)
def test_weights_that_were_soon_replaced_are_too_hot_if_nothing_is_learned(run: dict[str, Any], step: int | None) -> None:
    """Adam at a hundred times a good learning rate: the weights grow until its steps look small, and the loss says nothing."""
    how: dict[str, Any] = {"travel": 0.9, "later": 2.2, "at": 30, "rho": 2.0, "frozen": False, **run}
    readings = [
        reading(
            i,
            2.3 if i < 4 else how["later"],
            dataclasses.replace(group(ratio=0.01, rho=how["rho"]), travel=how["travel"] if i >= how["at"] else 0.1),
        )
        for i in range(80)
    ]
    assert min(kinds(play(readings, outlook=Outlook(frozen=how["frozen"]))[1]), default=None) == step
