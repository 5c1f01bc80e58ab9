"""How far a net will get: what is too short a way, what is not, and what a learning rate of ours does about it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlr.judge.control import Control, GroupControl, Settings, annealed, hold_under, measured
from adaptlr.judge.detect import observe
from adaptlr.judge.history import History
from adaptlr.judge.outlook import Outlook
from adaptlr.judge.policy import decide
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Action, Decision, Finding, Kind, Provenance
from tests.judge.runs import group, play, reading

KNOWN = Outlook(total_steps=160, peak_lrs=(1e-3,))
RESTARTS = [
    1e-3 * (1.0001 + math.cos(math.pi * (i % 40) / 40)) / 2 for i in range(160)
]  # four cosines, each down to almost nothing
LITTLE = [max(1.95, 2.3 - 0.02 * i) for i in range(160)]  # a loss that comes down by a seventh, and stands there


def found(
    *,
    ratio: float,
    outlook: Outlook = KNOWN,
    steps: int = 160,
    walk: float = 100.0,
    lrs: list[float] | None = None,
    losses: list[float] | None = None,
    provenance: Provenance = Provenance.RANDOM,
    scale: float = 1.0,
) -> int | None:
    """The step on which a run with these updates is first called too cold."""
    history = History(outlook=outlook)
    path = 0.0
    for i in range(steps):
        lr = lrs[i] if lrs else 1e-3
        moved = ratio * lr / 1e-3
        path += moved
        g = group(ratio=moved, lr=lr, scale=scale, provenance=provenance, rho=walk * moved / path)
        g = dataclasses.replace(g, travel=0.9 * path)
        history, findings = observe(history, reading(i, losses[i] if losses else 2.3, g), Thresholds())
        if findings:
            assert {f.kind for f in findings} == {Kind.TOO_COLD}
            return i
    return None


@pytest.mark.parametrize(
    ("run", "step"),
    [
        pytest.param({"ratio": 2e-4}, 7, id="a-seventh-of-the-way"),
        pytest.param({"ratio": 1e-3}, 15, id="four-fifths-of-the-way"),
        pytest.param({"ratio": 2e-3, "losses": LITTLE}, None, id="a-good-way"),
        pytest.param({"ratio": 3e-3, "walk": 3.0}, 32, id="very-straight-on-after-a-fifth"),
        pytest.param(
            {"ratio": 3e-3, "walk": 3.0, "losses": [2.3 * 0.993**i for i in range(160)]}, 32, id="very-straight-on-falling-a-little"
        ),
        pytest.param({"ratio": 3e-3, "walk": 6.0, "losses": LITTLE}, 32, id="straight-on-after-a-fifth"),
        pytest.param({"ratio": 1.1e-2, "walk": 6.0, "losses": LITTLE}, 54, id="straight-on-after-a-third-near-the-pace"),
        pytest.param({"ratio": 2e-2, "walk": 6.0}, 54, id="straight-on-in-large-steps"),
        pytest.param({"ratio": 4e-2, "walk": 3.0}, None, id="straight-on-in-steps-as-large-as-can-be"),
        pytest.param({"ratio": 3e-3, "walk": 13.0, "losses": LITTLE}, 75, id="less-straight-on"),
        pytest.param({"ratio": 3e-3, "walk": 16.0, "losses": LITTLE}, None, id="bent"),
        pytest.param(
            {"ratio": 3e-3, "walk": 3.0, "losses": [2.3 * 0.985**i for i in range(160)]}, 32, id="straight-on-and-falling"
        ),
        pytest.param({"ratio": 3e-3, "walk": 3.0, "outlook": Outlook(), "losses": LITTLE}, 64, id="straight-on-of-unknown-length"),
        pytest.param({"ratio": 3e-3, "walk": 19.0, "outlook": Outlook(), "losses": LITTLE}, None, id="bent-of-unknown-length"),
        pytest.param({"ratio": 4e-3, "lrs": RESTARTS, "losses": LITTLE}, None, id="a-good-way-by-warm-restarts"),
        pytest.param({"ratio": 2e-4, "lrs": RESTARTS}, 7, id="a-short-way-by-warm-restarts"),
        pytest.param(
            {"ratio": 1.1e-2, "walk": 3.0, "losses": [2.3 * 0.98**i for i in range(160)]}, None, id="that-learns-near-the-pace"
        ),
        pytest.param({"ratio": 3e-3, "walk": 9.0, "losses": [2.3 * 0.985**i for i in range(160)]}, 35, id="bent-a-little"),
        pytest.param({"ratio": 3e-3, "walk": 3.0, "losses": [2.3 * 0.98**i for i in range(160)]}, None, id="that-learns-fast"),
        pytest.param({"ratio": 3e-3, "walk": 3.0, "losses": [2.3 * 0.96**i for i in range(160)]}, None, id="that-has-learned"),
        pytest.param(
            {"ratio": 3e-3, "walk": 6.0, "losses": LITTLE, "provenance": Provenance.MIXED}, 54, id="straight-on-under-a-new-head"
        ),
        pytest.param({"ratio": 1e-3, "provenance": Provenance.TRAINED}, None, id="pretrained"),
        pytest.param({"ratio": 1e-3, "losses": [2.3 * 0.9**i for i in range(160)]}, None, id="has-learned-all-the-same"),
        pytest.param({"ratio": 2e-4, "outlook": Outlook()}, 48, id="of-unknown-length"),
        pytest.param({"ratio": 1.5e-3, "outlook": Outlook(), "losses": LITTLE}, None, id="of-unknown-length-and-not-that-slow"),
        pytest.param({"ratio": 1.9e-3, "outlook": Outlook(total_steps=63), "steps": 63}, 14, id="of-a-brief-run"),
        pytest.param({"ratio": 2.1e-3, "outlook": Outlook(total_steps=63), "steps": 63}, None, id="enough-of-a-brief-run"),
        pytest.param({"ratio": 2.4e-3, "outlook": Outlook(total_steps=40), "steps": 40}, 9, id="after-a-quarter-of-a-brief-one"),
        pytest.param({"ratio": 3.2e-3, "outlook": Outlook(total_steps=24), "steps": 24}, 7, id="of-a-very-brief-one"),
        pytest.param({"ratio": 3.4e-3, "outlook": Outlook(total_steps=24), "steps": 24}, None, id="enough-of-a-very-brief-one"),
        pytest.param({"ratio": 1e-4, "outlook": Outlook(total_steps=23), "steps": 23}, None, id="too-brief-a-run-to-tell"),
    ],
)
def test_too_short_a_way(run: dict, step: int | None) -> None:
    assert found(**run) == step


BOUNCING = [2.3 * (0.6 if i % 2 else 1.0) for i in range(160)]
LARGE = dataclasses.replace(KNOWN, weights=110_000_000)


@pytest.mark.parametrize(
    ("run", "step"),
    [
        pytest.param({"ratio": 5e-5}, 7, id="an-eighth-of-the-way"),
        pytest.param({"ratio": 3e-4}, 15, id="four-fifths-of-the-way"),
        pytest.param({"ratio": 6e-4}, None, id="a-good-way"),
        pytest.param({"ratio": 3e-4, "outlook": LARGE}, None, id="a-good-way-for-a-large-one"),
        pytest.param({"ratio": 1e-5, "outlook": LARGE}, 7, id="and-one-that-is-short"),
        pytest.param({"ratio": 5e-5, "losses": BOUNCING}, None, id="little-loss-left-so-the-head-is-old"),
        pytest.param({"ratio": 5e-5, "losses": [0.0] * 160}, None, id="none-left-at-all"),
        pytest.param({"ratio": 5e-5, "losses": [*BOUNCING[:12], *[2.3] * 148]}, None, id="that-bounced-at-first"),
    ],
)
def test_too_short_a_way_for_a_pretrained_net_with_a_new_head(run: dict, step: int | None) -> None:
    assert found(**run, provenance=Provenance.MIXED) == step


@pytest.mark.parametrize(
    ("body", "head", "head_lr", "step"),
    [
        pytest.param(5e-5, 5e-3, 1e-3, 7, id="the-head-hides-it"),
        pytest.param(2e-4, 5e-3, 1e-3, 15, id="four-fifths-of-the-way"),
        pytest.param(3e-4, 5e-3, 1e-3, None, id="both-get-there"),
        pytest.param(5e-5, 5e-3, 1e-2, None, id="as-the-user-had-it"),
    ],
)
def test_at_one_learning_rate_a_pretrained_net_is_judged_by_what_has_learned(
    body: float, head: float, head_lr: float, step: int | None
) -> None:
    history, out = History(outlook=dataclasses.replace(KNOWN, peak_lrs=(1e-3, head_lr))), None
    for i in range(40):
        old = group(0, ratio=body, rho=10.0, provenance=Provenance.TRAINED)
        new = group(1, ratio=head, rho=10.0, lr=head_lr, provenance=Provenance.RANDOM)
        history, findings = observe(history, reading(i, 2.3, old, new), Thresholds())
        if findings and out is None:
            out = i
            assert [(f.kind, f.groups) for f in findings] == [(Kind.TOO_COLD, (0, 1))]
            assert "no group but the new head will have gone further than" in findings[0].message
    assert out == step


@pytest.mark.parametrize(
    ("ratios", "cold"),
    [
        pytest.param([1e-4] * 8, True, id="small"),
        pytest.param([1e-4] * 6 + [2e-3] * 2, False, id="then-larger-as-radam-s-are"),
        pytest.param([1e-4] * 7 + [2e-3], True, id="one-that-is-larger"),
        pytest.param([2e-3] * 6 + [1e-4] * 2, False, id="then-smaller"),
    ],
)
def test_steps_that_have_become_larger_stay_so(ratios: list[float], cold: bool) -> None:
    history, found = History(outlook=KNOWN), list[Finding]()
    for i, ratio in enumerate(ratios):
        history, findings = observe(history, reading(i, 2.3, group(ratio=ratio, rho=100.0)), Thresholds())
        found += findings
    assert bool(found) == cold


@pytest.mark.parametrize(
    ("run", "step"),
    [
        pytest.param({"ratio": 8e-3}, 32, id="below-the-pace"),
        pytest.param({"ratio": 1.1e-2}, None, id="at-it"),
        pytest.param({"ratio": 8e-3, "losses": LITTLE}, None, id="with-something-learned"),
        pytest.param({"ratio": 8e-3, "losses": [2.25, 2.35] * 80}, 32, id="batches-differ-a-little"),
        pytest.param({"ratio": 8e-3, "losses": [2.0, 2.6] * 80}, None, id="batches-differ-by-more-than-a-tenth"),
        pytest.param({"ratio": 2e-3, "provenance": Provenance.MIXED}, None, id="with-a-trained-body"),
        pytest.param({"ratio": 8e-3, "scale": 0.5}, None, id="at-a-learning-rate-of-ours"),
        pytest.param({"ratio": 6e-3, "outlook": Outlook()}, 64, id="of-unknown-length"),
        pytest.param({"ratio": 8e-3, "outlook": Outlook()}, None, id="of-unknown-length-at-its-pace"),
        pytest.param({"ratio": 8e-3, "losses": [*LITTLE[:110], 2.1, 2.2, *[2.3] * 48]}, None, id="too-late-to-matter"),
    ],
)
def test_a_run_that_has_learned_nothing_by_a_fifth_of_it(run: dict, step: int | None) -> None:
    assert found(**run) == step


@pytest.mark.parametrize(
    ("largest", "times", "travel", "cold"), [(0.09, 9, 0.6, True), (0.2, 3, 0.3, True), (0.2, 1, 0.6, True), (0.2, 2, 0.6, False)]
)
def test_weights_that_were_thrown_far_are_not_cold(largest: float, times: int, travel: float, cold: bool) -> None:
    history, found = History(outlook=KNOWN), list[Kind]()
    for i in range(80):
        g = dataclasses.replace(group(ratio=8e-3 if i >= times else largest, rho=100.0), travel=travel)
        history, findings = observe(history, reading(i, 2.3, g), Thresholds())
        found += [f.kind for f in findings]
    assert (Kind.TOO_COLD in found) is cold


def test_it_is_a_fifth_since_the_last_rollback() -> None:
    history = History(outlook=KNOWN)
    for i in range(90):
        if i == 30:
            history = history.restarted()
        history, findings = observe(history, reading(i, 2.3, group(ratio=8e-3, rho=100.0)), Thresholds())
        if findings:
            assert i == 62
            return
    pytest.fail("nothing was found")


def put_right(ratio: Callable[[int, float, int], float], loss: Callable[[int], float]) -> tuple[list[Decision], list[float]]:
    """What is done in 90 steps of a run of known length, and its update ratios. A ratio is of the step, the scale that is held and
    the decisions so far."""
    history, done, ratios = History(outlook=KNOWN), list[Decision](), list[float]()
    control = Control(groups=(GroupControl(),))
    for i in range(90):
        scale = control.groups[0].scale
        ratios.append(ratio(i, scale, len(done)))
        now = reading(i, loss(i), group(ratio=ratios[-1], scale=scale, rho=100.0))
        history, findings = observe(history, now, Thresholds())
        control = measured(Settings(), control, history, now)
        control, decision = decide(Settings(), control, findings, now, history, ())
        if decision:
            done.append(decision)
            history = history.rescaled((0,))
    return done, ratios


def test_what_has_learned_nothing_is_given_the_pace() -> None:
    done, ratios = put_right(lambda _, scale, __: 4e-3 * scale, lambda _: 2.3)
    assert [(d.step, d.action) for d in done] == [(32, Action.RESCALE)]
    assert "where 0.012 would be usual for a run of this length" in done[0].message
    assert ratios[40] == pytest.approx(0.0119, rel=0.01)


@pytest.mark.parametrize(("fades_to", "again"), [(0.25, [32]), (0.6, [])])
def test_what_was_raised_is_raised_again_where_its_steps_have_become_small(fades_to: float, again: list[int]) -> None:
    """Gradients fade after the first steps, as of a table of embeddings, and nothing has been learned."""

    def ratio(i: int, scale: float, decisions: int) -> float:
        return 1e-5 * scale * (1.0 if i < 20 else fades_to) if decisions < 2 else 0.012

    done, _ = put_right(ratio, lambda i: 2.1 if i > 8 else 2.3)
    assert [d.step for d in done[1:]] == again
    assert all("still too cold" in d.message and "would be usual" in d.message for d in done[1:])


@pytest.mark.parametrize(
    ("ratio", "known", "unknown"),
    [
        (
            6e-3,
            "would be usual for a run of this length, and",
            "would be usual for a run that is half over, its length being unknown, and",
        ),
        (2e-4, "times its weights when the run ends", "times its weights after twice as many steps as now"),
    ],
)
def test_it_says_of_what_length_a_run_is_taken_to_be(ratio: float, known: str, unknown: str) -> None:
    for outlook, words in ((KNOWN, known), (Outlook(), unknown)):
        found = [
            f for fs in play([reading(i, 2.3, group(ratio=ratio, rho=100.0)) for i in range(80)], outlook=outlook)[1] for f in fs
        ]
        assert words in found[0].message


def test_a_longer_run_may_go_more_slowly() -> None:
    assert found(ratio=1e-3) is not None
    assert found(ratio=1e-3, outlook=Outlook(total_steps=16_000)) is None


def test_a_warm_up_is_judged_by_where_it_goes() -> None:
    rising = [1e-3 * (i + 1) / 60 for i in range(60)] + [1e-3] * 100
    assert found(ratio=2e-3, lrs=rising, losses=LITTLE) is None
    assert found(ratio=1e-4, lrs=rising) == 7
    assert found(ratio=1e-3, lrs=rising, outlook=Outlook(total_steps=160)) == 60, "without knowing the peak, when it is there"


def test_where_steps_are_small_a_fifth_of_the_run_makes_no_line_less_straight() -> None:
    rising = [1e-3 * (i + 1) / 40 for i in range(40)] + [1e-3] * 120
    assert found(ratio=4e-4, walk=8.0, lrs=rising, provenance=Provenance.UNKNOWN) == 40


def test_an_annealed_tail_is_not_cold() -> None:
    falling = [1e-3 * (1 - i / 160) for i in range(160)]
    assert found(ratio=3e-3, lrs=falling, losses=LITTLE) is None


class TestSlack:
    def run(self, ratio: float, travel_frac: float) -> bool:
        """A run of known length on a learning rate of ours: is it called cold within 20 steps?"""
        history = History(outlook=KNOWN, start=(2.3,) * 5)
        for i in range(20):
            g = dataclasses.replace(group(ratio=ratio, scale=0.1, rho=1e3), travel=travel_frac * ratio * (i + 1))
            history, findings = observe(history, reading(i, 2.0, g), Thresholds())
            if findings:
                return True
        return False

    def test_steps_that_noise_takes_back_count_for_less(self) -> None:
        pace = KNOWN.pace(0, 12, lr=1e-3, resting=True, seen=1e-3)
        assert self.run(0.9 * pace, 0.3)
        assert not self.run(0.9 * pace, 0.9)
        assert not self.run(2.5 * pace, 0.3), "at the pace in spite of it"


def cold_finding() -> Finding:
    return Finding(step=20, kind=Kind.TOO_COLD, groups=(0,), stages=(), message="seen")


class TestRaise:
    def raised(self, outlook: Outlook, lr: float = 1e-6, straight: float | None = None) -> GroupControl:
        history = History(outlook=outlook)
        history, _ = observe(history, reading(0, 2.3, group(ratio=1e-5, lr=lr)), Thresholds())
        history = dataclasses.replace(history, groups=(dataclasses.replace(history.groups[0], straight=straight),))
        now = reading(20, 2.3, group(ratio=1e-5, lr=lr))
        control = measured(Settings(), Control(groups=(GroupControl(),)), history, now)
        control, decision = decide(Settings(), control, (cold_finding(),), now, history, ())
        assert decision is not None
        return control.groups[0]

    def test_to_the_pace_of_the_steps_that_are_left(self) -> None:
        short, long = self.raised(Outlook(total_steps=120)), self.raised(Outlook(total_steps=10_000))
        assert short.ceiling is not None
        assert long.ceiling is not None
        assert short.scale * 1e-5 == pytest.approx(short.ceiling)
        assert short.ceiling / long.ceiling == pytest.approx((9979 / 99) ** 0.25, rel=1e-6)

    def test_a_ramp_is_raised_to_the_pace_at_once_and_held_there(self) -> None:
        outlook = Outlook(total_steps=120, peak_lrs=(1e-5,))
        ramp = self.raised(outlook, lr=1e-6)
        assert ramp.ceiling is not None
        assert ramp.scale * 1e-5 == pytest.approx(ramp.ceiling)
        for lr in (2e-6, 5e-6, 1e-5):
            ramp = hold_under(ramp, lr)
            assert ramp.ceiling is not None
            assert ramp.scale * lr * 10 == pytest.approx(ramp.ceiling)  # the ratio is ten times the learning rate

    def test_further_where_noise_takes_back_most_of_a_step(self) -> None:
        straight, bent = (self.raised(Outlook(total_steps=1000), straight=s) for s in (0.9, 0.35))
        assert bent.scale == pytest.approx(4 * straight.scale)


class TestAnneal:
    def tails(self, *, ours: bool, lrs: list[float], total: int | None = 100) -> list[float]:
        group = GroupControl(scale=0.1) if ours else GroupControl()
        history = History(outlook=Outlook(total_steps=total, peak_lrs=(max(lrs),)))
        return [annealed(Settings(), (group,), history, i, [lr])[0].tail for i, lr in enumerate(lrs)]

    def test_a_learning_rate_of_ours_comes_down_over_the_last_quarter(self) -> None:
        tails = self.tails(ours=True, lrs=[0.1] * 100)
        assert tails[:75] == [1.0] * 75
        assert tails[75:] == pytest.approx([(100 - i) / 25 for i in range(75, 100)])

    @pytest.mark.parametrize(
        "run",
        [
            pytest.param({"ours": False, "lrs": [0.1] * 100}, id="the-users-own"),
            pytest.param({"ours": True, "lrs": [0.1] * 100, "total": None}, id="unknown-length"),
            pytest.param({"ours": True, "lrs": [0.1 * (1 - i / 100) ** 2 for i in range(100)]}, id="a-schedule-that-falls-itself"),
        ],
    )
    def test_left_alone(self, run: dict) -> None:
        assert set(self.tails(**run)) == {1.0}

    def test_it_is_part_of_the_scale(self) -> None:
        assert Control(groups=(GroupControl(scale=0.1, tail=0.5),)).scales == pytest.approx((0.05,))


def test_a_step_forgets_nothing_that_is_known_of_the_run() -> None:
    """Both are written out field by field, for speed: what is not named there would fall back to its default."""
    history = History(outlook=KNOWN)
    history, _ = observe(history, reading(0, 2.3, group()), Thresholds())
    assert history.outlook == KNOWN
    held = GroupControl(
        scale=0.1, ceiling=0.02, max_lr=0.3, per_lr=5.0, first_per_lr=4.0, first_lr=1e-3, warmup=2.0, tail=0.5, progress=1.0
    )
    after = measured(Settings(), Control(groups=(held,)), history, reading(1, 2.3, group(ratio=0.01, lr=1e-3, scale=1.0))).groups[0]
    assert after == dataclasses.replace(held, per_lr=pytest.approx(10.0))


class TestOutlook:
    @pytest.mark.parametrize("steps", [0, -3])
    def test_a_run_has_steps(self, steps: int) -> None:
        with pytest.raises(ValueError, match=f"total_steps must be at least 1, got {steps}"):
            Outlook(total_steps=steps)

    @given(
        total=st.integers(1, 10**6),
        share=st.floats(0, 1),
        lr=st.floats(1e-8, 10),
        peak=st.floats(1, 100),
    )
    def test_what_is_ahead_is_never_more_than_the_peak_for_all_steps_left(
        self, total: int, share: float, lr: float, peak: float
    ) -> None:
        step = int(share * (total - 1))
        outlook = Outlook(total_steps=total, peak_lrs=(lr * peak,))
        ahead = outlook.ahead(0, step, lr=lr, resting=True, seen=lr)
        assert ahead is not None
        assert 0 <= ahead <= (total - step) * peak * (1 + 1e-9)
        assert 1e-4 <= outlook.pace(0, step, lr=lr, resting=True, seen=lr) <= 0.04

    @given(steps=st.integers(1, 10**6), more=st.integers(1, 100))
    def test_the_longer_a_run_the_slower_and_the_further_it_goes(self, steps: int, more: int) -> None:
        """At its pace, a run of more steps takes none that is larger, and yet has a longer way."""
        pace, later = (Outlook(total_steps=n + 1).pace(0, 0, lr=1.0, resting=True, seen=1.0) for n in (steps, steps + more))
        assert later <= pace
        assert later * (steps + more) > pace * steps

    @pytest.mark.parametrize(("step", "pace"), [(0, 0.01), (255, 0.01), (4095, 0.005), (2_559_999, 0.001)])
    def test_of_unknown_length_it_is_that_of_a_run_that_is_half_over_once_it_is_long(self, step: int, pace: float) -> None:
        assert Outlook().pace(0, step, lr=0.1, resting=True, seen=0.1) == pytest.approx(pace)


def test_a_loss_falls_by_the_median_of_three_not_by_one_lucky_batch() -> None:
    """Early after a rollback the level before is that of the first three losses."""
    after = History(losses=(0.60, 0.95, 0.94, 0.91, 0.97, 1.03, 0.80, 0.81, 0.78, 0.63, 0.76, 0.64, 0.59))
    assert after.falling(12, 0.85)
    assert not History(losses=(0.60, 0.95, 0.94, 0.91)).falling(12, 0.85)
    assert not History(losses=(0.95,)).falling(12, 0.85)
