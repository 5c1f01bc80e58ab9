"""One transition table for each rule of heat: what convicts, and what of the same kind does not."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from adaptlr.judge.outlook import Outlook
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Kind, Provenance
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
        pytest.param([*FALLING, 1.5, 3.5, 7.0, 7.5, 8.0], 0.02, (20, Kind.DIVERGENCE), id="divergence"),
        pytest.param([*FALLING, 1.5, 3.5, 7.0, 7.5, 8.0], [0.12, 0.01], (20, Kind.DIVERGENCE), id="divergence-of-grown-weights"),
        pytest.param([*FALLING, 1.5, 3.5, 7.0, 7.5, 8.0], 0.009, None, id="no-update-can-have-done-that"),
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


def test_a_group_that_cannot_be_measured_does_not_make_small_updates_large() -> None:
    losses = [*FALLING, 1.5, 3.5, 7.0, 7.5, 8.0]

    def diverged(*ratios: float | None) -> bool:
        readings = [reading(i, x, *[group(k, ratio=r) for k, r in enumerate(ratios)]) for i, x in enumerate(losses)]
        return any(f.kind is Kind.DIVERGENCE for fs in play(readings)[1] for f in fs)

    assert not diverged(0.009, None)
    assert diverged(0.02, None)
    assert diverged(None)


def test_weights_that_have_hardly_moved_have_not_diverged() -> None:
    """As when training goes on from a loss of next to nothing, which differs from batch to batch by all of itself."""
    assert first([0.003, 0.004, 0.02, 0.02, 0.02, 0.02], 1e-3) is None
    assert first([0.003, 0.004, 0.02, 0.02, 0.02, 0.02], 2e-2) == (4, str(Kind.DIVERGENCE))


def test_nonfinite_weights_convict_though_the_loss_is_finite() -> None:
    _, found = play([reading(0, 2.3), reading(1, 2.2, group(nonfinite=True))])
    assert found[0] == ()
    assert found[1][0].kind is Kind.NON_FINITE
    assert found[1][0].groups == (0,)


def test_regress_convicts_when_most_of_what_was_learned_is_lost_and_not_at_small_updates() -> None:
    losses = [*FALLING, 2.2, 2.3, 2.2, 2.3, 2.2, 2.3]
    assert first(losses, 0.03) == (21, str(Kind.TOO_HOT))
    assert first(losses, 0.001) is None


#: Of a healthy run with batches of two: a convolutional net on Fashion-MNIST, Adam at 1e-3. The best median of three is its newest.
OF_TWO = [2.01, 2.14, 2.02, 2.44, 2.09, 2.02, 2.13, 2.47, 1.92, 2.06, 1.95, 1.91]
OF_TWO += [1.62, 1.44, 1.46, 2.0, 1.91, 1.83, 1.27, 2.35, 3.0, 1.28, 0.91, 2.87]


def test_losses_that_say_so_have_come_after_the_best() -> None:
    assert first([2.3] * 5 + OF_TWO, 0.012) is None
    assert first([2.3] * 5 + OF_TWO + [2.87] * 5, 0.012) == (32, str(Kind.TOO_HOT))


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

    @pytest.mark.parametrize(
        ("grad", "quiet", "found"),
        [(0.0, 1.0, True), (0.01, 1.0, False), (0.0, 0.99, False)],
        ids=["silent-without-gradient", "silent", "without-gradient"],
    )
    def test_a_net_that_is_gone_has_collapsed_though_its_bias_has_learned_how_rare_an_answer_is(
        self, grad: float, quiet: float, found: bool
    ) -> None:
        readings = [
            reading(i, 0.69 if i < 2 else 0.09, group(grad=0.1 if i < 4 else grad), stages=(stage(quiet=0.5 if i < 4 else quiet),))
            for i in range(12)
        ]
        assert (Kind.COLLAPSE in [f.kind for fs in play(readings)[1] for f in fs]) is found

    def test_names_the_silent_stages(self) -> None:
        readings = [
            reading(i, 2.3, stages=(stage("conv1", quiet=0.5), stage("conv5_x", quiet=0.4 if i < 4 else 1.0))) for i in range(12)
        ]
        finding = next(f for fs in play(readings)[1] for f in fs)
        assert finding.stages == ("conv5_x",)
        assert "conv5_x is at zero" in finding.message


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


def test_losses_after_the_weights_were_thrown_about_are_not_those_of_the_start() -> None:
    assert play(simple([2.6, 3.1, 3.3, 3.2, 3.0], 0.3))[0].start_level == 2.6
    assert play(simple([2.6, 3.1, 3.3, 3.2, 3.0], 0.01))[0].start_level == 3.1


def test_a_run_that_goes_on_with_a_lucky_batch_has_not_diverged() -> None:
    """Losses of a net that goes on at a good learning rate, and how the same looks where it is not."""
    good = [0.0053, 0.015, 0.0136, 0.0159, 0.0097, 0.0277, 0.0148, 0.0046, 0.0109, 0.0338, 0.0035, 0.0286]
    ruined = [0.0053, 0.015, 0.0136, 0.01, 0.011, 0.3, 0.5, 0.6]

    def first(losses: list[float], *, continued: bool, ratio: float = 0.008) -> int | None:
        return next(iter(kinds(play(simple(losses, ratio), outlook=Outlook(continued=continued))[1])), None)

    assert first(good, continued=True) is None
    assert first(ruined, continued=True) == 7
    assert first(good, continued=False, ratio=0.02) == 3


@pytest.mark.parametrize(
    ("provenance", "found"),
    [(Provenance.RANDOM, True), (Provenance.MIXED, True), (Provenance.UNKNOWN, True), (Provenance.TRAINED, False)],
)
def test_a_trained_net_is_taken_to_go_on_unless_its_head_is_new(provenance: Provenance, found: bool) -> None:
    """Under an optimizer that is new, its first steps cost a few times as much."""
    losses = [0.04, 0.11, 0.15, 0.13, 0.12, 0.09, 0.06, 0.05, 0.04, 0.03]
    readings = [reading(i, x, group(ratio=0.02, provenance=provenance)) for i, x in enumerate(losses)]
    assert bool(kinds(play(readings)[1])) is found
