"""Weights that were ruined before: what says so, and what of the same kind does not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from adaptlr.judge.outlook import Outlook
from adaptlr.records import Kind, Provenance
from tests.judge.runs import group, kinds, play, reading, simple, stage

GUESS = math.log(10)


class TestNotFinite:
    @pytest.mark.parametrize(
        ("losses", "size", "expected"),
        [
            pytest.param([math.nan], math.inf, {0: [Kind.RUINED]}, id="weights-at-once"),
            pytest.param([math.nan] * 3, 0.6, {0: [Kind.NON_FINITE], 1: [Kind.NON_FINITE], 2: [Kind.RUINED]}, id="three-batches"),
            pytest.param([math.nan, 2.3, math.nan], 0.6, {0: [Kind.NON_FINITE], 2: [Kind.NON_FINITE]}, id="one-of-two"),
            pytest.param([2.3] + [math.nan] * 3, 0.6, {i: [Kind.NON_FINITE] for i in (1, 2, 3)}, id="it-was-well-at-first"),
            pytest.param([2.3, 2.2, 2.3], math.inf, {}, id="weights-that-nothing-depends-on"),
        ],
    )
    def test_from_the_first_step_on(self, losses: list[float], size: float, expected: dict[int, list[Kind]]) -> None:
        found = kinds(play(simple(losses), outlook=Outlook(size=size))[1])
        assert found == {i: [str(k) for k in ks] for i, ks in expected.items()}

    def test_says_whether_it_is_the_weights_or_the_data(self) -> None:
        def said(size: float) -> str:
            return play(simple([math.inf] * 3), outlook=Outlook(size=size))[1][2][0].message

        assert "the weights were not finite when this run began" in said(math.inf)
        assert "inputs" in said(0.6)
        assert "no learning rate" in said(0.6)

    def test_a_first_loss_that_is_not_finite_is_not_where_the_run_began(self) -> None:
        history = play(simple([math.nan, 2.3, 2.2, 2.1]))[0]
        assert history.start == (2.3, 2.2, 2.1)
        assert history.start_level == 2.3


class TestSilent:
    def found(self, *, quiet: list[float], frozen: bool = True) -> dict[int, list[str]]:
        stages = tuple(stage(f"conv{i}", quiet=q) for i, q in enumerate(quiet))
        readings = [reading(i, 2.3, group(frozen=frozen), stages=stages) for i in range(9)]
        return kinds(play(readings)[1])

    def test_stages_at_zero_and_no_gradient(self) -> None:
        assert self.found(quiet=[0.5, 1.0, 0.0]) == {7: [Kind.RUINED], 8: [Kind.RUINED]}

    def test_not_where_something_learns_or_nothing_is_silent(self) -> None:
        assert self.found(quiet=[0.5, 1.0, 0.0], frozen=False) == {}, "a branch that begins at zero"
        assert self.found(quiet=[0.5, 0.99, 0.0]) == {}, "nothing is trained, as where weights are frozen"

    def test_not_where_a_stage_fell_silent_later(self) -> None:
        readings = [reading(i, 2.3, group(frozen=True), stages=(stage(quiet=0.5 if i < 3 else 1.0),)) for i in range(9)]
        assert Kind.RUINED not in [f.kind for fs in play(readings)[1] for f in fs]


class TestThrown:
    def found(
        self, *, size: float = 40.0, loss: float = 3.0, provenance: Provenance = Provenance.TRAINED, **outlook: Any
    ) -> list[str]:
        readings = [reading(i, loss, group(ratio=0.005, provenance=provenance)) for i in range(12)]
        found = kinds(play(readings, outlook=Outlook(size=size, **{"guess": GUESS, **outlook}))[1])
        return found.get(7, [])

    def test_large_weights_that_know_nothing(self) -> None:
        assert self.found() == [Kind.RUINED]
        assert self.found(provenance=Provenance.UNKNOWN) == [Kind.RUINED]

    @pytest.mark.parametrize(
        "but",
        [
            pytest.param({"size": 7.0}, id="as-large-as-some-that-train-well"),
            pytest.param({"loss": 2.0}, id="it-knows-something"),
            pytest.param({"guess": None}, id="regression"),
            pytest.param({"provenance": Provenance.RANDOM}, id="drawn-that-large"),
            pytest.param({"provenance": Provenance.MIXED}, id="a-new-head"),
        ],
    )
    def test_but(self, but: dict[str, Any]) -> None:
        assert self.found(**but) == []

    def test_their_gradients_may_fade_and_it_is_no_learning_rate(self) -> None:
        def found(size: float) -> list[str]:
            readings = [reading(i, 2.3, group(grad=0.1 if i < 2 else 1e-7, provenance=Provenance.TRAINED)) for i in range(14)]
            return [str(f.kind) for fs in play(readings, outlook=Outlook(size=size, guess=GUESS))[1] for f in fs]

        assert Kind.COLLAPSE in found(0.6)
        assert set(found(40.0)) == {Kind.RUINED}
