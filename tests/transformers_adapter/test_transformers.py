"""What is Hugging Face's own: whose loss it is, accumulation, and a run that breaks where no event follows."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from adaptlr import AdaptLRWarning, Decision
from adaptlr.transformers import AdaptLR
from tests.contract.case import BATCH, BATCHES, Case, Data, model
from tests.contract.with_transformers import WithLoss

ignore_what_it_says = pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning")


class Items(torch.utils.data.Dataset[dict[str, Tensor]]):
    def __init__(self, n: int = BATCH * BATCHES) -> None:
        self.data, self.n = Data(Case()), n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        x, y = self.data[index]
        return {"x": x, "labels": y}


class Bare(nn.Sequential):
    """A model that leaves the loss to the Trainer."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {"logits": super().forward(x)}


class Noting(Trainer):
    """Notes the loss of each batch, as ``training_step`` has it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: list[float] = []

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def trainer(
    folder: Path, cb: Any, net: nn.Module | None = None, *, lr: float = 3e-3, n: int = BATCH * BATCHES, **kw: Any
) -> Noting:
    loss_func = kw.pop("compute_loss_func", None)
    args = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=kw.pop("epochs", 1),
        per_device_train_batch_size=BATCH,
        learning_rate=lr,
        use_cpu=True,
        save_strategy=kw.pop("save", "no"),
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        **kw,
    )
    made: Any = Noting(WithLoss(*model()) if net is None else net, args, train_dataset=Items(n), compute_loss_func=loss_func)
    made.remove_callback(PrinterCallback)
    for callback in cb if isinstance(cb, list) else [cb] if cb else []:
        made.add_callback(callback)
    return made


def left_behind(made: Any) -> list[str]:
    hooks = [name for name, m in made.model.named_modules() if m._forward_hooks]
    steps = ["step"] if made.optimizer.optimizer._optimizer_step_pre_hooks else []
    return (
        hooks + steps + [name for name in ("training_step", "_run_epoch", "_evaluate", "_finalize_training") if name in vars(made)]
    )


@pytest.mark.parametrize("accumulate", [1, 2, 5])
def test_accumulated_batches_are_one_step_with_the_loss_that_is_logged(tmp_path: Path, accumulate: int) -> None:
    """5 leaves two batches for the last step, of which each is half."""
    cb = AdaptLR()
    made = trainer(tmp_path, cb, gradient_accumulation_steps=accumulate, logging_steps=1, eval_strategy="no")
    made.train()
    logged = [row["loss"] for row in made.state.log_history if "loss" in row]
    assert [r.loss for r in cb.trace.readings] == pytest.approx(logged)
    parts = [made.losses[i : i + accumulate] for i in range(0, BATCHES, accumulate)]
    assert logged == pytest.approx([sum(p) for p in parts])
    assert [r.epoch for r in cb.trace.readings] == pytest.approx(
        [min(1.0, (i + 1) * accumulate / BATCHES) for i in range(len(parts))]
    )


def test_the_loss_may_be_anybodys(tmp_path: Path) -> None:
    cb = AdaptLR()
    made = trainer(
        tmp_path,
        cb,
        Bare(*model()),
        compute_loss_func=lambda outputs, labels, **_: 3 * nn.functional.cross_entropy(outputs["logits"], labels),
    )
    made.train()
    assert len(made.losses) == BATCHES
    assert made.losses[0] > 1.5
    assert [r.loss for r in cb.trace.readings] == pytest.approx(made.losses)


@pytest.mark.parametrize(
    "options", [{}, {"bf16": True}, {"gradient_accumulation_steps": 3}], ids=["clipped", "bf16", "accumulated"]
)
def test_a_healthy_run_is_bit_identical(tmp_path: Path, options: dict[str, Any]) -> None:
    cb = AdaptLR()
    watched = trainer(tmp_path, cb, **options)
    watched.train()
    plain = trainer(tmp_path, None, **options)  # seeds torch anew: dropout draws from where it drew before
    plain.train()
    assert cb.trace.readings
    assert not cb.decisions
    assert watched.model is not None
    assert plain.model is not None
    for (name, a), b in zip(watched.model.state_dict().items(), plain.model.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@ignore_what_it_says
def test_each_run_has_its_own_records(tmp_path: Path) -> None:
    cb = AdaptLR(trace=tmp_path / "run.jsonl")
    made = trainer(tmp_path / "out", cb, lr=10.0)
    made.train()
    assert cb.findings
    assert cb.decisions
    assert cb.scales[0] < 1
    made.train()
    assert [run.path for run in cb.runs] == [tmp_path / "run.jsonl", tmp_path / "run-2.jsonl"]
    assert [len(run.readings) for run in cb.runs] == [BATCHES, BATCHES]
    assert left_behind(made) == []


@pytest.mark.parametrize("event", ["on_step_begin", "on_step_end", "on_epoch_end", "on_log"])
def test_an_error_in_another_callback_leaves_nothing_behind(tmp_path: Path, event: str) -> None:
    cb, breaks, seen = AdaptLR(), TrainerCallback(), []

    def fail(*_: Any, **__: Any) -> None:
        seen.append(left_behind(made))
        raise KeyboardInterrupt

    setattr(breaks, event, fail)
    made = trainer(tmp_path, [breaks, cb], logging_steps=4)
    with pytest.raises(KeyboardInterrupt):
        made.train()
    assert "training_step" in seen[0]
    assert left_behind(made) == []
    delattr(breaks, event)
    made.train()
    assert len(cb.trace.readings) == BATCHES


def test_it_warns_at_the_line_that_called_train(tmp_path: Path) -> None:
    cb = AdaptLR()
    with pytest.warns(AdaptLRWarning) as caught:
        trainer(tmp_path, cb, lr=10.0).train()
    assert {w.filename for w in caught} == {__file__}
    assert cb.decisions[0].message in str(caught[0].message)


def test_who_listens_hears_the_records_and_no_warning(tmp_path: Path) -> None:
    heard: list[object] = []
    cb = AdaptLR(announce=heard.append)
    trainer(tmp_path, cb, lr=10.0).train()
    assert [r for r in heard if isinstance(r, Decision)] == cb.decisions != []


def test_another_caller_is_sent_to_the_controller() -> None:
    net: Any = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match=r"use adaptlr\.Controller instead"):
        AdaptLR().on_train_begin(*[None] * 3, model=net, optimizer=torch.optim.SGD(net.parameters()))  # type: ignore[arg-type]


def test_without_transformers_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "adaptlr.transformers")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'transformers\[torch\]>=5'"):
        importlib.import_module("adaptlr.transformers")


class Halt(TrainerCallback):
    """Ends the run after an epoch, as Ctrl-C would between two checkpoints."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True


@pytest.mark.parametrize("lr", [3.0, 1e-6, 3e-3], ids=["too-hot", "too-cold", "healthy"])
@ignore_what_it_says
def test_a_run_that_goes_on_from_a_checkpoint_remembers(tmp_path: Path, lr: float) -> None:
    """It ends at the weights of a run that went through, with what was done before it still in force."""
    through, first, second = AdaptLR(), AdaptLR(), AdaptLR()
    options: dict[str, Any] = {"lr": lr, "epochs": 4, "save": "epoch"}
    whole = trainer(tmp_path / "whole", through, **options)
    whole.train()
    trainer(tmp_path / "parts", [first, Halt()], **options).train()
    rest = trainer(tmp_path / "parts", second, **options)
    rest.train(resume_from_checkpoint=True)
    assert (tmp_path / "parts" / f"checkpoint-{BATCHES}" / "adaptlr.pt").is_file()
    assert bool(through.decisions) == (lr != 3e-3)
    assert [d for cb in (first, second) for d in cb.decisions] == through.decisions
    assert [r.step for r in second.trace.readings] == list(range(BATCHES, 4 * BATCHES))
    assert second.scales == through.scales
    for a, b in zip(whole.model.state_dict().values(), rest.model.state_dict().values(), strict=True):  # type: ignore[union-attr]
        assert torch.equal(a, b)


def test_a_checkpoint_that_was_written_without_us_begins_anew(tmp_path: Path) -> None:
    trainer(tmp_path, Halt(), epochs=2, save="epoch").train()
    trainer(tmp_path, cb := AdaptLR(), epochs=2, save="epoch").train(resume_from_checkpoint=True)
    assert [r.step for r in cb.trace.readings] == list(range(BATCHES))
