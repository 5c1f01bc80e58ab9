"""One transition table for each rule of heat: what convicts, and what of the same kind does not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from adaptlr.judge.detect import observe
from adaptlr.judge.history import History
from adaptlr.judge.outlook import Outlook
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Kind
from tests.judge.runs import group, kinds, play, reading, simple, stage

LIMITS = Thresholds()
FALLING = [2.3, 2.2, 2.1, 2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8]


def first(losses: list[float], ratios: list[float] | float) -> tuple[int, str] | None:
    """Step and kind of the first finding."""
    found = kinds(play(simple(losses, ratios))[1])
    return next(((step, names[0]) for step, names in found.items()), None)


@pytest.mark.parametrize(
    ("losses", "ratios", "expected"),
    [
        pytest.param([2.3, math.nan], [0.01], (1, Kind.NON_FINITE), id="nan-loss"),
        pytest.param([2.3, math.inf], [0.01], (1, Kind.NON_FINITE), id="infinite-loss"),
        pytest.param([2.3, 3306.0], [3.6, 0.7], (1, Kind.TOO_HOT), id="ruinous-first-step"),
        pytest.param([2.4, 3.1, 2.9, 2.8, 2.8, 2.9], [1.2, 0.5, 0.3, 0.2, 0.2], (5, Kind.TOO_HOT), id="a-shock-that-lasts"),
        pytest.param([2.4, 3.1, 2.4, 2.1, 2.2, 1.8, 1.6], [1.2, 0.5, 0.3, 0.2, 0.2, 0.1], None, id="RMSprops-first-step"),
        pytest.param([2.4, 7.3], [1.2, 0.5], (1, Kind.TOO_HOT), id="a-shock-that-ruins"),
        pytest.param([2.4, 3.1], [3.4, 0.5], (1, Kind.TOO_HOT), id="thrice-the-weights"),
        pytest.param([2.3, 2.0, 1.7, 1.5], [1.0, 0.8, 0.7, 0.6], None, id="large-ratio-but-loss-falls"),
        pytest.param([2.3, 2.9, 2.4, 2.4, 1.9, 1.3], [0.36, 0.24, 0.18, 0.14, 0.1, 0.06], None, id="healthy-bump-of-Adam"),
        pytest.param([5.8, 13.0, 2.9, 2.4, 2.3], [0.13, 0.09, 0.07, 0.06, 0.05], None, id="one-spike-and-down"),
        pytest.param([2.3, 2.4, 3.8, 2.9, 4.1], [0.1, 0.14, 0.21, 0.19, 0.18], (4, Kind.TOO_HOT), id="two-of-three-risen"),
        pytest.param([2.3, 2.3, 2.1, 1.9, 5.0, 6.0], [0.03, 0.05, 0.07, 0.19, 0.3], (5, Kind.TOO_HOT), id="runaway"),
        pytest.param([2.3, 2.3, 2.1, 1.9, 30.0], [0.03, 0.05, 0.07, 0.19, 0.3], (4, Kind.TOO_HOT), id="far-out-at-once"),
        pytest.param(
            [2.49, 4.9, 3.09, 4.09, 2.67, 2.17, 2.13, 1.61], [0.39, 0.23, 0.19, 0.13, 0.12, 0.11], None, id="Adam-shakes-ResNet-18"
        ),
        pytest.param([*FALLING, 60.0, 0.8, 0.7], 0.01, None, id="one-bad-batch"),
        pytest.param([*FALLING, 7.0, 7.5, 8.0], 0.01, (18, Kind.DIVERGENCE), id="divergence-at-small-updates"),
        pytest.param([*FALLING, 0.9, 1.3, 0.8, 1.2], 0.02, None, id="noise"),
    ],
)
def test_too_high(losses: list[float], ratios: list[float], expected: tuple[int, Kind] | None) -> None:
    assert first(losses, ratios) == (expected and (expected[0], str(expected[1])))


def test_a_shock_is_not_forgiven_on_a_schedule_that_rises_nor_late_in_a_run() -> None:
    def found(lrs: list[float], losses: list[float], ratios: list[float]) -> list[int]:
        readings = [reading(i, x, group(ratio=r, lr=lr)) for i, (x, r, lr) in enumerate(zip(losses, ratios, lrs, strict=True))]
        return sorted(kinds(play(readings)[1]))

    assert found([1e-3, 1e-3], [2.4, 3.1], [1.2, 0.5]) == []
    assert found([1e-3, 2e-3], [2.4, 3.1], [1.2, 0.5]) == [1]
    assert found([1e-3] * 18, [*FALLING, 0.8, 1.3], [*([0.01] * 15), 0.9, 0.5, 0.5]) == [17]


def test_the_ratio_of_the_newest_step_is_not_blamed_for_a_loss_that_came_before_it() -> None:
    assert first([2.3, 3.4], [0.01, 3.0]) is None
    assert first([2.3, 3.4], [3.0, 0.01]) == (1, str(Kind.TOO_HOT))


def test_weights_that_have_not_moved_have_not_diverged() -> None:
    """As when training goes on from a loss of next to nothing, which differs from batch to batch by all of itself."""
    assert first([0.003, 0.004, 0.02, 0.02, 0.02, 0.02], 1e-5) is None
    assert first([0.003, 0.004, 0.02, 0.02, 0.02, 0.02], 1e-3) == (4, str(Kind.DIVERGENCE))


def test_nonfinite_weights_convict_though_the_loss_is_finite() -> None:
    _, found = play([reading(0, 2.3), reading(1, 2.2, group(nonfinite=True))])
    assert found[0] == ()
    assert found[1][0].kind is Kind.NON_FINITE
    assert found[1][0].groups == (0,)


def test_regress_convicts_when_most_of_what_was_learned_is_lost_and_not_at_small_updates() -> None:
    losses = [*FALLING, 2.2, 2.3, 2.2, 2.3, 2.2, 2.3]
    assert first(losses, 0.03) == (21, str(Kind.TOO_HOT))
    assert first(losses, 0.001) is None


@pytest.mark.parametrize("ratio", [0.03, 0.2], ids=["regress", "runaway"])
@pytest.mark.parametrize(
    ("after", "found"),
    [
        pytest.param([2.1, 2.3, 2.2, 1.9, 1.2, 0.9, 0.8], None, id="comes-back"),
        pytest.param([2.1, 2.3, 2.2, 2.3, 2.2, 2.3, 2.2], 21, id="does-not"),
    ],
)
def test_what_had_learned_is_given_six_steps_to_come_back_from_a_spike(ratio: float, after: list[float], found: int | None) -> None:
    assert first([*FALLING, *after], ratio) == (found and (found, str(Kind.TOO_HOT)))


def test_neither_what_had_learned_little_nor_what_blows_up_is_waited_for() -> None:
    little = [2.3 - 0.06 * i for i in range(15)]
    assert first([*little, 2.9, 3.0], 0.2) == (16, str(Kind.TOO_HOT))
    assert first([*FALLING, 24.0], 0.2) == (16, str(Kind.TOO_HOT))


@pytest.mark.parametrize(
    ("beside", "accused"),
    [
        pytest.param({"lr": 1e-3, "ratio": 0.02}, (0,), id="slower-on-a-far-lower-lr"),
        pytest.param({"lr": 1e-1, "ratio": 0.02}, (0, 1), id="slower-on-the-same-lr"),
        pytest.param({"lr": 1e-3, "ratio": 0.06}, (0, 1), id="as-fast-on-a-far-lower-lr"),
    ],
)
@pytest.mark.parametrize("rule", ["regress", "collapse", "divergence"])
def test_a_group_that_moves_little_on_a_far_lower_lr_is_not_to_blame(
    beside: dict[str, Any], accused: tuple[int, ...], rule: str
) -> None:
    losses = {
        "regress": [*FALLING, 2.2, 2.3, 2.2, 2.3, 2.2, 2.3],
        "collapse": [2.3] * 14,
        "divergence": [2.3, 2.3, 2.3, 2.3, 9.0, 9.0, 9.0, 9.0, 9.0],
    }[rule]
    readings = [
        reading(
            i,
            x,
            group(0, lr=0.1, ratio=0.09),
            group(1, **beside),
            stages=(stage(quiet=0.5 if rule != "collapse" or i < 5 else 1.0),),
        )
        for i, x in enumerate(losses)
    ]
    found = next(f for fs in play(readings)[1] for f in fs)
    assert found.groups == accused


class TestBadBatch:
    """One batch far out of scale: found by the gradient, or by what a normalisation remembers."""

    @staticmethod
    def found(*, at: int = 12, grad: float = 1.0, var: float = 1.0, ratio: float = 0.01) -> list[int]:
        readings = [
            dataclasses.replace(
                reading(i, x, group(ratio=ratio, grad=0.1 * (grad if i == at else 1.0))), norm_var=2.0 * (var if i >= at else 1.0)
            )
            for i, x in enumerate(FALLING)
        ]
        return [step for step, names in kinds(play(readings)[1]).items() if str(Kind.BAD_BATCH) in names]

    @pytest.mark.parametrize("spike", [{"grad": 1e3}, {"var": 1e3}, {"var": math.inf}, {"var": math.nan}])
    def test_found_on_its_step(self, spike: dict[str, Any]) -> None:
        assert self.found(**spike) == [12]

    @pytest.mark.parametrize(
        "run",
        [
            pytest.param({"grad": 100.0}, id="a-hundred-times-is-rare-and-healthy"),
            pytest.param({"var": 100.0}, id="so-is-that"),
            pytest.param({"grad": 1e3, "at": 5}, id="while-gradients-find-their-scale"),
            pytest.param({"var": 1e3, "at": 5}, id="while-running-variances-do"),
            pytest.param({"var": math.nan, "at": 0}, id="a-variance-that-never-was-a-number"),
            pytest.param({"var": math.inf, "at": 5}, id="one-that-is-infinite-for-long"),
            pytest.param({"grad": 1e3, "ratio": 0.3}, id="large-steps-led-up-to-it"),
        ],
    )
    def test_not(self, run: dict[str, Any]) -> None:
        assert self.found(**run) == []


class TestCollapse:
    """A silent stage convicts against its own baseline, and only while the loss is stuck."""

    @staticmethod
    def found(*, stuck: bool, before: float, after: float) -> list[str]:
        losses = [2.3] * 14 if stuck else [2.3 - 0.1 * i for i in range(14)]
        readings = [
            reading(i, x, group(ratio=0.001), stages=(stage(quiet=before if i < 5 else after),)) for i, x in enumerate(losses)
        ]
        return [str(f.kind) for fs in play(readings)[1] for f in fs]

    def test_silent_and_stuck(self) -> None:
        assert str(Kind.COLLAPSE) in self.found(stuck=True, before=0.5, after=1.0)

    @pytest.mark.parametrize(
        ("stuck", "before", "after"),
        [
            pytest.param(False, 0.5, 1.0, id="silent-but-learning"),
            pytest.param(True, 0.5, 0.6, id="stuck-but-alive"),
            pytest.param(True, 0.99, 1.0, id="silent-from-the-start"),
        ],
    )
    def test_not(self, stuck: bool, before: float, after: float) -> None:
        assert self.found(stuck=stuck, before=before, after=after) == []

    def test_no_gradient(self) -> None:
        def run(grad: float, loss: float) -> list[str]:
            readings = [reading(0, 2.3, group(grad=0.1))]
            readings += [reading(i, loss, group(grad=grad, ratio=0.001)) for i in range(1, 14)]
            return [str(f.kind) for fs in play(readings)[1] for f in fs]

        assert str(Kind.COLLAPSE) in run(1e-9, 2.3)
        assert run(0.05, 2.3) == []
        assert run(1e-9, 0.01) == []  # a net that fits everything has no gradient either

    def test_names_the_silent_stages(self) -> None:
        readings = [
            reading(i, 2.3, stages=(stage("conv1", quiet=0.5), stage("conv5_x", quiet=0.4 if i < 4 else 1.0))) for i in range(12)
        ]
        finding = next(f for fs in play(readings)[1] for f in fs)
        assert finding.stages == ("conv5_x",)
        assert "conv5_x is at zero" in finding.message


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

    @pytest.mark.parametrize(("scale", "ratio", "hot"), [(1.0, 0.02, True), (0.1, 0.02, False), (0.1, 0.04, True)])
    def test_a_learning_rate_of_ours_may_go_further(self, scale: float, ratio: float, hot: bool) -> None:
        assert any(play([reading(i, x, group(ratio=ratio, scale=scale, rho=10.0)) for i, x in enumerate(BOUNCING)])[1]) is hot

    @pytest.mark.parametrize(("first", "hot"), [(0.03, False), (0.06, True)], ids=["gentle", "not-gentle"])
    def test_a_loss_that_bounced_as_much_from_the_first_steps_on_is_left_alone(self, first: float, hot: bool) -> None:
        """Batches differ, unless those steps were large enough to throw a net about from the start."""
        losses = [2.3, 2.1, *([1.8, 2.2] * 14)]
        assert any(play([reading(i, x, group(ratio=0.03 if i else first, rho=10.0)) for i, x in enumerate(losses)])[1]) is hot

    def test_what_happened_at_another_learning_rate_does_not_count(self) -> None:
        history, _ = play([reading(i, x, group(ratio=0.04, rho=0.2)) for i, x in enumerate(BOUNCING)])
        history, found = history.rescaled((0,)), []
        for i in range(len(BOUNCING), 60):
            history, findings = observe(history, reading(i, 1.8 + 0.4 * (i % 2), group(ratio=0.04, rho=10.0)), LIMITS)
            found += [f.step for f in findings]
        assert found[0] == len(BOUNCING) + 15


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
        ],
    )
    def test_table(self, run: dict[str, Any], step: int | None) -> None:
        how: dict[str, Any] = {"ratio": 0.06, "walk": 400.0, "per_step": 1.0, "level": 1.6, **run}
        losses = [2.3] * 5 + [how["level"] * how["per_step"] ** i for i in range(40)]
        readings = [
            reading(i, x, group(ratio=how["ratio"], rho=how["walk"] and how["walk"] / (i + 1))) for i, x in enumerate(losses)
        ]
        found = [(f.step, f.kind) for fs in play(readings)[1] for f in fs]
        assert found[:1] == ([(step, Kind.TOO_HOT)] if step else [])


class TestStuck:
    """Weights that large first steps replaced, smaller steps since, and a loss that has been no lower for a tenth of the run."""

    @pytest.mark.parametrize(
        ("run", "step"),
        [
            pytest.param({}, 46, id="stuck"),
            pytest.param({"total": 200}, 30, id="a-shorter-run"),
            pytest.param({"total": None}, 66, id="of-unknown-length"),
            pytest.param({"first": 0.09}, None, id="no-large-step"),
            pytest.param({"travel": 0.45}, None, id="has-not-gone-far"),
            pytest.param({"lowest": 0.8}, None, id="learned-much"),
            pytest.param({"per_step": 0.997}, None, id="the-loss-falls"),
            pytest.param({"lowest": 1.2}, 46, id="learned-something"),
            pytest.param({"lowest": 1.2, "anneal": 0.99}, None, id="learned-something-and-the-schedule-comes-down"),
            pytest.param({"lowest": 1.2, "anneal": 1.01}, 46, id="learned-something-and-the-schedule-goes-up"),
            pytest.param({"anneal": 0.99}, 46, id="learned-little-and-the-schedule-comes-down"),
        ],
    )
    def test_table(self, run: dict[str, Any], step: int | None) -> None:
        how: dict[str, Any] = {"anneal": 1.0, "total": 400, "first": 0.12, "travel": 0.6, "lowest": 1.8, "per_step": 1.0, **run}
        losses = [2.3] * 5 + [how["lowest"]] * 8 + [1.05 * how["lowest"] * how["per_step"] ** i for i in range(200)]
        history, found = History(outlook=Outlook(total_steps=how["total"])), []
        for i, loss in enumerate(losses):
            g = group(ratio=how["first"] if i == 3 else 0.005, rho=100.0, lr=1e-3 * how["anneal"] ** i)
            g = dataclasses.replace(g, travel=how["travel"])
            history, findings = observe(history, reading(i, loss, g), LIMITS)
            found += [(f.step, f.kind) for f in findings]
        assert found[:1] == ([(step, Kind.TOO_HOT)] if step else [])

    def test_not_in_the_second_half_of_a_run(self) -> None:
        history = History(outlook=Outlook(total_steps=120))
        for i in range(120):
            g = dataclasses.replace(group(ratio=0.12 if i == 40 else 0.005, rho=100.0), travel=0.6)
            history, findings = observe(history, reading(i, 2.3 - 0.01 * min(i, 40), g), LIMITS)
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
        assert history.batch_noise == history.restarted().batch_noise == pytest.approx(0.2 * 1.4826 / math.sqrt(6) * 2, rel=0.05)
        assert history.used_to(0.5).most_noise == 0.5


def test_a_threshold_decides() -> None:
    losses, ratios = [2.3, 7.0], [0.6, 0.5]
    assert first(losses, ratios) == (1, str(Kind.TOO_HOT))
    assert not any(play(simple(losses, ratios), Thresholds(ruin_ratio=0.9))[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hot_ratio", 0.0),
        ("hot_ratio", 1.5),
        ("quiet_frac", -0.1),
        ("diverged_factor", 0.5),
        ("cold_steps", 3),
        ("rise_frac", math.nan),
    ],
)
def test_thresholds_outside_their_range_are_refused_with_the_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} must lie in .* got {value!r}"):
        Thresholds(**{name: value})  # type: ignore[arg-type]


def test_messages_read_like_a_colleague() -> None:
    _, found = play(
        [
            reading(0, 2.3, group(ratio=3.6, stages=("conv1", "conv2_x")), group(1, ratio=0.01)),
            reading(1, 3306.0, group(ratio=0.7, stages=("conv1", "conv2_x")), group(1, ratio=0.01)),
        ]
    )
    assert found[1][0].message == (
        "step 1: group 0 (conv1, conv2_x) is too hot: an update of 3.6 of the weights in one step "
        "(healthy: 0.001 to 0.05), and the loss went from 2.3 to 3306"
    )
    assert found[1][0].groups == (0,)


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


@pytest.mark.parametrize(
    ("run", "step"),
    [
        pytest.param({}, 30, id="replaced"),
        pytest.param({"travel": 0.6}, None, id="still-half-itself"),
        pytest.param({"later": 2.0}, None, id="it-learns"),
        pytest.param({"at": 60}, None, id="in-its-own-time"),
        pytest.param({"rho": 0.5}, None, id="in-a-straight-line"),
        pytest.param({"at": 8}, 23, id="too-early-to-tell"),
    ],
)
def test_weights_that_were_soon_replaced_are_too_hot_if_nothing_is_learned(run: dict[str, Any], step: int | None) -> None:
    """Adam at a hundred times a good learning rate: the weights grow until its steps look small, and the loss says nothing."""
    how: dict[str, Any] = {"travel": 0.9, "later": 2.2, "at": 30, "rho": 2.0, **run}
    readings = [
        reading(
            i,
            2.3 if i < 4 else how["later"],
            dataclasses.replace(group(ratio=0.01, rho=how["rho"]), travel=how["travel"] if i >= how["at"] else 0.1),
        )
        for i in range(80)
    ]
    assert min(kinds(play(readings)[1]), default=None) == step


def test_losses_after_the_weights_were_thrown_about_are_not_those_of_the_start() -> None:
    assert play(simple([2.6, 3.1, 3.3, 3.2, 3.0], 0.3))[0].start_level == 2.6
    assert play(simple([2.6, 3.1, 3.3, 3.2, 3.0], 0.01))[0].start_level == 3.1
