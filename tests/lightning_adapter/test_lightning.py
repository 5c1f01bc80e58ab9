"""What is Lightning's own: accumulation, precision, manual optimization, several optimizers, what ends a fit."""

from __future__ import annotations

import copy
import importlib
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.tuner.tuning import Tuner
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from adaptlr import AdaptLRWarning, Decision
from adaptlr.lightning import AdaptLR
from tests.contract.case import BATCHES, Case, loader, model

ignore_what_it_says = pytest.mark.filterwarnings("ignore::adaptlr.AdaptLRWarning")


class Module(pl.LightningModule):
    def __init__(self, lr: float = 3e-3, *, skip: int | None = None) -> None:
        super().__init__()
        self.net, self.lr, self.skip = model().train(), lr, skip
        self.losses: list[float] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        return None if batch_idx == self.skip else {"loss": loss, "double": 2 * loss.detach()}

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.parameters(), lr=self.lr)


class Validated(Module):
    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.net(batch[0])


class Manual(Module):
    def __init__(self, returned: Any = "loss") -> None:
        super().__init__()
        self.automatic_optimization, self.returned = False, returned

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.losses.append(loss.item())
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss if self.returned == "loss" else self.returned


class Two(pl.LightningModule):
    """A body and a critic in turns: the critic trains in every second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(0)
        self.maker = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
        self.critic = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 1))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Any:
        optimizers: Any = self.optimizers()
        made = self.maker(batch[0])
        losses: list[Tensor | None] = [nn.functional.cross_entropy(made, batch[1]), None]
        if batch_idx % 2:
            losses[1] = self.critic(made.detach()).square().mean()
        for optimizer, loss in zip(optimizers, losses, strict=True):
            if loss is not None:
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
        return {"m_loss": losses[0], "c_loss": losses[1]}

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(self.maker.parameters(), 1e-3), torch.optim.Adam(self.critic.parameters(), 1e-3)]


def trainer_of(*callbacks: pl.Callback, **kwargs: Any) -> pl.Trainer:
    options = {"max_epochs": 1, "accelerator": "cpu", "logger": False, "enable_checkpointing": False, **kwargs}
    return pl.Trainer(callbacks=list(callbacks), enable_progress_bar=False, enable_model_summary=False, **options)


def fit(module: pl.LightningModule, *callbacks: pl.Callback, val: bool = False, **kwargs: Any) -> pl.Trainer:
    trainer = trainer_of(*callbacks, **kwargs)
    trainer.fit(module, loader(Case()), loader(Case()) if val else None)
    return trainer


def resume(module: pl.LightningModule, *callbacks: pl.Callback, file: Path, **kwargs: Any) -> None:
    trainer_of(*callbacks, **kwargs).fit(module, loader(Case()), ckpt_path=str(file), weights_only=True)


def left_behind(module: nn.Module, trainer: pl.Trainer) -> int:
    steps: list[Any] = trainer.optimizers
    return sum(len(m._forward_hooks) for m in module.modules()) + sum(len(o._optimizer_step_pre_hooks) for o in steps)


def losses(cb: AdaptLR) -> list[float]:
    return [r.loss for r in cb.trace.readings]


class Halt(pl.Callback):
    """Saves a checkpoint after this epoch, and ends the fit."""

    def __init__(self, file: Path) -> None:
        self.file, self.rng = file, torch.empty(0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.file)
        trainer.should_stop = True
        self.rng = torch.get_rng_state()  # dropout's: Lightning keeps none


def put_right(cb: AdaptLR) -> list[tuple[int, Any]]:
    return [(d.step, d.scales_after) for d in cb.decisions]


class TestAFitThatGoesOnFromACheckpoint:
    @pytest.mark.parametrize("lr", [30.0, 1e-6, 3e-2], ids=["too-hot", "too-cold", "healthy"])
    @ignore_what_it_says
    def test_it_remembers(self, tmp_path: Path, lr: float) -> None:
        """It ends at the weights of a fit that went through, with what was done before it still in force."""
        through, first, second, halt = AdaptLR(), AdaptLR(), AdaptLR(), Halt(tmp_path / "a.ckpt")
        fit(whole := Module(lr), through, max_epochs=6)
        fit(Module(lr), first, halt, max_epochs=6)
        rest = Module(lr)
        torch.set_rng_state(halt.rng)
        resume(rest, second, file=tmp_path / "a.ckpt", max_epochs=6)
        assert bool(through.decisions) == (lr != 3e-2)
        assert put_right(first) + put_right(second) == put_right(through)
        assert [r.step for r in second.trace.readings] == list(range(BATCHES, 6 * BATCHES))
        assert second.scales == through.scales
        for a, b in zip(whole.state_dict().values(), rest.state_dict().values(), strict=True):
            assert torch.equal(a, b)

    def test_a_callback_that_comes_before_ours_may_save(self, tmp_path: Path) -> None:
        class Early(pl.Callback):
            def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
                trainer.save_checkpoint(tmp_path / "a.ckpt")

        fit(Module(), Early(), cb := AdaptLR())
        assert len(cb.trace.readings) == BATCHES
        resume(Module(), more := AdaptLR(), file=tmp_path / "a.ckpt", max_epochs=2)
        assert more.trace.readings

    def test_one_that_was_saved_when_it_was_over_goes_on_too(self, tmp_path: Path) -> None:
        with pytest.warns(AdaptLRWarning):
            trainer = fit(Module(30.0), cb := AdaptLR(), max_epochs=2)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        resume(Module(30.0), more := AdaptLR(), file=tmp_path / "a.ckpt", max_epochs=4)
        assert not more.decisions
        scales = [r.groups[0].scale for run in (cb, more) for r in run.trace.readings[BATCHES // 2 :]]
        assert max(scales) < 0.01  # the first fit's came down at its end, and the second's began where that had been
        assert more.trace.readings[0].groups[0].scale > 2 * cb.scales[0]

    @pytest.mark.parametrize("what", ["test", "lr_find"])
    @ignore_what_it_says
    def test_one_that_is_loaded_for_something_else_is_no_memory_of_the_next_fit(self, tmp_path: Path, what: str) -> None:
        """The scale that saved one model would starve another."""
        cb = AdaptLR()
        trainer = fit(Validated(30.0), cb, val=True, default_root_dir=str(tmp_path))
        assert cb.scales[0] < 0.1
        if what == "test":
            trainer.save_checkpoint(tmp_path / "a.ckpt")
            trainer.validate(Validated(), loader(Case()), ckpt_path=str(tmp_path / "a.ckpt"), verbose=False, weights_only=True)
        else:
            Tuner(trainer_of(cb, default_root_dir=str(tmp_path))).lr_find(Module(), loader(Case()), num_training=4)
        fit(Module(3e-2), cb)
        assert cb.scales == (1.0,)
        assert cb.trace.readings[0].step == 0

    def test_what_is_given_by_hand_is(self) -> None:
        with pytest.warns(AdaptLRWarning):
            fit(Module(30.0), cb := AdaptLR())
        more = AdaptLR()
        more.load_state_dict(cb.state_dict())
        fit(Module(30.0), more)
        assert more.trace.readings[0].step == BATCHES

    def test_a_checkpoint_of_another_version_is_said(self, tmp_path: Path) -> None:
        fit(Module(3e-2), AdaptLR(), Halt(tmp_path / "a.ckpt"), max_epochs=2)
        saved = torch.load(tmp_path / "a.ckpt", weights_only=False)
        (key,) = (key for key in saved["callbacks"] if key.startswith("AdaptLR"))
        saved["callbacks"][key]["version"] = 1
        torch.save(saved, tmp_path / "b.ckpt")
        with pytest.warns(AdaptLRWarning, match="in version 1, and this one reads version"):
            resume(Module(3e-2), cb := AdaptLR(), file=tmp_path / "b.ckpt", max_epochs=2)
        assert [r.step for r in cb.trace.readings] == list(range(BATCHES))

    def test_without_our_memory_what_is_left_counts(self, tmp_path: Path) -> None:
        """The checkpoint was written without us: the net has so many steps to go, and is no longer new."""
        fit(Module(3e-2), Halt(tmp_path / "a.ckpt"), max_epochs=6)
        seen: list[Any] = []

        class Look(pl.Callback):
            def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
                seen.append(cb._controller._history.outlook)  # type: ignore[union-attr]

        resume(Module(3e-2), cb := AdaptLR(), Look(), file=tmp_path / "a.ckpt", max_epochs=6)
        assert seen[0].total_steps == 5 * BATCHES


class TestWhatIsRead:
    @pytest.mark.parametrize("accumulate", [2, 5])
    def test_accumulated_batches_are_one_step_with_their_mean_loss(self, accumulate: int) -> None:
        """5 leaves two batches for the epoch's last step, and Lightning divides them by 5 all the same: we do not."""
        module, cb = Module(), AdaptLR()
        fit(module, cb, accumulate_grad_batches=accumulate)
        parts = [module.losses[i : i + accumulate] for i in range(0, BATCHES, accumulate)]
        assert losses(cb) == pytest.approx([sum(p) / len(p) for p in parts])

    def test_a_skipped_batch_makes_no_reading(self) -> None:
        module, cb = Module(skip=4), AdaptLR()
        with pytest.warns(UserWarning, match="returned `None`"):
            fit(module, cb)
        assert losses(cb) == pytest.approx([loss for i, loss in enumerate(module.losses) if i != 4])

    def test_validation_and_its_sanity_check_are_not_read(self) -> None:
        cb, alone = AdaptLR(), AdaptLR()
        fit(Validated(), cb, val=True, num_sanity_val_steps=2)
        fit(Module(), alone)
        assert [r.stages for r in cb.trace.readings] == [r.stages for r in alone.trace.readings]

    def test_another_key_may_hold_the_loss(self) -> None:
        module, cb = Module(), AdaptLR(loss="double")
        fit(module, cb, accumulate_grad_batches=2)
        pairs = zip(module.losses[::2], module.losses[1::2], strict=True)
        assert losses(cb) == pytest.approx([a + b for a, b in pairs])

    def test_the_module_is_watched_whole_unless_a_part_is_named(self) -> None:
        cb, part = AdaptLR(), AdaptLR(model="net")
        fit(Module(), cb, max_steps=1)
        fit(Module(), part, max_steps=1)
        assert [s.path for s in cb.trace.readings[0].stages] == [f"net.{s.path}" for s in part.trace.readings[0].stages]
        with pytest.raises(ValueError, match="model='nett' is no submodule of Module, which has net"):
            fit(Module(), AdaptLR(model="nett"))


class TestNoHarm:
    @pytest.mark.parametrize("options", [{"gradient_clip_val": 0.1}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 3}])
    def test_a_healthy_fit_is_bit_identical(self, options: dict[str, Any]) -> None:
        watched, cb = Module(), AdaptLR()
        fit(watched, cb, **options)
        plain = Module()  # seeds torch anew: dropout draws from where it drew before
        fit(plain, **options)
        assert cb.trace.readings
        assert not cb.decisions
        for (name, a), b in zip(watched.state_dict().items(), plain.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


class TestAnAverageOfTheWeights:
    """Lightning's callbacks give the net their average at the end: what was ruined may not stay in it."""

    def net(self, lr: float, *, watch: bool = True) -> nn.Module:
        torch.manual_seed(0)
        module = Module(lr)
        average = WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(0.9))
        fit(module, average, *[AdaptLR()] * watch, max_epochs=3)
        return module.net

    @ignore_what_it_says
    def test_goes_back_with_a_rollback(self) -> None:
        largest = max(float(p.detach().abs().max()) for p in self.net(1e4).parameters())
        assert largest < 10, "one step at this learning rate makes weights of hundreds, of which a tenth would stay"

    def test_is_the_same_without_one(self) -> None:
        watched, plain = self.net(3e-2), self.net(3e-2, watch=False)
        assert all(torch.equal(a, b) for a, b in zip(watched.parameters(), plain.parameters(), strict=True))


class TestManualOptimization:
    def test_the_loss_is_what_the_step_returns(self) -> None:
        module, cb = Manual(), AdaptLR()
        fit(module, cb)
        assert losses(cb) == pytest.approx(module.losses)

    @pytest.mark.parametrize("returned", [None, {"other": torch.tensor(1.0)}])
    def test_without_a_loss_it_says_what_to_return(self, returned: Any) -> None:
        with pytest.raises(ValueError, match=r"training_step returned no 'loss'.*return the loss"):
            fit(Manual(returned), AdaptLR())

    def test_several_optimizers_have_a_callback_each(self) -> None:
        module = Two()
        maker = AdaptLR(optimizer=0, model="maker", loss="m_loss")
        critic = AdaptLR(optimizer=1, model="critic", loss="c_loss")
        trainer = fit(module, maker, critic)
        assert (len(maker.trace.readings), len(critic.trace.readings)) == (BATCHES, BATCHES // 2)
        assert [s.path for s in critic.trace.readings[0].stages] == ["1", "2"]
        assert left_behind(module, trainer) == 0

    def test_several_optimizers_and_no_choice(self) -> None:
        with pytest.raises(ValueError, match=r"has 2 optimizers.*AdaptLR\(optimizer=0"):
            fit(Two(), AdaptLR())
        with pytest.raises(ValueError, match="optimizer=2, but the module has 2"):
            fit(Two(), AdaptLR(optimizer=2, model="maker"))

    @pytest.mark.parametrize("optimizer", ["x", 0.5, True])
    def test_an_optimizer_is_chosen_by_its_index(self, optimizer: Any) -> None:
        with pytest.raises(TypeError, match=f"^optimizer must be a whole number, got {optimizer!r}: it is an index"):
            AdaptLR(optimizer=optimizer)

    def test_what_no_fit_could_begin_with_is_refused_at_once(self) -> None:
        wrong: dict[str, Any] = {"act": "no", "settings": {}, "also": 3, "stages": 3}
        for name, value in wrong.items():
            given: dict[str, Any] = {name: value}
            with pytest.raises(TypeError, match=f"^{name} must be"):
                AdaptLR(**given)
        with pytest.raises(ValueError, match=r"not what AdaptLR.state_dict\(\) gave, but a dict with 'epoch'"):
            AdaptLR().load_state_dict({"epoch": 1})


class TestTheLengthOfAFit:
    @ignore_what_it_says
    def test_each_fit_has_its_own_records(self, tmp_path: Path) -> None:
        module, cb = Module(lr=30.0), AdaptLR(trace=tmp_path / "run.jsonl")
        trainer = fit(module, cb)
        assert cb.findings
        assert cb.decisions
        assert cb.scales[0] < 1
        assert cb.suggested_lrs[0] < 30
        module.lr = 3e-3
        trainer.fit_loop.max_epochs = 2
        trainer.fit(module, loader(Case()))
        assert [run.path for run in cb.runs] == [tmp_path / "run.jsonl", tmp_path / "run-2.jsonl"]
        assert [len(run.readings) for run in cb.runs] == [BATCHES, BATCHES]
        assert left_behind(module, trainer) == 0

    @pytest.mark.parametrize("event", ["on_train_epoch_start", "on_train_batch_start", "on_validation_start", "on_train_end"])
    def test_an_error_in_another_callback_leaves_nothing_behind(self, event: str) -> None:
        module, cb, breaks = Validated(), AdaptLR(), pl.Callback()
        trainer = pl.Trainer(
            callbacks=[breaks, cb],
            max_epochs=1,
            accelerator="cpu",
            num_sanity_val_steps=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )

        def fail(*_: Any) -> None:
            assert left_behind(module, trainer) > 0
            raise OSError("broken")

        setattr(breaks, event, fail)
        with pytest.raises(OSError, match="broken"):
            trainer.fit(module, loader(Case()), loader(Case()))
        assert left_behind(module, trainer) == 0
        assert len(cb.runs) == 1

    def test_a_copy_made_within_a_fit_watches_nothing(self) -> None:
        cb, take, copies = AdaptLR(), pl.Callback(), []
        take.on_train_epoch_end = lambda *_: copies.append(copy.deepcopy(cb))  # type: ignore[method-assign]
        fit(Module(), cb, take)
        assert copies[0]._controller is None
        assert len(copies[0].trace.readings) == BATCHES

    @ignore_what_it_says
    def test_what_a_fit_has_taught_is_known_in_the_next_of_the_same_model(self) -> None:
        cb, module = AdaptLR(), Module(lr=1e-7)
        for fitted in (module, module, Module(lr=1e-7)):
            fit(fitted, cb, max_epochs=6)
        said = [any("so was the fit before" in d.message for d in run.decisions) for run in cb.runs]
        assert said == [False, True, False]
        assert all(run.readings[-1].groups[0].scale > 30 for run in cb.runs)

    def test_before_the_first_fit_there_is_nothing(self) -> None:
        cb = AdaptLR()
        assert (cb.findings, cb.decisions, cb.scales, cb.suggested_lrs) == ([], [], (), ())
        with pytest.raises(RuntimeError, match="fit with this callback first"):
            _ = cb.trace


def test_it_warns_at_the_line_that_called_fit() -> None:
    cb = AdaptLR()
    with pytest.warns(AdaptLRWarning) as caught:
        fit(Module(lr=30.0), cb)
    ours = [w for w in caught if issubclass(w.category, AdaptLRWarning)]
    assert {w.filename for w in ours} == {__file__}
    assert cb.decisions[0].message in str(ours[0].message)


def test_who_listens_hears_the_records_and_no_warning() -> None:
    heard: list[object] = []
    cb = AdaptLR(announce=heard.append)
    fit(Module(lr=30.0), cb)
    assert [r for r in heard if isinstance(r, Decision)] == cb.decisions != []


def test_without_lightning_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("adaptlr.lightning", "lightning.pytorch"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ModuleNotFoundError, match="pip install 'lightning>=2'"):
        importlib.import_module("adaptlr.lightning")
