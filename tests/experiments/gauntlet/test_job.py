"""What the methods of a cell share, and how late breaks reach it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from experiments.gauntlet.cells import GRID, OWN, SLICE, Cell, Column, Plan, edge, hot_group, uniform
from experiments.gauntlet.draw import draw
from experiments.gauntlet.faults import FAULTS
from experiments.gauntlet.job import prepare
from experiments.gauntlet.optimizers import OPTIMIZERS, set_lrs, split_groups
from experiments.gauntlet.recovered import Oracle
from experiments.gauntlet.tasks import TASKS, Task
from experiments.gauntlet.tasks.fresh import FRESH
from experiments.gauntlet.tasks.unseen import UNSEEN
from experiments.gauntlet.tiers import TIERS, first_runs, other_runs


def cell(name: str, *, plan: Plan | None = None, seed: int = 0, fault: str = "none") -> Cell:
    return Cell(column=Column.parse(name), plan=plan or uniform(0.1), seed=seed, fault=fault)


def test_weights_and_batches_depend_on_the_seed_alone() -> None:
    a = prepare(cell("cancer/mlp/sgd/flat"), "")
    torch.rand(5)  # whatever was drawn before
    b = prepare(cell("cancer/mlp/adam/cosine", plan=SLICE), "")
    c = prepare(cell("cancer/mlp/sgd/flat", seed=1), "")
    assert all(torch.equal(p, q) for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(a.model.parameters(), c.model.parameters(), strict=True))
    batches = zip(a.batches(), b.batches(), c.batches(), strict=False)
    for (x, y), (x2, y2), (x3, _) in itertools.islice(batches, 25):  # over the end of an epoch
        assert torch.equal(x, x2)
        assert torch.equal(y, y2)
        assert not torch.equal(x, x3)


@pytest.mark.parametrize("task", TASKS)
def test_three_groups_hold_every_parameter_once_in_forward_order(task: str) -> None:
    for make in TASKS[task].nets.values():
        net = make()
        groups = split_groups(net, 3)
        assert sorted(map(id, itertools.chain(*groups))) == sorted(map(id, net.parameters()))
        assert all(groups)
        last = [p for m in net.modules() for p in m.parameters(recurse=False)][-1]
        assert any(p is last for p in groups[2])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_learning_rates_are_written_to_the_groups_and_move_them(name: str) -> None:
    job = prepare(cell(f"cancer/mlp/{name}/flat"), "")
    optimizer = job.optimizer((0.0, 0.0, 0.0))
    set_lrs(optimizer, (0.0, 0.01, 0.0))
    groups = split_groups(job.model, 3)
    before = [[p.detach().clone() for p in g] for g in groups]
    x, y = next(job.batches())
    job.loss(x, y, 0).backward()
    optimizer.step()
    moved = [any(not torch.equal(p, q) for p, q in zip(g, b, strict=True)) for g, b in zip(groups, before, strict=True)]
    assert moved == [False, True, False]


def test_the_ramp_begins_at_60_percent_and_ends_at_a_thousand() -> None:
    ramp = FAULTS["ramp"]
    assert [ramp.multiplier(s, 100) for s in (0, 59)] == [1.0, 1.0]
    assert 1 < ramp.multiplier(60, 100) < ramp.multiplier(65, 100) < 1000
    assert ramp.multiplier(69, 100) == ramp.multiplier(99, 100) == pytest.approx(1000)


@pytest.mark.parametrize(("fault", "check"), [("nan-batch", math.isnan), ("scaled-batch", lambda f: f == 1e4)])
def test_poison_is_one_batch_through_the_inputs_or_for_tokens_through_the_loss(fault: str, check) -> None:
    floats, tokens = torch.ones(2, 2), torch.ones(2, 2, dtype=torch.long)
    poison = FAULTS[fault]
    hit = [s for s in range(100) if not torch.equal(poison.inputs(floats, s, 100, tokens=7), floats)]
    assert hit == [60]
    assert check(float(poison.inputs(floats, 60, 100, tokens=7)[0, 0]))
    assert poison.loss_factor(floats, 60, 100) == 1.0
    assert torch.equal(poison.inputs(tokens, 60, 100, tokens=7), tokens)
    assert [s for s in range(100) if poison.loss_factor(tokens, s, 100) != 1.0] == [60]
    assert check(poison.loss_factor(tokens, 60, 100))


def test_a_shift_lasts_and_the_validation_part_goes_with_it() -> None:
    shift, tokens = FAULTS["shift"], torch.arange(50)
    assert torch.equal(shift.inputs(tokens, 59, 100, tokens=50), tokens)
    shifted = shift.inputs(tokens, 60, 100, tokens=50)
    assert torch.equal(shifted.sort().values, tokens)
    assert int((shifted != tokens).sum()) == 5
    assert torch.equal(shift.inputs(tokens[:9], 60, 100, tokens=50), shifted[:9]), "whatever the largest token of a batch"
    assert torch.equal(shift.valid_inputs(tokens, tokens=50), shifted)
    assert torch.equal(shift.inputs(torch.ones(3), 99, 100, tokens=50), torch.full((3,), 2.0))


def test_a_tier_has_every_cell_once_and_the_plain_run_to_each() -> None:
    tier = TIERS["standard"]
    name = tier.late_columns[0] if tier.late_columns else ""
    runs = first_runs([name], [0, 1]) + other_runs(
        tier, [name], [0, 1], tier.methods, {name: Oracle(value=0.9, lr=0.01, top_lr=0.1, chance=0.1)}
    )
    names = [f"{m}|{c.name}" for c, m in runs]
    assert len(set(names)) == len(names)
    plain = {c.name for c, m in runs if m == "plain"}
    assert {c.name for c, m in runs if c.plan is not OWN} == plain
    assert {c.plan.kind for c, m in runs} == {"grid", "starving", "hot group", "edge", "own"}
    assert len([1 for c, m in runs if m == "prodigy"]) == 2 * (1 + len(tier.late))
    assert {c.plan.lrs[0] for c, m in runs if m == "adaptlr" and c.plan.kind == "grid"} == set(GRID)
    assert {c.plan.lrs[0] for c, _ in runs if c.plan.kind == "edge"} == {0.2, 0.5}, "above the highest that is healthy"


def test_what_depends_on_the_best_learning_rate_has_it_in_its_name() -> None:
    a, b = cell("cancer/mlp/sgd/flat", plan=edge(0.1, 2)), cell("cancer/mlp/sgd/flat", plan=edge(0.01, 2))
    assert a.name != b.name
    assert hot_group(0.1).lrs == (0.1, 10.0, 0.1)


@pytest.mark.parametrize("tier", TIERS.values(), ids=lambda t: t.name)
def test_a_tiers_columns_exist(tier) -> None:
    assert len(set(tier.columns)) == len(tier.columns)
    for name in tier.columns:
        column = Column.parse(name)
        assert column.net in TASKS[column.task].nets
        assert column.optimizer in OPTIMIZERS
    assert set(tier.late_columns or ()) | set(tier.timing_columns) <= set(tier.columns)


@pytest.mark.parametrize(("tier", "tasks"), [("unseen", UNSEEN), ("fresh", FRESH)])
def test_these_have_tasks_of_their_own_and_every_net_of_them(tier: str, tasks: tuple[Task, ...]) -> None:
    columns = [Column.parse(c) for c in TIERS[tier].columns]
    assert {(c.task, c.net) for c in columns} == {(t.name, net) for t in tasks for net in t.nets}
    halves = [c.half for c in columns]
    assert min(halves.count("tuned"), halves.count("held-out")) >= 4


@pytest.mark.parametrize("name", ["drawn", "redrawn", "thrice"])
def test_what_was_drawn_is_no_column_of_another_tier(name: str) -> None:
    tiers = ["smoke", "standard", "unseen", "fresh", "drawn", "redrawn", "thrice"]
    others = {c for tier in tiers[: tiers.index(name)] for c in TIERS[tier].columns}
    drawn = [Column.parse(c) for c in TIERS[name].columns]
    assert not others & {c.name for c in drawn}
    assert len({(c.task, c.net) for c in drawn}) == len(drawn), "each net once"
    assert all(c.net in TASKS[c.task].nets and c.optimizer in OPTIMIZERS for c in drawn)


def test_a_draw_has_every_net_once_in_columns_of_no_tier() -> None:
    tier = draw(11)
    assert (tier.name, tier.seeds, tier.late_columns) == ("draw-11", (11,), ())
    assert draw(11) == tier, "the same for everybody"
    drawn = [Column.parse(c) for c in tier.columns]
    assert [(c.task, c.net) for c in drawn] == [(t.name, net) for t in TASKS.values() for net in t.nets]
    assert not set(tier.columns) & {c for t in TIERS.values() if t.name != "full" for c in t.columns}
    many = [Column.parse(c).optimizer for seed in range(40) for c in draw(seed).columns]
    assert set(many) == set(OPTIMIZERS)
    usual = sum(o in ("adam", "adamw", "sgd") for o in many) / len(many)
    assert 0.4 < usual < 0.6, "9 of 17"


def test_standard_has_every_task_net_optimizer_and_schedule_in_both_halves() -> None:
    columns = [Column.parse(c) for c in TIERS["standard"].columns]
    assert {c.task for c in columns} == set(TASKS) - {t.name for t in (*UNSEEN, *FRESH)}
    pairs = {(c.optimizer, c.schedule) for c in columns}
    assert len(pairs) >= 10
    halves = [c.half for c in columns]
    assert min(halves.count("tuned"), halves.count("held-out")) >= 8
