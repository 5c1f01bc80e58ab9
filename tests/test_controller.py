"""The loop as a whole: it leaves healthy runs alone to the last bit, puts ruined ones right, and refuses wrong use clearly."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import re
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import adaptlr
from adaptlr import Action, AdaptLRWarning, Controller, Kind, Sampling, Settings, Thresholds, Trace
from adaptlr.judge.detect import observe
from adaptlr.judge.history import History
from adaptlr.judge.outlook import Lesson
from adaptlr.judge.words import number
from adaptlr.ranges import meanings_of
from adaptlr.records import Provenance
from tests.nets import OPTIMIZERS, backward, batches, convnet, fit, quiet, same, train


@pytest.mark.parametrize("one_cycle", [False, True], ids=["flat", "one-cycle"])
@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 3e-3), ("sgd", 3e-2)])
def test_a_healthy_run_is_bit_identical(optimizer: str, lr: float, one_cycle: bool) -> None:
    plain = train(optimizer, lr, one_cycle=one_cycle, steps=60)
    watched = train(optimizer, lr, one_cycle=one_cycle, steps=60, controller={})
    assert watched.controller is not None
    assert (watched.controller.findings, watched.controller.decisions) == ([], [])
    assert len(watched.controller.trace.readings) == 60
    assert same(plain.losses, watched.losses)
    assert same(plain.state, watched.state)
    assert plain.rng == watched.rng


def test_the_run_so_far_is_drawn_from_where_it_was_made() -> None:
    """One heat map for each stage that was chosen."""
    run = train("adam", 3e-3, steps=4, controller={})
    assert run.controller is not None
    for stages in (["conv1"], list(run.controller.stages)):
        panels = [ax.get_ylabel() for ax in run.controller.plot(stages=stages).axes]
        assert len([label for label in panels if label.startswith("|activation|")]) == len(stages)


def test_it_shows_how_it_stands() -> None:
    model = convnet()
    ctl = Controller(model, torch.optim.Adam(model.parameters(), lr=1e-3), act=False)
    assert repr(ctl) == "<Controller: not watching yet, 0 steps, 0 findings, 0 decisions, scales (1.0,)>"
    assert ctl.suggested_lrs == (1e-3,)  # until more is known, what is written
    with ctl:
        assert repr(ctl).startswith("<Controller: watching, 0 steps")
    assert repr(ctl).startswith("<Controller: closed")
    with pytest.raises(AttributeError):
        ctl.act = True  # type: ignore[misc]  # what was watched has no snapshot to go back to


@pytest.mark.parametrize(
    ("name", "value", "error"), [("asked", 0.0, ValueError), ("took", -1.0, ValueError), ("asked", "1", TypeError)]
)
def test_a_lesson_is_of_learning_rates(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"^{name} must .*, got {re.escape(repr(value))}: largest learning rate"):
        Lesson(**{"asked": 1.0, "took": 1.0, name: value})


def test_weight_decay_is_read_when_the_step_is_made() -> None:
    """As learning rates are: a schedule of the decay has written the next one by the time that the batch is done."""
    model = convnet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    with Controller(model, optimizer) as ctl:
        for x, y in batches(3):
            optimizer.param_groups[0]["weight_decay"] = 0.1
            loss = backward(model, x, y)
            optimizer.step()
            optimizer.param_groups[0]["weight_decay"] = 0.0
            ctl.step(loss)
    assert [r.groups[0].weight_decay for r in ctl.trace.readings] == [0.1] * 3


def test_where_weights_came_from_is_asked_before_the_first_step() -> None:
    """A step of many times the weights leaves nothing of how they were drawn."""
    ruined = train("adam", 10.0, steps=1, controller={"act": False, "announce": quiet})
    assert ruined.controller is not None
    assert [g.provenance for g in ruined.controller.trace.readings[0].groups] == [Provenance.RANDOM]


@pytest.mark.parametrize(("lr", "teaches"), [(1e-6, True), (3e-3, False), (10.0, True)], ids=["too-low", "healthy", "too-high"])
def test_what_had_to_be_put_right_is_a_lesson(lr: float, teaches: bool) -> None:
    """What was asked for, and the largest that it was trained at since; of a run that was watched alone, that it was."""
    run = train("adam", lr, steps=60, controller={"announce": quiet})
    assert run.controller is not None
    lesson = run.controller.lesson
    assert lesson is not None
    assert lesson.was_wrong is teaches
    assert (lesson.asked, lesson.took) == (pytest.approx(lr), max(run.controller.suggested_lrs))
    if teaches:
        assert lesson.raised > 30 if lr < 1 else lesson.raised < 1 / 30
        assert lesson.all_of_it, "the net was random before"
    watched = train("adam", lr, steps=60, controller={"announce": quiet, "act": False})
    assert watched.controller is not None
    assert watched.controller.lesson == Lesson(asked=lr, took=lr, learned=lr == 3e-3)
    model = convnet()
    assert Controller(model, torch.optim.Adam(model.parameters(), lr=lr)).lesson is None, "no step was seen"


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 3e-3), ("sgd", 0.1)])
@pytest.mark.parametrize("known", [True, False])
def test_a_trained_net_goes_on_under_a_new_optimizer(optimizer: str, lr: float, known: bool) -> None:
    """Its first steps are large, and a loss of nearly nothing is three times as much for a while."""
    torch.manual_seed(0)
    model = convnet(norm=optimizer == "adam")
    first = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    with Controller(model, first, announce=quiet) as earlier:
        fit(model, first, batches(150), earlier)
    assert earlier.decisions == []
    second = OPTIMIZERS[optimizer](model.parameters(), lr=lr)
    with Controller(model, second, announce=quiet, total_steps=100, lesson=earlier.lesson if known else None) as ctl:
        losses = fit(model, second, batches(100, seed=1), ctl)
    assert max(losses[:6]) > 3 * losses[0]
    assert sum(losses[-10:]) / 10 < max(losses[:6]) / 2
    assert (ctl.decisions == []) is known


def test_a_run_that_is_taken_up_at_its_end_still_has_its_lesson() -> None:
    """No reading of it is there any more; whether the net was random before is not known."""
    run = train("adam", 1e-6, steps=60, controller={"announce": quiet})
    assert run.controller is not None
    model = convnet()
    again = Controller(model, torch.optim.Adam(model.parameters(), lr=1e-6))
    again.load_state_dict(run.controller.state_dict(snapshots=False))
    assert again.lesson == dataclasses.replace(run.controller.lesson, all_of_it=False)  # type: ignore[type-var]


@pytest.mark.parametrize("learned", [True, False])
def test_a_lesson_outlives_a_run_in_which_nothing_was_done(learned: bool) -> None:
    lesson = Lesson(asked=1e-4, took=1e-2, learned=learned)
    run = train("adam", 3e-3, steps=40, controller={"announce": quiet, "lesson": lesson})
    assert run.controller is not None
    assert run.controller.decisions == []
    assert run.controller.lesson == Lesson(asked=1e-4, took=1e-2), "and this one has learned something"


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("new", [True, False], ids=["new-optimizer", "one-optimizer"])
@pytest.mark.parametrize("interrupted", [True, False])
def test_a_fit_after_one_that_has_learned_nothing_begins_anew(optimizer: str, new: bool, interrupted: bool) -> None:
    """As where the first is interrupted after some steps: that its optimizer has stepped says nothing then."""
    torch.manual_seed(0)
    model = convnet()
    first = OPTIMIZERS[optimizer](model.parameters(), lr=1e-6 if interrupted else {"adam": 3e-3, "sgd": 0.03}[optimizer])
    with Controller(model, first, announce=quiet, total_steps=200) as earlier:
        fit(model, first, batches(6 if interrupted else 100), earlier)
    assert earlier.decisions == []
    second = OPTIMIZERS[optimizer](model.parameters(), lr=1e-5) if new else first
    second.param_groups[0]["lr"] = 1e-5
    with Controller(model, second, announce=quiet, total_steps=120, lesson=earlier.lesson) as ctl:
        fit(model, second, batches(120, seed=1), ctl)
    assert [d.action for d in ctl.decisions[:1]] == [Action.RESCALE] * interrupted
    assert (ctl.scales[0] > 5) is interrupted


@pytest.mark.parametrize(("took", "teaches"), [(1.9e-4, False), (2e-4, True), (0.6e-4, False), (0.5e-4, True)])
def test_from_a_change_by_less_than_two_nothing_is_learned(took: float, teaches: bool) -> None:
    lesson = Lesson(asked=1e-4, took=took)
    assert (lesson.was_wrong, lesson.holds(1e-4)) == (teaches, teaches)


@pytest.mark.parametrize("lr", [10.0, 1e-7])
def test_watching_alone_touches_nothing_even_in_a_ruined_run(lr: float) -> None:
    plain = train("adam", lr, steps=40)
    watched = train("adam", lr, steps=40, controller={"act": False, "announce": quiet})
    assert watched.controller is not None
    assert watched.controller.findings
    assert watched.controller.decisions == []
    assert watched.controller.scales == (1.0,)
    assert same(plain.state, watched.state)
    assert same(plain.losses, watched.losses)
    assert plain.rng == watched.rng


@pytest.mark.parametrize(("optimizer", "lr"), [("adam", 1.0), ("adam", 10.0), ("sgd", 10.0)])
def test_a_ruined_run_is_rolled_back_and_learns(optimizer: str, lr: float) -> None:
    plain = train(optimizer, lr, steps=120)
    rescued = train(optimizer, lr, steps=120, controller={"announce": quiet})
    assert rescued.controller is not None
    first = rescued.controller.decisions[0]
    assert first.action is Action.ROLLBACK
    assert first.step <= 2
    assert first.restored_step == 0
    assert not sum(plain.losses[-10:]) / 10 < 1.5
    assert sum(rescued.losses[-10:]) / 10 < 0.5
    assert rescued.state["lr"] == [lr]  # the schedule stays the user's


@pytest.mark.parametrize("lr", [1.0, 10.0])
def test_norms_and_biases_in_a_group_of_their_own_are_cut_with_the_weights(lr: float) -> None:
    torch.manual_seed(0)
    model = convnet()
    parts = [[p for p in model.parameters() if p.ndim >= 2], [p for p in model.parameters() if p.ndim < 2]]
    optimizer = torch.optim.AdamW([{"params": parts[0]}, {"params": parts[1], "weight_decay": 0.0}], lr=lr)
    losses = []
    with warnings.catch_warnings(), Controller(model, optimizer) as ctl:
        warnings.simplefilter("ignore")
        for x, y in batches(60):
            loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ctl.step(loss)
            losses.append(loss.item())
    assert ctl.scales[1] == ctl.scales[0] < 0.1
    assert sum(losses[-5:]) / 5 < 1.0


def test_a_net_that_stands_still_is_raised_and_learns() -> None:
    rescued = train("adam", 1e-6, steps=150, controller={"announce": quiet})
    assert rescued.controller is not None
    assert rescued.controller.findings[0].kind is Kind.TOO_COLD
    assert rescued.controller.scales[0] > 100
    assert rescued.losses[-1] < 0.7


@pytest.mark.parametrize("lr", [1e-6, 100.0])
def test_a_loss_below_zero_is_rescued_like_any_other(lr: float) -> None:
    """A similarity with its sign turned: from about 0 to nearly -1."""

    def similarity(controller: bool) -> float:
        torch.manual_seed(0)
        x, turn = torch.randn(512, 16), torch.randn(16, 16)
        y = torch.tanh(x @ turn)
        net = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 16))
        optimizer = torch.optim.Adam(net.parameters(), lr)
        reached = 0.0
        with Controller(net, optimizer, total_steps=200, act=controller, announce=quiet) as watch:
            for _ in range(200):
                batch = torch.randint(0, 512, (64,))
                loss = -torch.nn.functional.cosine_similarity(net(x[batch]), y[batch], dim=1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                watch.step(loss)
                reached = -loss.item()
        return reached

    assert similarity(False) < 0.6
    assert similarity(True) > 0.85


def test_effective_lr_is_scheduled_lr_times_scale_in_every_reading() -> None:
    rescued = train("adam", 1.0, steps=40, one_cycle=True, controller={"announce": quiet})
    assert rescued.controller is not None
    groups = [r.groups[0] for r in rescued.controller.trace.readings]
    assert groups[0].lr == pytest.approx(1.0 / 25)  # OneCycleLR's own beginning
    assert max(g.lr for g in groups) == pytest.approx(1.0, rel=0.01)
    assert all(g.effective_lr == g.lr * g.scale for g in groups)
    assert groups[-1].scale == rescued.controller.scales[0] < 1e-2


def test_what_is_said_is_said_once_as_a_warning_of_its_own_category() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train("adam", 1.0, steps=60, controller={"act": False})
    assert run.controller is not None
    texts = [str(w.message) for w in caught if w.category is AdaptLRWarning]
    assert texts == [str(f) for f in run.controller.findings]
    assert len(texts) == len(set(texts)) <= 3
    with pytest.warns(AdaptLRWarning, match=r"rolled back to step 0.*Next time: a learning rate of about"):
        train("adam", 1.0, steps=3, controller={})


def test_the_trace_survives_on_disk_and_judges_the_same_again(tmp_path: Path) -> None:
    run = train("adam", 1.0, steps=40, controller={"act": False, "trace": tmp_path / "run.jsonl", "announce": quiet})
    assert run.controller is not None
    loaded = Trace.load(tmp_path / "run.jsonl")
    assert loaded.readings == run.controller.trace.readings
    history, kinds = History(), []
    for reading in loaded.readings:
        history, findings = observe(history, reading, Thresholds())
        kinds += [f for f in findings if f.kind not in {k.kind for k in kinds}]
    assert [f.kind for f in kinds] == [f.kind for f in {f.kind: f for f in run.controller.findings}.values()]


def test_activations_are_sampled_at_first_and_then_now_and_then() -> None:
    run = train("adam", 1e-3, steps=30, controller={"sampling": Sampling(activations_first=4, activations_every=10)})
    assert run.controller is not None
    sampled = [r.step for r in run.controller.trace.readings if r.stages]
    assert sampled == [0, 1, 2, 3, 10, 20]
    assert {s.name for s in run.controller.trace.readings[0].stages} == set(run.controller.stages)


def test_activations_are_sampled_less_often_as_the_run_goes_on() -> None:
    run = train("adam", 1e-3, steps=300, controller={"announce": quiet})
    assert run.controller is not None
    sampled = [r.step for r in run.controller.trace.readings if r.stages]
    assert sampled == [*range(16), *range(20, 128, 5), *range(130, 256, 10), *range(260, 300, 20)]


def test_gradient_accumulation_is_one_reading_a_step_with_the_mean_loss() -> None:
    model = convnet()
    opt = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    with Controller(model, opt) as ctl:
        for i, (x, y) in enumerate(batches(8)):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            losses.append(loss.item())
            if i % 4 == 3:
                opt.step()
                opt.zero_grad()
            ctl.step(loss)
    assert len(ctl.trace.readings) == 2
    assert ctl.trace.readings[0].loss == pytest.approx(sum(losses[:4]) / 4)
    stage = ctl.trace.readings[0].stages[0]
    assert stage.n == 4 * ctl.trace.readings[0].stages[0].n // 4
    assert stage.n > 8192  # four passes add up


def train_through_a_bad_batch(factor: float, *, norm: bool) -> tuple[Controller, nn.Module]:
    """60 steps that go well, the inputs of the 40th times ``factor``."""
    torch.manual_seed(0)
    model = convnet(norm=norm)
    opt = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    with Controller(model, opt, announce=quiet) as ctl:
        for i, (x, y) in enumerate(batches(60)):
            loss = nn.functional.cross_entropy(model(x * (factor if i == 40 else 1.0)), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            ctl.step(loss)
    return ctl, model


def test_a_nan_loss_is_a_finding_and_the_run_goes_on() -> None:
    ctl, model = train_through_a_bad_batch(math.nan, norm=False)
    assert [f.kind for f in ctl.findings] == [Kind.NON_FINITE]
    assert ctl.decisions[0].action is Action.ROLLBACK
    assert "bad batch" in ctl.decisions[0].message
    assert ctl.scales == (1.0,)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_batch_out_of_scale_does_not_ruin_what_a_normalisation_remembers() -> None:
    ctl, model = train_through_a_bad_batch(1e4, norm=True)
    assert [(f.step, f.kind) for f in ctl.findings] == [(40, Kind.BAD_BATCH)]
    assert ctl.scales == (1.0,)
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.running_var is not None
    assert norm.running_var.max() < 100


@pytest.mark.parametrize("given", [False, True])
def test_a_moving_average_of_the_weights_goes_back_if_it_is_given(given: bool) -> None:
    torch.manual_seed(0)
    model = convnet(norm=False)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e20)
    with Controller(model, optimizer, also=average if given else None, announce=quiet) as ctl:
        for x, y in batches(60):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            average.update_parameters(model)
            ctl.step(loss)
    assert ctl.decisions[0].action is Action.ROLLBACK
    largest = max(float(p.detach().abs().max()) for p in average.parameters())
    assert (largest < 10) == given


def test_a_rollback_takes_extras_along() -> None:
    class Counter:
        value = 0

        def state_dict(self) -> dict[str, Any]:
            return {"value": self.value}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            self.value = state_dict["value"]

    counter = Counter()
    model = convnet(norm=False)
    opt = torch.optim.Adam(model.parameters(), lr=10.0)
    with Controller(model, opt, also=counter, announce=quiet) as ctl:
        for x, y in batches(6):
            counter.value += 1
            loss = nn.functional.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            ctl.step(loss)
    assert ctl.decisions[0].restored_step == 0
    assert counter.value == 6 - (ctl.decisions[-1].step + 1)


def test_lr_as_a_tensor() -> None:
    model = convnet()
    lr = torch.tensor(1.0)
    opt = torch.optim.Adam(model.parameters(), lr=lr)
    with Controller(model, opt, announce=quiet) as ctl:
        for x, y in batches(10):
            loss = nn.functional.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            ctl.step(loss)
    assert ctl.scales[0] < 0.1
    assert opt.param_groups[0]["lr"] is lr
    assert lr.item() == 1.0


class TestLeaving:
    def test_hooks_are_gone_and_lr_is_back_after_an_error(self) -> None:
        model = convnet()
        opt = torch.optim.Adam(model.parameters(), lr=1.0)

        def interrupted() -> None:
            with Controller(model, opt, announce=quiet) as ctl:
                for i, (x, y) in enumerate(batches(10)):
                    loss = nn.functional.cross_entropy(model(x), y)
                    opt.zero_grad()
                    loss.backward()
                    if i == 5:
                        raise KeyboardInterrupt
                    opt.step()
                    ctl.step(loss)

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert not any(m._forward_hooks for m in model.modules())
        assert not opt._optimizer_step_pre_hooks
        assert not opt._optimizer_step_post_hooks
        assert opt.param_groups[0]["lr"] == 1.0

    def test_records_stay_and_closing_twice_is_fine(self) -> None:
        run = train(steps=5, controller={})
        assert run.controller is not None
        run.controller.close()
        assert len(run.controller.trace.readings) == 5


class TestBadInput:
    """Each gets one clear error that quotes the value and says what to do."""

    model = convnet()

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

    def test_a_stage_that_does_not_exist(self) -> None:
        with pytest.raises(ValueError, match=r"'layer9'"):
            Controller(self.model, self.optimizer(), stages=["layer9"])

    def test_another_models_optimizer(self) -> None:
        other = torch.optim.SGD(convnet().parameters(), lr=0.1)
        with pytest.raises(ValueError, match=r"none of them the model's.*build it from model.parameters"):
            Controller(self.model, other)

    def test_a_parameter_in_two_groups(self) -> None:
        opt = self.optimizer()
        opt.param_groups.append({**opt.param_groups[0], "params": [self.model[0].weight]})
        with pytest.raises(ValueError, match=r"0\.weight is in group 0 and in group 1"):
            Controller(self.model, opt)

    def test_model_and_optimizer_in_the_other_order(self) -> None:
        with pytest.raises(TypeError, match=r"Controller\(model, optimizer\): the first is to be a torch.nn.Module, got SGD"):
            Controller(self.optimizer(), self.model)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"the second is to be a torch.optim.Optimizer, got list"):
            Controller(self.model, list(self.model.parameters()))  # type: ignore[arg-type]

    @pytest.mark.parametrize("peaks", [0.1, [0.1], (0.1,), np.array([0.1]), torch.tensor([0.1])])
    def test_one_peak_for_each_group_may_come_as_it_likes(self, peaks: Any) -> None:
        assert Controller(self.model, self.optimizer(), peak_lrs=peaks)._history.outlook.peak_lrs == pytest.approx((0.1,))

    @pytest.mark.parametrize("peaks", [[0.1, 0.2], []])
    def test_not_one_peak_for_each_group(self, peaks: Any) -> None:
        with pytest.raises(
            ValueError, match=rf"one learning rate for each of the optimizer's 1 groups, got {re.escape(repr(peaks))}"
        ):
            Controller(self.model, self.optimizer(), peak_lrs=peaks)

    @pytest.mark.parametrize(
        ("peaks", "error"),
        [
            *[("a", TypeError), ([None], TypeError), (["0.1"], TypeError), ([True], TypeError), ({"a": 0.1}, TypeError)],
            *[([-1], ValueError), ([math.nan], ValueError), (math.inf, ValueError), (torch.tensor([-1.0]), ValueError)],
        ],
    )
    def test_peaks_that_are_no_learning_rates(self, peaks: Any, error: type[Exception]) -> None:
        with pytest.raises(error, match=rf"^peak_lrs must be .*, got {re.escape(repr(peaks))}"):
            Controller(self.model, self.optimizer(), peak_lrs=peaks)

    @pytest.mark.parametrize("peaks", [0, [0.0], np.float32(0.0), np.array(0.0), torch.tensor(0.0), iter([0])])
    def test_a_peak_may_be_zero(self, peaks: Any) -> None:
        assert Controller(self.model, self.optimizer(), peak_lrs=peaks)._history.outlook.peak_lrs == (0.0,)

    @pytest.mark.parametrize("act", ["no", 1, 0, None, []])
    def test_act_is_true_or_false(self, act: Any) -> None:
        with pytest.raises(TypeError, match=rf"^act must be True or False, got {re.escape(repr(act))}"):
            Controller(self.model, self.optimizer(), act=act)

    def test_act_may_be_numpys(self) -> None:
        ctl = Controller(self.model, self.optimizer(), act=np.bool_(False))  # type: ignore[arg-type]
        assert ctl.act is False
        assert ctl.trace.settings["act"] is False

    @pytest.mark.parametrize("total", [1.5, math.nan, math.inf, True, "100", np.bool_(True), [100]])
    def test_a_run_has_a_whole_number_of_steps(self, total: Any) -> None:
        with pytest.raises(TypeError, match=rf"^total_steps must be a whole number, got {re.escape(repr(total))}"):
            Controller(self.model, self.optimizer(), total_steps=total)

    @pytest.mark.parametrize("total", [100, np.int64(100), 100.0, np.float32(100.0)])
    def test_which_may_come_as_it_likes(self, total: Any) -> None:
        length = Controller(self.model, self.optimizer(), total_steps=total)._history.outlook.total_steps
        assert (length, type(length)) == (100, int)

    @pytest.mark.parametrize("name", ["thresholds", "settings", "sampling", "lesson"])
    def test_ours_of_another_class(self, name: str) -> None:
        public = name.capitalize()
        other = Sampling() if name == "settings" else Settings()
        for value, got in (({}, "dict"), ({"seed": 1}, "dict"), (3, "int"), (other, type(other).__name__)):
            given: dict[str, Any] = {name: value}
            with pytest.raises(TypeError, match=rf"^{name} must be adaptlr\.{public}\(\.\.\.\), got {got}$"):
                Controller(self.model, self.optimizer(), **given)
        given = {name: getattr(adaptlr, public)}
        with pytest.raises(TypeError, match="got the class itself"):
            Controller(self.model, self.optimizer(), **given)

    @pytest.mark.parametrize(
        ("name", "value", "got"),
        [
            *[("announce", "print", "'print'"), ("scaler", True, "True"), ("process_group", 3, "3")],
            *[("also", 3, "3"), ("also", [3], "3"), ("also", "ab", "'ab'"), ("also", nn.Linear, "<class")],
            *[("stages", 3, "3"), ("stages", {"a": 1}, "1 for 'a'"), ("stages", ["0", None], "None among")],
            ("stages", {1: "0"}, "'0' for 1"),
        ],
    )
    def test_things_that_are_of_no_use_there(self, name: str, value: Any, got: str) -> None:
        given: dict[str, Any] = {name: value}
        with pytest.raises(TypeError, match=rf"^{name} must be .*, got {re.escape(got)}"):
            Controller(self.model, self.optimizer(), **given)

    def test_no_stage_at_all(self) -> None:
        with pytest.raises(ValueError, match=r'stages is empty.*: stages=\["layer1", "layer2"\]'):
            Controller(self.model, self.optimizer(), stages=[])

    def test_what_is_refused_leaves_no_file_behind(self, tmp_path: Path) -> None:
        path = tmp_path / "run.jsonl"
        with pytest.raises(ValueError, match="total_steps must be at least 1, got 0"):
            Controller(self.model, self.optimizer(), trace=path, total_steps=0)
        Controller(self.model, self.optimizer(), trace=path, total_steps=1)
        with pytest.raises(FileExistsError, match="never overwrites"):
            Controller(self.model, self.optimizer(), trace=path)

    def test_a_model_in_which_no_stage_is_found_may_be_watched_by_its_weights(self) -> None:
        class Bare(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Parameter(torch.randn(64, 10) / 8)
                self.drop = nn.Dropout(0.1)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.drop(x.flatten(1)) @ self.weight

        model = Bare()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
        with pytest.raises(ValueError, match=r"found nothing to observe in Bare.*activations=0"):
            Controller(model, optimizer)
        with Controller(model, optimizer, sampling=Sampling(activations=0), announce=quiet) as ctl:
            fit(model, optimizer, batches(40), ctl)
        assert [f.kind for f in ctl.findings[:1]] == [Kind.TOO_COLD]

    @pytest.mark.parametrize(
        ("kind", "name", "value"),
        [
            *[(Settings, "max_rollbacks", 2.5), (Settings, "early_steps", True), (Settings, "quiet_steps", "50")],
            *[(Settings, "max_raises", None), (Settings, "retreat", "3"), (Settings, "ceiling", True)],
            *[(Thresholds, "stall_steps", 16.5), (Thresholds, "hot_ratio", None), (Thresholds, "cold_walk", [7.0])],
            *[(Sampling, "activations", 100.5), (Sampling, "hist_bins", True), (Sampling, "seed", 1.5), (Sampling, "seed", "1")],
        ],
    )
    def test_settings_are_numbers_and_whole_ones_where_they_count(self, kind: Any, name: str, value: Any) -> None:
        with pytest.raises(
            TypeError,
            match=rf"^{name} must be a (whole )?number, got {re.escape(repr(value))}: {re.escape(meanings_of(kind)[name])}$",
        ):
            kind(**{name: value})

    @pytest.mark.parametrize("value", [100.0, np.int64(100), np.float32(100.0)])
    def test_whole_numbers_may_come_as_they_like(self, value: Any) -> None:
        for taken in (Settings(max_rollbacks=value).max_rollbacks, Sampling(seed=value).seed):
            assert (taken, type(taken)) == (100, int)
        assert Settings(ceiling=None).ceiling is None

    def test_sampling_out_of_range(self) -> None:
        with pytest.raises(ValueError, match=r"activations_every must lie in \[1, 1e\+09\], got 0"):
            Sampling(activations_every=0)

    def test_a_module_without_a_shape(self) -> None:
        model = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(10))
        with pytest.raises(ValueError, match=r"1\.weight \(4 in all\) has no shape yet.*run one batch"):
            Controller(model, torch.optim.SGD(model.parameters(), lr=0.1))

    @pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
    def test_a_stage_that_takes_no_hooks(self) -> None:
        model: Any = torch.jit.script(self.model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ValueError, match=r"a ScriptModule takes no hooks.*activations=0"):
            Controller(model, optimizer)
        with Controller(model, optimizer, sampling=Sampling(activations=0)) as ctl:
            fit(model, optimizer, batches(3), ctl)
        assert len(ctl.trace.readings) == 3

    @pytest.mark.parametrize("loss", [torch.ones(3), np.ones(3), "2.3", None])
    def test_a_loss_that_is_no_scalar(self, loss: Any) -> None:
        with Controller(self.model, self.optimizer()) as ctl, pytest.raises(ValueError, match="the loss must be a scalar"):
            ctl.step(loss)

    @pytest.mark.parametrize("loss", [torch.tensor(1 + 2j), torch.tensor([1j])])
    def test_a_loss_that_is_complex(self, loss: torch.Tensor) -> None:
        with Controller(self.model, self.optimizer()) as ctl, pytest.raises(ValueError, match=r"number, got torch\.complex64"):
            ctl.step(loss)

    @pytest.mark.parametrize(
        "loss", [2.5, np.float32(2.5), np.array(2.5), np.array([2.5]), torch.tensor([2.5]), Fraction(5, 2), Decimal("2.5")]
    )
    def test_a_loss_may_be_any_single_number(self, loss: Any) -> None:
        optimizer = self.optimizer()
        with Controller(self.model, optimizer) as ctl:
            x, y = next(batches(1))
            nn.functional.cross_entropy(self.model(x), y).backward()
            optimizer.step()
            ctl.step(loss)
        assert [r.loss for r in ctl.trace.readings] == [2.5]

    def test_step_without_a_forward_pass(self) -> None:
        with Controller(self.model, self.optimizer()) as ctl, pytest.raises(RuntimeError, match="no forward pass"):
            ctl.step(1.0)

    def test_closed_and_not_entered(self) -> None:
        ctl = Controller(self.model, self.optimizer())
        with pytest.raises(RuntimeError, match="not watching yet"):
            ctl.step(1.0)
        with ctl:
            pass
        with pytest.raises(RuntimeError, match="closed"):
            ctl.step(1.0)
        with pytest.raises(RuntimeError, match="closed"):
            ctl.__enter__()

    def test_a_group_taken_away_in_mid_run(self) -> None:
        parts = [[p] for p in self.model.parameters()]
        opt = torch.optim.SGD([{"params": part} for part in parts], lr=0.1)
        with Controller(self.model, opt):
            opt.param_groups.pop()
            with pytest.raises(ValueError, match=rf"has {len(parts) - 1} parameter groups and had {len(parts)} before"):
                opt.step()


def test_suggested_lrs_are_what_the_rescued_run_was_trained_with() -> None:
    run = train("adam", 1.0, steps=60, controller={"announce": quiet})
    assert run.controller is not None
    (suggested,) = run.controller.suggested_lrs
    assert 1e-5 < suggested < 1e-2
    assert suggested == max(
        r.groups[0].effective_lr for r in run.controller.trace.readings if r.step > run.controller.decisions[-1].step
    )


@pytest.mark.parametrize("at", [30, 59], ids=["mid-run", "the-last"])
def test_a_bad_batch_leaves_what_is_suggested_and_what_was_learned(at: int) -> None:
    """No learning rate was changed for it."""
    spoilt = [(x * math.nan if i == at else x, y) for i, (x, y) in enumerate(batches(60))]
    run = train("adam", 3e-3, steps=60, one_cycle=True, controller={"announce": quiet}, data=spoilt)
    assert run.controller is not None
    assert [(d.action, d.findings) for d in run.controller.decisions] == [(Action.ROLLBACK, (Kind.NON_FINITE,))]
    assert run.controller.suggested_lrs == pytest.approx((3e-3,), rel=1e-3)
    assert run.controller.lesson is not None
    assert not run.controller.lesson.was_wrong


def test_a_run_that_ends_with_a_rollback_suggests_what_it_was_cut_to() -> None:
    run = train("adam", 10.0, steps=2, controller={"announce": quiet})
    assert run.controller is not None
    assert [d.action for d in run.controller.decisions] == [Action.ROLLBACK]
    assert run.controller.suggested_lrs == pytest.approx((10.0 * run.controller.scales[0],))
    assert run.controller.lesson is not None
    assert run.controller.lesson.was_wrong


@pytest.mark.parametrize(("lr", "low", "high"), [(1e-6, 1e-4, 1e-1), (10.0, 1e-5, 1e-2)])
def test_who_only_watches_is_told_what_to_write_too(lr: float, low: float, high: float) -> None:
    """Once; of what comes later it is not known what would have become of it."""
    said = list[str]()
    run = train("adam", lr, steps=60, controller={"act": False, "announce": lambda record: said.append(str(record))})
    assert run.controller is not None
    (suggested,) = run.controller.suggested_lrs
    assert low < suggested < high
    advice = f"Next time: a learning rate of about {number(suggested)}"
    assert said[0].endswith(advice)
    assert not any("Next time" in text for text in said[1:])
    assert run.controller.findings[0].advice == advice


def test_a_warning_that_is_an_error_comes_when_all_is_done() -> None:
    torch.manual_seed(0)
    model = convnet()
    began = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.Adam(model.parameters(), lr=10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", AdaptLRWarning)
        with Controller(model, optimizer) as ctl, pytest.raises(AdaptLRWarning, match="rolled back to step 0"):
            fit(model, optimizer, batches(10), ctl)
    assert [d.action for d in ctl.decisions] == [Action.ROLLBACK]
    assert same(began, model.state_dict())


def test_a_warning_names_the_users_own_line() -> None:
    model = convnet()
    optimizer = torch.optim.Adam(model.parameters(), lr=10.0)
    line = 0
    with warnings.catch_warnings(record=True) as caught, Controller(model, optimizer) as ctl:
        warnings.simplefilter("always")
        for x, y in batches(3):
            optimizer.zero_grad()
            loss = backward(model, x, y)
            optimizer.step()
            line = inspect.stack()[0].lineno + 1
            ctl.step(loss)
    assert [(w.filename, w.lineno) for w in caught if w.category is AdaptLRWarning] == [(__file__, line)]


def test_a_net_that_is_trained_in_eval_mode_may_accumulate_gradients() -> None:
    """As one does to keep its normalisations as they are."""
    torch.manual_seed(0)
    model = convnet().eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Controller(model, optimizer, announce=quiet) as ctl:
        for i, (x, y) in enumerate(batches(12)):
            loss = backward(model, x, y)
            if i % 2:
                optimizer.step()
                optimizer.zero_grad()
            ctl.step(loss)
    assert [len(r.stages) for r in ctl.trace.readings] == [0] * 6


def test_losses_of_accumulated_batches_are_no_skipped_steps_where_only_an_average_is_given() -> None:
    """Three in a row that are not finite, whose gradient the user throws away."""
    torch.manual_seed(0)
    model = convnet(norm=False)
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Controller(model, optimizer, also=average, announce=quiet) as ctl:
        for i, (x, y) in enumerate(batches(40)):
            spoilt = i in (20, 21, 22)
            loss = nn.functional.cross_entropy(model(x), y)
            if spoilt:
                loss = loss.detach() * math.nan
            else:
                loss.backward()
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
            ctl.step(loss)
    assert ctl.decisions == []
    assert len(ctl.trace.readings) == 10


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_host_sync_on_the_training_path_on_cuda() -> None:
    x, y = (t.cuda() for t in next(batches(1)))
    model = convnet().cuda()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    with Controller(model, opt) as ctl:
        for i in range(12):
            if i == 4:
                torch.cuda.set_sync_debug_mode("error")
            loss = nn.functional.cross_entropy(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            ctl.step(loss)
        torch.cuda.set_sync_debug_mode("default")
    assert len(ctl.trace.readings) == 12


def test_records_are_frozen() -> None:
    run = train(steps=2, controller={})
    assert run.controller is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.controller.trace.readings[0].loss = 0.0  # type: ignore[misc]
