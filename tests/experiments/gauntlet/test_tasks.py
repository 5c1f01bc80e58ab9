"""Tasks: the known best is what the true rule gets, chance is what guessing gets, and data do not change from call to call."""

from __future__ import annotations

import pytest
import torch

from experiments.gauntlet.tasks import TASKS, Task
from experiments.gauntlet.tasks.record import Goal
from experiments.gauntlet.tasks.sequences import words_of_topics

EMBEDDED = [t for t in TASKS.values() if t.name not in ("fashion", "garments", "pixels", "clothes")]


@pytest.mark.parametrize("task", EMBEDDED, ids=lambda t: t.name)
def test_every_net_takes_the_tasks_data_and_its_loss_has_a_gradient(task: Task) -> None:
    data = task.load("")
    assert len(data.x) >= task.batch
    assert torch.equal(data.x, task.load("").x)
    for make in task.nets.values():
        net = make()
        loss = task.loss(net(data.x[: task.batch]), data.y[: task.batch])
        loss.backward()
        assert torch.isfinite(loss)
        assert all(p.grad is not None for p in net.parameters())


def test_recall_the_true_rule_reaches_the_known_best() -> None:
    task = TASKS["recall"]
    data = task.load("")
    marker = data.x_valid.max()
    at = (data.x_valid == marker).int().argmax(1, keepdim=True)
    answer = data.x_valid.gather(1, at + 1)[:, 0]
    assert task.best is not None
    assert float((answer == data.y_valid).float().mean()) == pytest.approx(task.best, abs=3 * (task.best * 0.1 / 2048) ** 0.5)


def test_markov_needs_the_token_before_the_last_and_the_last_tells_nothing() -> None:
    task = TASKS["markov"]
    data = task.load("")
    assert task.best is not None

    def best_from(x: torch.Tensor) -> float:
        """Accuracy of the best guess from one token, counted on the training part."""
        counts = torch.zeros(16, 16).index_put_((x[:4096].flatten(), data.y.flatten()), torch.tensor(1.0), accumulate=True)
        return float((counts.argmax(1)[x[4096:]] == data.y_valid).float().mean())

    both = torch.cat([data.x, data.x_valid])
    assert best_from(both[:, :-1]) == pytest.approx(task.best, abs=0.01)
    assert best_from(both[:, 1:]) < 0.1


def test_topics_bayes_rule_reaches_the_known_best() -> None:
    task = TASKS["topics"]
    data = task.load("")
    owner = torch.randint(4, (2000,), generator=torch.Generator().manual_seed(3))
    words = words_of_topics(owner)
    answer = (words / words.sum(1, keepdim=True)).log()[:, data.x_valid].sum(-1).argmax(0)
    assert task.best is not None
    assert float((answer == data.y_valid).float().mean()) == pytest.approx(task.best, abs=3 * (task.best * 0.0324 / 2048) ** 0.5)


@pytest.mark.parametrize(("goal", "y", "chance"), [(Goal.CLASS, [0, 0, 1], 2 / 3), (Goal.NUMBER, [1.0, 2.0, 5.0], 0.0)])
def test_guessing_gets_chance(goal: Goal, y: list[float], chance: float) -> None:
    task = Task(name="t", load=lambda _: EMBEDDED[0].load(""), nets={}, steps=1, batch=1, goal=goal)
    targets = torch.tensor(y)
    guess = targets.mean().expand(3, 1) if goal is Goal.NUMBER else torch.tensor([[1.0, 0.0]]).expand(3, 2)
    assert task.chance(targets.long() if goal is Goal.CLASS else targets) == pytest.approx(chance)
    assert task.metric(guess, targets) == pytest.approx(chance)


def test_a_net_that_broke_explains_nothing() -> None:
    task = TASKS["diabetes"]
    y = torch.tensor([1.0, 2.0, 5.0])
    assert task.metric(torch.full((3, 1), torch.nan), y) == 0.0
    assert task.metric(torch.full((3, 1), 1e30), y) == 0.0
    assert task.metric(y[:, None], y) == 1.0
