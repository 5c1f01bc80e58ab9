"""Transitions of the policy: a control in the middle of a run, findings, and what becomes of both."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptlr.judge.control import (
    Control,
    GroupControl,
    Raise,
    Refuge,
    Settings,
    Slowed,
    Suspicion,
    hold_all,
    hold_under,
    loosened,
    measured,
)
from adaptlr.judge.doubt import acquit, tried
from adaptlr.judge.history import GroupPast, History
from adaptlr.judge.outlook import GAME, Lesson, Outlook
from adaptlr.judge.policy import decide
from adaptlr.judge.telling import news, worth_saying
from adaptlr.records import Action, Decision, Finding, Kind, Provenance, Trait
from tests.judge.runs import group, play, reading, simple

START = Refuge(step=0, certified=True)
LATER = Refuge(step=64, certified=True, per_lr=(4.0,), level=0.6)
UNSURE = Refuge(step=128, certified=False, per_lr=(4.0,))
ONE = GroupControl(per_lr=36.0, first_per_lr=36.0, first_lr=1.0)


def finding(kind: Kind, *groups: int, step: int = 1, traits: tuple[Trait, ...] = (), **evidence: float) -> Finding:
    return Finding(step=step, kind=kind, groups=groups, stages=(), message="seen", evidence=evidence, traits=traits)


def hot(step: int = 1) -> Finding:
    return finding(Kind.TOO_HOT, 0, step=step, update_ratio=36.0, level=2.3, loss=1e6)


class TestRollBack:
    def test_a_ruinous_first_step_goes_back_to_the_start_under_the_ceiling(self) -> None:
        settings = Settings(ceiling=0.01)
        control, decision = decide(settings, Control(groups=(ONE,)), (hot(),), reading(1, 1e6, group(lr=1.0)), History(), (START,))
        assert decision is not None
        assert (decision.action, decision.restored_step) == (Action.ROLLBACK, 0)
        assert control.groups[0].scale == pytest.approx(0.01 / 36)
        assert decision.scales_after == control.scales
        assert "rolled back to step 0, learning rate now x1/3600" in decision.message
        assert decision.advice == "Next time: a learning rate of about 0.00028"

    def test_where_no_rollback_is_allowed_it_says_so_and_leaves_the_run_alone(self) -> None:
        before = Control(groups=(dataclasses.replace(ONE, scale=2.0),), acted=True)
        after, decision = decide(Settings(max_rollbacks=0), before, (hot(),), reading(1, 1e6), History(), (START,))
        assert decision is not None
        assert (decision.action, after.scales) == (Action.STOP, (2.0,))
        assert "max_rollbacks=0 allows none" in decision.message

    def test_the_first_time_the_newest_certified_snapshot_is_enough(self) -> None:
        _, decision = decide(Settings(), Control(groups=(ONE,)), (hot(300),), reading(300, 9.0), History(), (START, LATER, UNSURE))
        assert decision is not None
        assert decision.restored_step == 64

    def test_the_second_time_it_goes_back_to_the_start_and_lower(self) -> None:
        before = Control(groups=(dataclasses.replace(ONE, scale=0.1, ceiling=0.01, max_lr=0.1),), rollbacks=1, acted=True)
        after, decision = decide(Settings(), before, (hot(200),), reading(200, 9.0, group(lr=1.0)), History(), (START, LATER))
        assert decision is not None
        assert decision.restored_step == 0
        assert after.groups[0].ceiling == pytest.approx(0.01 / 3)
        assert after.groups[0].max_lr == pytest.approx(0.1 / 3)
        assert after.rollbacks == 2

    @pytest.mark.parametrize(
        ("had", "level", "traits", "restored"),
        [
            pytest.param(1, 0.6, (), 64, id="had-learned"),
            pytest.param(1, 1.5, (), 0, id="had-not"),
            pytest.param(1, math.nan, (), 0, id="not-known"),
            pytest.param(2, 0.6, (), 0, id="the-third-time"),
            pytest.param(1, 0.6, (Trait.REPLACED,), 0, id="other-weights"),
        ],
    )
    def test_what_a_net_had_learned_is_not_given_up_the_second_time(
        self, had: int, level: float, traits: tuple[Trait, ...], restored: int
    ) -> None:
        """As where half of a net is unfrozen in mid-run, and its first steps are twice too large."""
        before = Control(groups=(dataclasses.replace(ONE, scale=0.1, ceiling=0.01, max_lr=0.1),), rollbacks=had, acted=True)
        history = History(start=(2.3,) * 5, losses=(2.0,) * 5, age=5)
        refuges = (START, dataclasses.replace(LATER, level=level), UNSURE)
        broke = dataclasses.replace(hot(200), traits=traits)
        _, decision = decide(Settings(), before, (broke,), reading(200, 9.0, group(lr=1.0)), history, refuges)
        assert decision is not None
        assert decision.restored_step == restored

    def test_slow_damage_early_in_the_run_starts_over_and_cuts_deeper(self) -> None:
        collapsed = finding(Kind.COLLAPSE, 0, step=100)
        start = Control(groups=(dataclasses.replace(ONE, per_lr=0.1, first_per_lr=0.1),))
        early, decision = decide(Settings(), start, (collapsed,), reading(100, 2.3, group(lr=1.0)), History(), (START, LATER))
        assert decision is not None
        assert decision.restored_step == 0
        assert early.groups[0].max_lr == pytest.approx(0.1)
        late = dataclasses.replace(collapsed, step=1000)
        _, decision = decide(Settings(), start, (late,), reading(1000, 2.3, group(lr=1.0)), History(), (START, LATER))
        assert decision is not None
        assert decision.restored_step == 64

    def test_weights_that_were_replaced_from_the_first_steps_on_are_those_of_the_snapshots_too(self) -> None:
        replaced = finding(Kind.TOO_HOT, 0, step=30, traits=(Trait.REPLACED,), update_ratio=0.5, loss=2.3, level=2.4)
        early = dataclasses.replace(LATER, step=16)
        _, decision = decide(Settings(), Control(groups=(ONE,)), (replaced,), reading(30, 2.3), History(), (START, early))
        assert decision is not None
        assert decision.restored_step == 0

    def test_weights_that_are_stuck_are_those_of_all_snapshots_since_the_start(self) -> None:
        """Though something was learned before, and though it is late."""
        stuck = finding(Kind.TOO_HOT, 0, step=100, traits=(Trait.STALLED, Trait.STUCK), update_ratio=0.2, loss=1.2)
        history = History(start=(2.3,) * 5, best=1.1, best_age=60, age=100, outlook=Outlook(total_steps=220))
        _, decision = decide(Settings(), Control(groups=(ONE,)), (stuck,), reading(100, 1.2), history, (START, LATER))
        assert decision is not None
        assert decision.restored_step == 0
        raised = Control(groups=(ONE,), raised=Raise(step=70, groups=(ONE,)))
        early = dataclasses.replace(history, best=1.5, outlook=Outlook(total_steps=400))
        _, decision = decide(Settings(), raised, (stuck,), reading(100, 1.2), early, (START, LATER))
        assert decision is not None
        assert decision.restored_step == 64, "to before the raise that did it"

    def test_late_in_a_run_of_known_length_no_more_is_given_up_than_must_be(self) -> None:
        """Even what broke slowly, or again: from the start there would be too few steps left."""
        before = Control(groups=(ONE,), rollbacks=1, acted=True)
        lost = finding(Kind.COLLAPSE, 0, step=100)
        restored = [
            decide(Settings(), before, (lost,), reading(100, 9.0), History(outlook=Outlook(total_steps=total)), (START, LATER))[1]
            for total in (160, 1000)
        ]
        assert [d and d.restored_step for d in restored] == [64, 0]

    @pytest.mark.parametrize(
        ("best", "best_age", "back_to", "max_lr"),
        [(0.5, 60, 64, 1 / 3), (1.8, 60, 0, 0.1), (0.5, 8, 0, 0.1)],
        ids=["learned", "little", "for-a-moment"],
    )
    @pytest.mark.parametrize("rollbacks", [0, 1])
    def test_what_was_learned_is_not_thrown_away(
        self, best: float, best_age: int, back_to: int, max_lr: float, rollbacks: int
    ) -> None:
        """Neither early in the run nor the second time; and a learning rate that was good for long is not cut so deep."""
        lost = finding(Kind.TOO_HOT, 0, step=120, traits=(Trait.LOST,), loss=2.0, best=best, start=2.3)
        history = History(start=(2.3,) * 5, best=best, best_age=best_age, age=100)
        before = Control(groups=(ONE,), rollbacks=rollbacks)
        later = dataclasses.replace(LATER, level=math.nan)
        control, decision = decide(Settings(), before, (lost,), reading(120, 2.0, group(lr=1.0)), history, (START, later))
        assert decision is not None
        assert decision.restored_step == back_to
        assert control.groups[0].max_lr == pytest.approx(max_lr)
        assert control.groups[0].broke_lr == pytest.approx(1 / 3)  # a search may go as far again

    def test_a_group_that_is_not_accused_keeps_its_learning_rate(self) -> None:
        calm = GroupControl(per_lr=10.0, first_per_lr=10.0, first_lr=1e-3)
        control, _ = decide(
            Settings(),
            Control(groups=(ONE, calm)),
            (hot(),),
            reading(1, 1e6, group(0, lr=1.0), group(1, lr=1e-3)),
            History(),
            (START,),
        )
        assert control.groups[0].scale < 1e-3
        held = control.groups
        for _ in range(60):
            assert held[1].scale == 1.0, "and is not raised, however far below its ceiling it is"
            held = hold_all(held, (1.0, 1e-3))

    def test_a_group_beside_it_that_has_to_be_held_too_comes_back_to_where_it_was(self) -> None:
        large = GroupControl(scale=2.0, per_lr=100.0, first_per_lr=100.0, first_lr=1e-3)
        now = reading(1, 1e6, group(0, lr=1.0), group(1, lr=1e-3, scale=2.0))
        control, _ = decide(Settings(), Control(groups=(ONE, large)), (hot(),), now, History(), (START,))
        assert control.groups[1].scale == pytest.approx(0.5), "a twentieth of the weights a step"
        calmer = dataclasses.replace(control.groups[1], per_lr=1.0)
        for _ in range(60):
            calmer = hold_under(calmer, 1e-3)
        assert calmer.scale == pytest.approx(2.0)

    def test_a_group_of_norms_and_biases_goes_with_the_others_for_good(self) -> None:
        no_ratio = group(1, lr=1.0, ratio=None, frozen=True)
        before, now = Control(groups=(ONE, GroupControl())), reading(1, 1e6, group(lr=1.0), no_ratio)
        control, _ = decide(Settings(), before, (hot(),), now, History(), (START,))
        assert control.groups[1].scale == control.groups[0].scale == pytest.approx(0.01 / 36)
        ramped = hold_all(control.groups, (4.0, 4.0))
        assert ramped[1].scale == ramped[0].scale == pytest.approx(0.01 / 36 / 4)
        seen = measured(
            Settings(), dataclasses.replace(control, groups=ramped), History(), reading(2, 2.3, group(lr=4.0), group(1, lr=4.0))
        )
        assert (ramped[1].follows, seen.groups[1].follows) == (True, False), "once it is measured, it is held on its own"

    def test_the_budget_ends_with_a_word_and_nothing_more(self) -> None:
        cut = dataclasses.replace(ONE, scale=1e-4, ceiling=1e-5, max_lr=1e-7)
        spent = Control(groups=(cut,), rollbacks=8, acted=True)
        control, decision = decide(Settings(), spent, (hot(),), reading(1, 9.0), History(), (START,))
        assert decision is not None
        assert decision.action is Action.STOP
        assert "8 rollbacks did not help" in decision.message
        assert control.scales == (1.0,), "eight ever lower ones have not helped: the learning rate is the user's again"
        assert hold_all(control.groups, (10.0,))[0].scale == 1.0
        assert decide(Settings(), control, (hot(2),), reading(2, 9.0), History(), (START,)) == (control, None)

    def test_without_a_snapshot_it_says_so_and_keeps_what_was_cut(self) -> None:
        cut = dataclasses.replace(ONE, scale=0.1)
        control, decision = decide(Settings(), Control(groups=(cut,)), (hot(),), reading(1, 9.0), History(), ())
        assert decision is not None
        assert decision.action is Action.STOP
        assert "there is no snapshot to go back to" in decision.message
        assert control.scales == (0.1,)

    def test_a_bad_batch_in_a_healthy_run_costs_no_learning_rate(self) -> None:
        history, found = play([*simple([2.3 - 0.05 * i for i in range(30)], 0.01), reading(30, math.nan, group(nonfinite=True))])
        control, decision = decide(
            Settings(),
            Control(groups=(ONE,)),
            found[-1],
            reading(30, math.nan),
            history,
            (START, dataclasses.replace(LATER, step=16)),
        )
        assert decision is not None
        assert decision.action is Action.ROLLBACK
        assert control.scales == (1.0,)
        assert "bad batch" in decision.message
        assert decision.restored_step == 16
        again, second = decide(Settings(), control, found[-1], reading(40, math.nan, group(lr=1.0)), history, (START,))
        assert again.scales == (1.0,)
        assert second is not None
        assert "number 2 in this run: look for what is not finite in inputs and targets" in second.message
        assert again.rollbacks == 0

    def test_of_bad_batches_in_a_row_without_a_step_between_it_lets_go_at_last(self) -> None:
        """With the weights of before them."""
        control, history = Control(groups=(ONE,)), History(start=(2.3,) * 5, losses=(1.0,) * 20 + (math.nan,), best=1.0, age=40)
        lost = finding(Kind.NON_FINITE, step=50, update_ratio=0.01)
        refuges, done = (START, dataclasses.replace(LATER, step=48)), list[Decision]()
        for i in range(9):
            control, decision = decide(Settings(), control, (lost,), reading(50 + i, math.nan), history, refuges)
            assert decision is not None
            done.append(decision)
            history = dataclasses.replace(history, losses=(math.nan,), age=i + 1)
        assert [d.action for d in done] == [Action.ROLLBACK] * 8 + [Action.STOP]
        assert {d.restored_step for d in done} == {48}
        assert control.scales == (1.0,)

    def test_what_is_not_finite_after_large_steps_is_the_learning_rates_fault(self) -> None:
        history = History(start=(2.3,) * 5, losses=(1.0,) * 20 + (math.nan,), best=1.0, age=40)
        lost = finding(Kind.NON_FINITE, 0, step=50, update_ratio=0.4)
        control, decision = decide(
            Settings(), Control(groups=(ONE,)), (lost,), reading(50, math.nan, group(lr=1.0)), history, (START,)
        )
        assert decision is not None
        assert control.scales[0] < 1.0
        assert control.rollbacks == 1

    def test_the_weights_that_it_leaves_in_the_end_are_finite(self) -> None:
        lost = finding(Kind.NON_FINITE, 0, step=50, update_ratio=0.4)
        history = History(start=(2.3,) * 5, losses=(1.0,) * 20 + (math.nan,), best=1.0, age=40)
        control, now = Control(groups=(ONE,), rollbacks=8), reading(50, math.nan, group(lr=1.0))
        _, decision = decide(Settings(), control, (lost,), now, history, (START, dataclasses.replace(LATER, step=16)))
        assert decision is not None
        assert (decision.action, decision.restored_step) == (Action.STOP, 16)
        assert "The weights are those of step 16 again" in decision.message

    @pytest.mark.parametrize("kind", [Kind.TOO_HOT, Kind.RUINED, Kind.NON_FINITE])
    def test_where_it_stops_it_waits_for_nothing(self, kind: Kind) -> None:
        suspicion = Suspicion(level=0.5, loss=9.0, groups=(ONE,))
        slowed = Slowed(finding=finding(Kind.TOO_HOT, 0), until=130, loss=2.0, groups=(ONE,))
        waiting = {"suspicion": suspicion, "slowed": slowed, "raised": Raise(step=100, groups=(ONE,))}
        before = Control(groups=(GroupControl(scale=0.1, ceiling=0.01),), rollbacks=8, put_back=8, last_poison=119, **waiting)
        found = finding(kind, 0, step=120, update_ratio=1e-3)
        control, decision = decide(Settings(), before, (found,), reading(120, 2.0, group()), History(age=0), (START,))
        assert decision is not None
        assert (decision.action, control.stopped) == (Action.STOP, True)
        assert (control.suspicion, control.slowed, control.raised) == (None, None, None)

    def test_bad_batches_are_said_less_and_less_often(self) -> None:
        said = [n for n in range(1, 20) if worth_saying(Control(poisons=n - 1), Control(poisons=n))]
        assert said == [1, 2, 4, 8, 16]
        assert worth_saying(Control(poisons=3), Control(poisons=3, rollbacks=1))

    def test_nothing_found_nothing_done(self) -> None:
        control = Control(groups=(ONE,))
        assert decide(Settings(), control, (), reading(1, 2.0), History(), (START,)) == (control, None)


class TestAcquit:
    """Loss 2.3 at the start, down to 0.5; back at 2.0 when the run went back to step 64."""

    WAS = GroupControl(per_lr=1.0, first_per_lr=1.0, first_lr=0.1)

    def rolled_back(self, *, refuges: tuple[Refuge, ...] = (START, LATER), **control: object) -> Control:
        history = History(start=(2.3,) * 5, losses=(0.5, 0.5, 2.0, 2.0, 2.0), best=0.5, best_age=60, age=120)
        lost = finding(Kind.TOO_HOT, 0, step=120, traits=(Trait.LOST,), loss=2.0, best=0.5, start=2.3)
        before = Control(groups=(self.WAS,), **control)  # type: ignore[arg-type]
        after, decision = decide(Settings(), before, (lost,), reading(120, 2.0, group(lr=0.1)), history, refuges)
        assert decision is not None
        assert decision.restored_step == refuges[-1].step
        assert after.scales[0] < 1
        return after

    def after(self, losses: list[float], control: Control) -> tuple[Control, list[str]]:
        history, said = History(start=(2.3,) * 5), []
        for i, loss in enumerate(losses):
            history = dataclasses.replace(history, losses=(*history.losses, loss), age=i + 1)
            control, decision = acquit(control, (), reading(121 + i, loss), history)
            said += [decision.message] if decision else []
        return control, said

    def test_the_loss_is_as_high_on_healthy_weights(self) -> None:
        control, said = self.after([2.0, 1.9, 2.1, 1.8], self.rolled_back())
        assert dataclasses.replace(control.groups[0], per_lr=1.0) == self.WAS
        assert said == [
            "step 123: the loss is 2 on the healthy weights too, so the data has changed, and no learning rate is to blame; "
            "learning rates are as they were"
        ]

    def test_the_loss_is_healthy_again(self) -> None:
        held = self.rolled_back()
        control, said = self.after([0.5, 0.6, 2.0, 2.0, 2.0], held)
        assert said == []
        assert control == dataclasses.replace(held, suspicion=None)

    def test_a_loss_that_is_not_finite_says_nothing_of_the_data(self) -> None:
        """Nor does it become what a loss may come back to."""
        control, history = self.rolled_back(), History(start=(2.3,) * 5, losses=(2.0, 2.0, math.inf), age=3)
        nan = finding(Kind.NON_FINITE, 0, step=123)
        assert acquit(control, (nan,), reading(123, math.inf), history) == (control, None)
        assert acquit(control, (), reading(123, 2.0), history)[1] is not None
        assert history.moved_on().leapt == 2.0

    def test_not_twice_within_the_quiet_steps(self) -> None:
        assert self.rolled_back(acquitted=120 - 50).suspicion is None
        assert self.rolled_back(acquitted=120 - 51).suspicion is not None

    def test_not_where_the_loss_was_as_high_when_the_snapshot_was_taken(self) -> None:
        """It was early in the run: that the loss is high there says nothing against the data."""
        for level, suspected in ((0.6, True), (1.9, False), (math.nan, False)):
            refuges = (START, dataclasses.replace(LATER, level=level))
            assert (self.rolled_back(refuges=refuges).suspicion is not None) == suspected

    def test_not_at_the_runs_start_where_every_loss_is_high(self) -> None:
        assert self.rolled_back(refuges=(START,)).suspicion is None

    @pytest.mark.parametrize(
        ("losses", "noise", "acquitted"),
        [
            pytest.param([6.0, 5.0, 7.0], 0.0, True, id="all-as-high-as-before"),
            pytest.param([2.4, 6.0, 7.0], 0.0, False, id="the-first-is-that-of-the-start"),
            pytest.param([3.9, 6.0, 7.0], 0.0, False, id="lower"),
            pytest.param([6.0, 5.0, 7.0], 0.7, False, id="batches-differ-by-as-much"),
        ],
    )
    def test_at_the_runs_start_all_losses_have_to_be_as_high(self, losses: list[float], noise: float, acquitted: bool) -> None:
        """A net that plays against another: its first weights do worse now than when the run began, and no step has done that."""
        history = History(start=(2.3,) * 5, losses=(0.5, 0.5, 6.0, 6.0, 6.0), best=0.5, best_age=60, age=120)
        found = finding(Kind.DIVERGENCE, 0, step=120, loss=6.0, start=2.3)
        before = Control(groups=(self.WAS,))
        held, decision = decide(Settings(), before, (found,), reading(120, 6.0, group(lr=0.1)), history, (START,))
        assert decision is not None
        assert held.suspicion is not None
        history, said = dataclasses.replace(history.restarted(), calm=noise), []
        for i, loss in enumerate(losses):
            history = dataclasses.replace(history, losses=(*history.losses, loss), age=i + 1)
            held, decision = acquit(held, (), reading(121 + i, loss), history)
            said += [decision.step] if decision else []
        assert said == ([123] if acquitted else [])
        assert held.suspicion is None
        assert (held.scales == (1.0,)) is acquitted


class TestUndo:
    """A run at lr 0.01 that was raised to 0.03 at step 40, and broke."""

    SLOW = GroupControl(per_lr=1.0, first_per_lr=1.0, first_lr=0.01, ceiling=0.05)

    def broken(self, *refuges: Refuge, raised: bool = True, step: int = 60) -> tuple[Control, Decision]:
        control = Control(groups=(self.SLOW,), acted=True)
        cold = finding(Kind.TOO_COLD, 0, step=40, traits=(Trait.STRAIGHT,), walk=1.0)
        now = reading(40, 2.0, group(lr=0.01, ratio=0.01))
        if raised:
            control, _ = decide(Settings(raise_again=3.0), control, (cold,), now, History(), refuges)
            assert control.scales == pytest.approx((3.0,))
        broke = finding(Kind.TOO_HOT, 0, step=step, traits=(Trait.LOST,), loss=2.0, best=1.9, start=2.3)
        control, decision = decide(Settings(), control, (broke,), reading(step, 2.0, group(lr=0.01)), History(age=step), refuges)
        assert decision is not None
        return control, decision

    def test_it_goes_back_to_before_the_raise_and_the_learning_rate_it_had(self) -> None:
        before, after = (Refuge(step=step, certified=True, per_lr=(1.0,), level=2.0) for step in (32, 50))
        control, decision = self.broken(START, before, after)
        assert decision.restored_step == 32
        assert control.scales == pytest.approx((1.0,))
        assert control.groups[0].max_lr == pytest.approx(0.01)
        assert control.raised is None

    def test_without_a_raise_it_starts_over_at_a_tenth(self) -> None:
        control, decision = self.broken(START, Refuge(step=32, certified=True, per_lr=(1.0,), level=2.0), raised=False)
        assert decision.restored_step == 0
        assert control.scales == pytest.approx((0.1,))

    def test_where_no_snapshot_is_older_it_starts_over_at_the_learning_rate_it_had(self) -> None:
        control, decision = self.broken(START, Refuge(step=50, certified=True, per_lr=(1.0,), level=2.0))
        assert decision.restored_step == 0
        assert control.scales == pytest.approx((1.0,))

    def test_a_search_may_go_as_near_to_what_broke_as_the_step_that_did_it(self) -> None:
        """A ceiling had cut the learning rate between that step and the verdict."""
        steps = [(0.4, 0.9), (0.02, 0.3), (0.02, 0.3)]
        history, _ = play([reading(i, 2.3, group(ratio=ratio, lr=lr)) for i, (ratio, lr) in enumerate(steps)])
        held = GroupControl(scale=0.3, per_lr=0.07, first_per_lr=0.07, first_lr=1.0)
        before = Control(groups=(held,), rollbacks=1, acted=True)
        after, decision = decide(Settings(), before, (hot(2),), reading(2, 9.0, group(lr=1.0, scale=0.3)), history, (START,))
        assert decision is not None
        assert after.groups[0].max_lr == pytest.approx(0.1)
        assert after.groups[0].broke_lr == pytest.approx(0.3)


class TestSlowDown:
    """A loss that stood at 2.0, at updates of 0.05, under a learning rate of 0.1: doubtful, and 40 steps to give up."""

    STOOD = finding(Kind.TOO_HOT, 0, step=40, traits=(Trait.STALLED,), loss=2.0)
    WAS = GroupControl(per_lr=0.5, first_per_lr=0.5, first_lr=0.1)
    PAST, _ = play(simple([2.0] * 41, 0.05))

    def decided(
        self, found: Finding = STOOD, refuges: tuple[Refuge, ...] = (START,), **control: object
    ) -> tuple[Control, Decision | None]:
        before = Control(**{"groups": (self.WAS,), **control})  # type: ignore[arg-type]
        now = reading(found.step, 2.0, group(lr=0.1, scale=before.scales[0], ratio=0.05))
        return decide(Settings(), before, (found,), now, self.PAST, refuges)

    def slowed(self) -> Control:
        control, decision = self.decided()
        assert decision is not None
        assert (decision.action, decision.restored_step) == (Action.RESCALE, None)
        assert "slowed down where it is, to see whether that is enough: learning rate now x1/5" in decision.message
        assert control.scales == pytest.approx((0.2,)), "the pace of a run of unknown length, over what it is"
        assert control.rollbacks == 0
        return control

    def judged(self, loss: float, **past: Any) -> tuple[Control, Finding | None]:
        """Twelve steps later."""
        after = dataclasses.replace(self.PAST, losses=(loss,) * 12, **past)
        for step in range(41, 52):
            assert tried(self.slowed(), reading(step, loss), after) == (self.slowed(), None)
        return tried(self.slowed(), reading(52, loss), after)

    def test_if_the_loss_comes_down_that_is_all(self) -> None:
        control, verdict = self.judged(1.7)
        assert verdict is None
        assert control == dataclasses.replace(self.slowed(), slowed=None)

    @pytest.mark.parametrize(("loss", "enough"), [(1.7, False), (1.1, False), (0.9, True)])
    def test_where_batches_differ_by_more_than_all_of_it_half_is_enough(self, loss: float, enough: bool) -> None:
        assert (self.judged(loss, calm=2.0)[1] is None) == enough

    def test_if_it_does_not_the_run_is_rolled_back_as_if_it_had_not_been_slowed_down(self) -> None:
        control, verdict = self.judged(1.85)
        assert verdict is not None
        assert "smaller steps have not brought the loss down, from 2 to 1.9" in verdict.message
        now = reading(52, 1.85, group(lr=0.1, scale=0.2, ratio=0.01))
        after, decision = decide(Settings(), control, (verdict,), now, self.PAST, (START,))
        at_once, _ = self.decided(slowed_once=True)
        assert decision is not None
        assert (decision.action, decision.restored_step, decision.scales_before) == (Action.ROLLBACK, 0, control.scales)
        assert after.groups == at_once.groups
        assert after.slowed is None

    def test_a_bad_batch_meanwhile_begins_it_anew_from_where_the_run_is_put_back_to(self) -> None:
        fields = {f.name: getattr(self.slowed(), f.name) for f in dataclasses.fields(Control)}
        nan = finding(Kind.NON_FINITE, step=48, update_ratio=0.01)
        for level, loss in ((2.2, 2.2), (1.9, 2.0), (math.nan, 2.0)):
            after, decision = self.decided(nan, (START, Refuge(step=32, certified=True, level=level)), **fields)
            assert decision is not None
            assert (decision.action, decision.restored_step) == (Action.ROLLBACK, 32)
            assert after.slowed is not None
            assert (after.slowed.until, after.slowed.loss) == (60, loss)

    def test_meanwhile_only_what_cannot_wait_is_heard(self) -> None:
        held = self.slowed()
        fields = {f.name: getattr(held, f.name) for f in dataclasses.fields(Control)}
        for found in (dataclasses.replace(self.STOOD, step=48), finding(Kind.TOO_COLD, 0, step=48)):
            assert self.decided(found, **fields) == (held, None)
        after, decision = self.decided(hot(48), (START, Refuge(step=8, certified=True, level=0.6)), **fields)
        assert decision is not None
        assert after.suspicion is not None
        assert after.suspicion.groups == (self.WAS,), "if the data has changed"
        assert decision.action is Action.ROLLBACK
        assert after.groups[0].max_lr == pytest.approx(0.1 / 3), "of what it was before"
        assert after.slowed is None

    @pytest.mark.parametrize(
        "run",
        [
            pytest.param({"found": dataclasses.replace(STOOD, step=20)}, id="little-to-give-up"),
            pytest.param({"slowed_once": True}, id="a-second-time"),
            pytest.param({"raised": Raise(step=4, groups=(WAS,))}, id="after-a-raise-of-ours"),
            pytest.param({"found": dataclasses.replace(STOOD, traits=(Trait.STALLED, Trait.DYING))}, id="units-have-died"),
            pytest.param({"found": hot(40)}, id="no-doubt"),
        ],
    )
    def test_at_once(self, run: dict[str, Any]) -> None:
        control, decision = self.decided(**run)
        assert decision is not None
        assert decision.action is Action.ROLLBACK
        assert control.slowed is None


class TestFeed:
    def test_starved_groups_get_the_learning_rate_of_the_best_fed(self) -> None:
        three = (group(0, lr=1e-6), group(1, lr=1e-4), group(2, lr=1e-2))
        control, decision = decide(
            Settings(),
            Control(groups=(GroupControl(),) * 3),
            (finding(Kind.STARVED, 0, 1),),
            reading(3, 2.3, *three),
            History(outlook=Outlook(peak_lrs=(1e-6, 1e-4, 1e-2))),
            (START,),
        )
        assert control.scales == pytest.approx((1e4, 1e2, 1.0))
        assert decision is not None
        assert decision.action is Action.RESCALE
        assert decision.restored_step is None
        done = (
            "now at the learning rate of the best fed group, with no step above 0.01 of the weights: group 0 x10000, group 1 x100"
        )
        assert decision.message == f"seen; {done}"
        assert [g.ceiling for g in control.groups] == [0.01, 0.01, None]  # what the user feeds is left alone
        assert decision.advice == "Next time: one learning rate for all groups, 0.01"

    def test_the_budget_of_raises(self) -> None:
        two = (group(0, lr=1e-6), group(1, lr=1e-2))
        starved, now = (finding(Kind.STARVED, 0),), reading(3, 2.3, *two)
        before = Control(groups=(GroupControl(),) * 2)
        assert decide(Settings(max_raises=0), before, starved, now, History(), (START,)) == (before, None)
        assert decide(Settings(max_raises=1), before, starved, now, History(), (START,))[1] is not None

    def test_a_schedule_that_goes_above_what_was_noted_of_it_is_advised_as_it_was_seen(self) -> None:
        """CyclicLR notes its lowest."""
        two = (group(0, lr=1e-6), group(1, lr=1e-2))
        past = History(outlook=Outlook(peak_lrs=(1e-8, 1e-4)))
        _, decision = decide(
            Settings(), Control(groups=(GroupControl(),) * 2), (finding(Kind.STARVED, 0),), reading(3, 2.3, *two), past, (START,)
        )
        assert decision is not None
        assert decision.advice == "Next time: one learning rate for all groups, 0.01"

    @pytest.mark.parametrize(
        ("broke", "scale"),
        [(math.inf, 1e4), (3e-3, 3e3), (1.1e-5, None)],
        ids=["a-doubtful-limit-goes", "up-to-what-broke-it", "not-for-a-tenth"],
    )
    def test_a_group_that_is_held_is_fed_as_far_as_it_may_be_raised(self, broke: float, scale: float | None) -> None:
        held = GroupControl(scale=10.0, ceiling=0.05, max_lr=1e-5, broke_lr=broke)
        control, decision = decide(
            Settings(),
            Control(groups=(held, GroupControl()), rollbacks=1, acted=True),
            (finding(Kind.STARVED, 0),),
            reading(30, 2.3, group(0, lr=1e-6, scale=10.0), group(1, lr=1e-2)),
            History(),
            (START,),
        )
        if scale is None:
            assert decision is None
            assert control.groups[0] == held
        else:
            assert decision is not None
            assert control.scales == pytest.approx((scale, 1.0))
            assert [g.scale for g in hold_all(control.groups, (1e-6, 1e-2))] == pytest.approx(control.scales), "and stays there"


class TestWarm:
    def cold(self, provenance: Provenance, **control: object) -> tuple[Control, object]:
        return decide(
            Settings(raise_frac=0.5),
            Control(groups=(GroupControl(per_lr=50.0),), **control),  # type: ignore[arg-type]
            (finding(Kind.TOO_COLD, 0),),
            reading(20, 2.3, group(ratio=5e-5, lr=1e-6, provenance=provenance)),
            History(),
            (START,),
        )

    def test_random_weights_are_raised_to_a_step_that_moves(self) -> None:
        control, _ = self.cold(Provenance.RANDOM)
        assert control.scales == pytest.approx((100.0,))
        assert control.groups[0].ceiling == 0.01

    @pytest.mark.parametrize("weights", [1_000_000, 110_000_000])
    @pytest.mark.parametrize("old", [[Provenance.MIXED], [Provenance.TRAINED, Provenance.RANDOM]], ids=["one-group", "two-groups"])
    @pytest.mark.parametrize("signs", [(), (Trait.STRAIGHT,)], ids=["way", "walk"])
    def test_a_pretrained_net_with_a_new_head_is_raised_once_and_less(
        self, old: list[Provenance], weights: int, signs: tuple[Trait, ...]
    ) -> None:
        """All groups by one factor, and to 0.4 of the pace, or to that of a net of this size."""
        outlook = Outlook(weights=weights)
        now = reading(7, 2.3, *[group(i, ratio=5e-5, lr=1e-6, provenance=p) for i, p in enumerate(old)])
        found = finding(Kind.TOO_COLD, *range(len(old)), traits=(*signs, Trait.TO_LEARN), update_ratio=5e-5)
        before = Control(groups=tuple(GroupControl(per_lr=50.0) for _ in old))
        control, decision = decide(Settings(), before, (found,), now, History(outlook=outlook), (START,))
        assert decision is not None
        assert decision.action is Action.RESCALE
        assert control.scales == pytest.approx([0.4 * 0.01 * outlook.small_steps / 5e-5] * len(old))
        assert decide(Settings(), control, (found,), now, History(outlook=outlook), (START,)) == (control, None), "once"

    @pytest.mark.parametrize("provenance", [Provenance.TRAINED, Provenance.UNKNOWN, Provenance.MIXED])
    def test_others_are_warned_about_at_most(self, provenance: Provenance) -> None:
        control, decision = self.cold(provenance)
        assert control.scales == (1.0,)
        assert decision is not None
        assert decision.action is Action.HOLD  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("peak", "scale"),
        [
            pytest.param(1e-6, 30.0, id="asks-for-as-much"),
            pytest.param(5e-7, 30.0, id="for-less"),
            pytest.param(2e-6, None, id="for-more"),
        ],
    )
    @pytest.mark.parametrize("provenance", [Provenance.TRAINED, Provenance.MIXED])
    def test_what_had_to_be_raised_before_is_raised_again_by_no_more(
        self, provenance: Provenance, peak: float, scale: float | None
    ) -> None:
        """Here to 0.3 of its pace, though 0.4 would do; and once."""
        history = History(outlook=Outlook(peak_lrs=(peak,), lesson=Lesson(asked=1e-6, took=3e-5)))
        now = reading(20, 2.3, group(ratio=5e-5, lr=4e-7, provenance=provenance))
        control, decision = decide(
            Settings(), Control(groups=(GroupControl(per_lr=50.0),)), (finding(Kind.TOO_COLD, 0),), now, history, (START,)
        )
        assert decision is not None
        if scale is None:
            assert decision.action is Action.HOLD
        else:
            assert control.scales == pytest.approx((scale,))
            assert "so was the fit before" in decision.message
            again = dataclasses.replace(now, groups=(group(ratio=5e-5, lr=4e-7, scale=scale, provenance=provenance),))
            assert decide(Settings(), control, (finding(Kind.TOO_COLD, 0),), again, history, (START,)) == (control, None), "once"

    @pytest.mark.parametrize(
        ("asked", "all_of_it", "ceiling"),
        [
            pytest.param(1.0, True, 0.01, id="asks-for-as-much"),
            pytest.param(2.0, True, 0.004, id="for-less"),
            pytest.param(1.0, False, 0.004, id="pretrained"),
        ],
    )
    def test_what_was_learned_under_a_ceiling_is_held_under_it_again(self, asked: float, all_of_it: bool, ceiling: float) -> None:
        lesson = Lesson(asked=asked, took=1e-3, all_of_it=all_of_it)
        now = reading(3, 2.3, group(ratio=0.5, lr=1.0, provenance=Provenance.TRAINED))
        before, history = Control(groups=(GroupControl(per_lr=0.5),)), History(outlook=Outlook(lesson=lesson))
        control, _ = decide(Settings(), before, (finding(Kind.TOO_HOT, 0),), now, history, (START,))
        assert control.groups[0].ceiling == pytest.approx(ceiling)

    @pytest.mark.parametrize(("all_of_it", "pace"), [(True, 0.01), (False, 0.004)])
    def test_what_was_learned_at_such_learning_rates_is_no_reason_for_smaller_ones(self, all_of_it: bool, pace: float) -> None:
        lesson = Lesson(asked=1e-6, took=1.0, all_of_it=all_of_it)
        now = reading(20, 2.3, group(ratio=5e-5, lr=1e-6, provenance=Provenance.TRAINED))
        before = Control(groups=(GroupControl(per_lr=50.0),))
        control, _ = decide(
            Settings(), before, (finding(Kind.TOO_COLD, 0),), now, History(outlook=Outlook(lesson=lesson)), (START,)
        )
        assert control.scales == pytest.approx((pace / 5e-5,))

    @pytest.mark.parametrize(
        ("ceiling", "then"), [(0.01, 0.03), (0.03, 0.03), (0.05, 0.05)], ids=["lifted", "at-most", "never-lowered"]
    )
    def test_the_search_goes_on_from_a_scale_that_is_ours(self, ceiling: float, then: float) -> None:
        """Per unit of learning rate the net moves 50 of its weights: the raised step is held under the ceiling, which is lifted."""
        before = Control(groups=(GroupControl(per_lr=50.0, scale=100.0, ceiling=ceiling),), acted=True, raises=1)
        still = reading(20, 2.3, group(ratio=5e-3, lr=1e-6, scale=100.0))
        control, decision = decide(
            Settings(), before, (finding(Kind.TOO_COLD, 0, traits=(Trait.STRAIGHT,)),), still, History(), (START,)
        )
        assert decision is not None
        assert control.scales == pytest.approx((300.0,))
        assert control.groups[0].ceiling == pytest.approx(then)

    @pytest.mark.parametrize(("traits", "then"), [((), 1 / 3), ((Trait.STALLED,), 1.0)], ids=["broke-the-run", "stood-still"])
    def test_only_a_learning_rate_that_broke_the_run_is_not_gone_back_to(self, traits: tuple[Trait, ...], then: float) -> None:
        """Lr 1 was too hot, and the search for what may be it in the end goes as far as the verdict was sure."""
        accused = dataclasses.replace(hot(), traits=traits)
        one = Control(groups=(GroupControl(per_lr=0.01, first_per_lr=0.01),))
        control, _ = decide(Settings(), one, (accused,), reading(20, 2.3, group(ratio=0.01, lr=1.0)), History(), (START,))
        for _ in range(8):
            now = reading(40, 2.3, group(ratio=0.001, lr=1.0, scale=control.scales[0]))
            cold = finding(Kind.TOO_COLD, 0, traits=(Trait.STRAIGHT,))
            control, _ = decide(Settings(), control, (cold,), now, History(), (START,))
        assert min(control.scales[0], 1.0) == pytest.approx(then)

    @pytest.mark.parametrize(
        ("loss", "rollbacks", "then"),
        [(2.3, 1, [1 / 3]), (1.0, 1, [1 / 3, 1.0]), (1.0, 2, [1 / 3])],
        ids=["still-at-the-start", "has-learned", "broken-twice"],
    )
    def test_what_broke_a_net_once_is_tried_again_bit_by_bit_when_it_has_learned(
        self, loss: float, rollbacks: int, then: list[float]
    ) -> None:
        """Lr 1 broke it. At a third of that it walks straight on, far below its pace."""
        held = GroupControl(scale=0.1, ceiling=0.01, max_lr=0.1, broke_lr=1 / 3, per_lr=0.005)
        control, past = Control(groups=(held,), rollbacks=rollbacks, acted=True), History(start=(2.3,) * 5, losses=(loss,) * 24)
        scales = []
        for _ in range(3):
            now = reading(60, loss, group(ratio=5e-4, lr=1.0, scale=control.scales[0]))
            control, decision = decide(
                Settings(), control, (finding(Kind.TOO_COLD, 0, traits=(Trait.STRAIGHT,)),), now, past, (START,)
            )
            scales += [control.scales[0]] * (decision is not None)
        assert scales[: len(then)] == pytest.approx(then)
        assert len(scales) == (3 if len(then) > 1 else 1), "each time by no more than a search does, or never again"

    def test_the_budget_of_raises(self) -> None:
        control, decision = self.cold(Provenance.RANDOM, raises=Settings().max_raises)
        assert (control.scales, decision) == ((1.0,), None)


class TestCeiling:
    def test_follows_a_ramp_and_leaves_an_annealing_alone(self) -> None:
        g = GroupControl(ceiling=0.01, per_lr=1.0)
        effective = []
        for lr in (0.001, 0.01, 0.1, 1.0, 0.5, 0.1):
            g = hold_under(g, lr)
            effective.append(lr * g.scale)
        assert effective == pytest.approx([0.001, 0.01, 0.01, 0.01, 0.005, 0.001])

    def test_a_replayed_warm_up_grows_step_by_step_under_the_ceiling(self) -> None:
        g = GroupControl(scale=0.1, warmup=2.0, ceiling=1.0, per_lr=1.0)
        scales = []
        for _ in range(30):
            g = hold_under(g, 1.0)
            scales.append(g.scale)
        assert scales[0] == pytest.approx(0.105)
        assert scales[-1] == pytest.approx(0.2)
        capped = hold_under(dataclasses.replace(g, warmup=2.0, ceiling=0.01, per_lr=0.05), 1.0)
        assert capped.scale == pytest.approx(0.2)

    @given(
        lrs=st.lists(st.floats(1e-8, 1e2), min_size=1, max_size=20),
        per_lr=st.floats(1e-4, 1e4),
        ceiling=st.floats(1e-4, 0.5),
        max_lr=st.floats(1e-6, 1.0),
    )
    def test_no_step_is_ever_above_a_ceiling(self, lrs: list[float], per_lr: float, ceiling: float, max_lr: float) -> None:
        g = GroupControl(ceiling=ceiling, per_lr=per_lr, max_lr=max_lr)
        last = g.scale
        for lr in lrs:
            g = hold_under(g, lr)
            assert lr * g.scale <= max_lr * (1 + 1e-9)
            assert lr * g.scale * per_lr <= ceiling * (1 + 1e-9)
            assert g.scale <= last
            last = g.scale

    def test_measured_keeps_the_first_step_and_skips_what_cannot_be_used(self) -> None:
        control = measured(Settings(), Control(), History(), reading(0, 2.3, group(ratio=0.5, lr=0.1)))
        control = measured(Settings(), control, History(), reading(1, 2.3, group(ratio=0.2, lr=0.1, scale=0.5)))
        assert control.groups[0].first_per_lr == pytest.approx(5.0)
        assert control.groups[0].per_lr == pytest.approx(4.0)
        for odd in (group(ratio=math.nan, lr=0.1), group(frozen=True), group(ratio=0.1, lr=0.0)):
            assert measured(Settings(), control, History(), reading(2, 2.3, odd)) == control

    def test_where_only_part_of_a_step_gets_anywhere_a_ceiling_is_loosened_and_the_scale_may_grow_to_it(self) -> None:
        jagged = History(groups=(GroupPast(straight=0.42),))  # 0.6 of a net with momentum
        before = Control(groups=(GroupControl(ceiling=0.01, warmup=2.0, scale=0.1),), acted=True)
        step = reading(0, 2.3, group(ratio=0.01, lr=0.1, scale=0.1))
        after = measured(Settings(), before, jagged, step).groups[0]
        assert loosened(0.01, after.progress) == pytest.approx(0.01 / 0.36)
        assert after.warmup == pytest.approx(2.0 / 0.36)
        for _ in range(100):
            after = hold_under(after, 0.1)
        assert after.scale * 0.1 * 1.0 == pytest.approx(0.01 / 0.36)  # the ratio is 1.0 times the learning rate
        assert measured(Settings(ceiling=0.01), before, jagged, step).groups[0].progress == 1.0  # the user's own ceiling stands

    @pytest.mark.parametrize(("ceiling", "grows_by"), [(None, 1.0), (0.01, 4.0), (0.04, 1.25), (0.05, 1.0)])
    def test_it_may_grow_by_what_the_ceiling_is_loosened_by(self, ceiling: float | None, grows_by: float) -> None:
        jagged = History(groups=(GroupPast(straight=0.35),))
        before = Control(groups=(GroupControl(ceiling=ceiling),), acted=True)
        after = measured(Settings(), before, jagged, reading(0, 2.3, group(ratio=0.01, lr=0.1)))
        assert after.groups[0].progress == pytest.approx(0.5)
        assert after.groups[0].warmup == pytest.approx(grows_by)

    def test_no_scale_grows_without_a_ceiling(self) -> None:
        """That of a group which was never held, beside one that was or after a bad batch, stays what it is."""
        free = GroupControl(warmup=4.0, per_lr=1.0)
        assert hold_under(free, 0.1) == free

    @given(ceiling=st.floats(1e-5, 0.5), progress=st.floats(0.5, 1.0))
    def test_a_ceiling_is_never_tightened_nor_loosened_beyond_what_trains_well(self, ceiling: float, progress: float) -> None:
        assert ceiling <= loosened(ceiling, progress) <= max(ceiling, 0.05)


class TestBadBatch:
    """A batch out of scale in a run that goes well: back to where it was unharmed, and no learning rate is touched."""

    def decide(self, *, last: int | None = None) -> Decision | None:
        losses = [2.0 - 0.05 * i for i in range(20)]
        history, _ = play([reading(i, x, group(ratio=0.01)) for i, x in enumerate(losses)])
        spiked = finding(Kind.BAD_BATCH, 0, step=60)
        refuges = (Refuge(step=0, certified=True), Refuge(step=50, certified=True))
        return decide(
            Settings(), Control(groups=(GroupControl(),), last_poison=last), (spiked,), reading(60, 1.05, group()), history, refuges
        )[1]

    def test_rolls_back_and_leaves_learning_rates(self) -> None:
        decision = self.decide()
        assert decision is not None
        assert (decision.action, decision.restored_step) == (Action.ROLLBACK, 50)
        assert decision.scales_after == decision.scales_before

    def test_not_the_next_one_soon_after(self) -> None:
        assert self.decide(last=40) is None


class TestExcused:
    """Another optimizer trains what the loss depends on, say."""

    def decide(self, *kinds: Kind) -> Decision | None:
        history = History(outlook=Outlook(excuse=GAME))
        found = tuple(finding(kind, 0, step=60, update_ratio=0.5) for kind in kinds)
        groups = (group(lr=1e-6, ratio=1e-9), group(1, lr=1e-2, ratio=1e-3))
        control = Control(groups=(ONE, ONE))
        return decide(Settings(), control, found, reading(60, 3.0, *groups), history, (START,))[1]

    @pytest.mark.parametrize("kind", [Kind.TOO_HOT, Kind.DIVERGENCE, Kind.COLLAPSE, Kind.BAD_BATCH, Kind.TOO_COLD])
    def test_what_the_loss_says_changes_nothing(self, kind: Kind) -> None:
        for kinds in ((kind,), (Kind.SHIFT, kind)):
            decision = self.decide(*kinds)
            assert decision is not None
            assert (decision.action, decision.findings) == (Action.HOLD, (kind,))
            assert "as in a game of two" in decision.message

    def test_what_weights_and_updates_say_does(self) -> None:
        nan, starved = self.decide(Kind.NON_FINITE), self.decide(Kind.STARVED)
        assert nan is not None
        assert nan.action is Action.ROLLBACK
        assert starved is not None
        assert starved.action is Action.RESCALE


def test_news_says_an_event_once_and_again_after_a_pause() -> None:
    settings, control, said = Settings(quiet_steps=50), Control(), []
    for step in [*range(30), *range(100, 110)]:
        control, new = news(settings, control, (finding(Kind.STARVED, 0, step=step),))
        said += [f.step for f in new]
    assert said == [0, 100]


def test_news_says_what_comes_back_less_and_less_often() -> None:
    settings, control, said = Settings(quiet_steps=50), Control(), []
    for step in range(0, 3000, 60):
        control, new = news(settings, control, (finding(Kind.DIVERGENCE, 0, step=step),))
        said += [f.step for f in new]
    assert said == [0, 60]  # it was never away for 100 steps
    for step in (3041, 3142, 3343, 3744):
        control, new = news(settings, control, (finding(Kind.DIVERGENCE, 0, step=step),))
        said += [f.step for f in new]
    assert said == [0, 60, 3041, 3343, 3744]


def test_of_a_game_it_says_one_thing_once() -> None:
    control, said = Control(), []
    for step, kind in ((5, Kind.DIVERGENCE), (100, Kind.TOO_COLD), (1000, Kind.DIVERGENCE)):
        control, new = news(Settings(), control, (finding(kind, 0, step=step),), once=True)
        said += [f.step for f in new]
    assert said == [5]


@pytest.mark.parametrize(("name", "value"), [("ceiling", 2.0), ("retreat", 1.0), ("max_rollbacks", -1), ("raise_frac", math.nan)])
def test_settings_outside_their_range_are_refused_with_the_value(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{name} must lie in .* got {value!r}"):
        Settings(**{name: value})  # type: ignore[arg-type]
