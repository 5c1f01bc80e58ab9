"""Groups of random weights that stand still: when they are starved, and when they are not."""

from __future__ import annotations

from typing import Any

import pytest

from adaptlr.records import Kind, Provenance
from tests.judge.runs import group, kinds, play, reading


def slice_run(first: dict[str, Any], *, steps: int = 8) -> dict[int, list[str]]:
    """Group 0 at lr 1e-6, group 1 at 1e-2, as slice(1e-6, 1e-2) has it."""
    return kinds(
        play(
            [
                reading(i, 2.3 - 0.05 * i, group(0, **{"lr": 1e-6, "ratio": 1e-6, **first}), group(1, lr=1e-2, ratio=0.01))
                for i in range(steps)
            ]
        )[1]
    )


def test_a_random_group_on_a_tiny_lr_is_starved_within_four_steps() -> None:
    found = slice_run({})
    assert min(found) == 3
    assert found[3] == [str(Kind.STARVED)]


@pytest.mark.parametrize(
    "first",
    [
        pytest.param({"provenance": Provenance.TRAINED}, id="pretrained"),
        pytest.param({"provenance": Provenance.UNKNOWN}, id="unknown"),
        pytest.param({"frozen": True}, id="frozen"),
        pytest.param({"lr": 0.0}, id="frozen-by-lr-0"),
        pytest.param({"lr": 5e-3, "ratio": 5e-3}, id="half-the-lr"),
        pytest.param({"lr": 1e-4, "ratio": 2e-3}, id="lower-lr-that-moves"),
        pytest.param({"lr": 1e-2, "ratio": 1e-6}, id="still-at-the-same-lr"),
    ],
)
def test_not_starved(first: dict[str, Any]) -> None:
    assert slice_run(first) == {}


@pytest.mark.parametrize(
    ("between", "fed"),
    [
        pytest.param({"lr": 1e-4}, True, id="a-hundredth"),
        pytest.param({"lr": 3e-4}, False, id="a-thirtieth"),
        pytest.param({"lr": 1e-4, "provenance": Provenance.TRAINED}, False, id="pretrained"),
        pytest.param({"lr": 1e-4, "frozen": True}, False, id="frozen"),
    ],
)
def test_a_group_that_moves_on_a_learning_rate_as_far_below_the_best_is_fed_with_the_starved(
    between: dict[str, Any], fed: bool
) -> None:
    three = (group(0, lr=1e-6, ratio=1e-6), group(1, **{"ratio": 2e-3, **between}), group(2, lr=1e-2, ratio=0.01))
    found = play([reading(i, 2.3 - 0.05 * i, *three) for i in range(4)])[1][3][0]
    assert found.groups == ((0, 1) if fed else (0,))


def test_starved_needs_the_steps_in_a_row() -> None:
    ratios = [1e-6, 1e-6, 1e-6, 1.5e-3, 1e-6, 1e-6, 1e-6]
    readings = [reading(i, 2.3 - 0.05 * i, group(0, lr=1e-6, ratio=r), group(1, lr=1e-2, ratio=0.01)) for i, r in enumerate(ratios)]
    assert not any(play(readings)[1])


@pytest.mark.parametrize(("first", "starved"), [(1.5e-3, True), (5e-3, False)], ids=["a-shock-as-rmsprop-s", "a-usual-step"])
def test_a_group_that_moved_before_is_not_starved(first: float, starved: bool) -> None:
    ratios = [first, *[1e-6] * 7]
    readings = [reading(i, 2.3 - 0.05 * i, group(0, lr=1e-6, ratio=r), group(1, lr=1e-2, ratio=0.01)) for i, r in enumerate(ratios)]
    assert (Kind.STARVED in {f.kind for fs in play(readings)[1] for f in fs}) is starved


def test_the_starved_message_names_groups_and_stages() -> None:
    readings = [
        reading(
            i,
            2.3,
            group(0, lr=1e-6, ratio=3e-6, stages=("conv1", "conv2_x", "conv3_x")),
            group(1, lr=1e-2, ratio=0.012, stages=("head",)),
        )
        for i in range(4)
    ]
    finding = play(readings)[1][3][0]
    assert finding.stages == ("conv1", "conv2_x", "conv3_x")
    assert finding.message == (
        "step 3: group 0 (conv1, conv2_x, conv3_x) is starved: it moves 3e-06 of its weight a step, 1/4000 of the best fed group, "
        "and is still at its random initialisation"
    )
