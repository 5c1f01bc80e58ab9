"""The loop: measure, judge, act, record. It is the API for a plain PyTorch loop, and what every adapter drives."""

from __future__ import annotations

import dataclasses
import os
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, SupportsFloat

import torch
from torch import Tensor, nn

from adaptlr import arguments, wrapped
from adaptlr.act import snapshot
from adaptlr.act.optimizer import OptimizerPort, TorchOptimizer
from adaptlr.act.scale import StepScale
from adaptlr.act.snapshot import Ring, Stateful, all_of, capture, restore
from adaptlr.callers import warn
from adaptlr.judge.advice import lesson_of
from adaptlr.judge.control import Control, GroupControl, Refuge, Settings, annealed, hold_all, measured, widened
from adaptlr.judge.detect import goes_well, observe
from adaptlr.judge.history import History
from adaptlr.judge.outlook import GAME, LINE_SEARCH, Lesson, Outlook
from adaptlr.judge.telling import news
from adaptlr.judge.thresholds import Thresholds
from adaptlr.judge.turn import advise, take_turn
from adaptlr.judge.words import plural
from adaptlr.measure import beginning
from adaptlr.measure.kinds import numel
from adaptlr.measure.opponents import Opponents
from adaptlr.measure.stages import Stages, unwrap
from adaptlr.observer import Observer, Sampling
from adaptlr.ranges import whole
from adaptlr.records import Action, Decision, Finding, Reading
from adaptlr.state import pack, unpack
from adaptlr.trace import Trace
from adaptlr.usage import Usage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STATE_VERSION = 8  # of what state_dict gives
_SNAPSHOT_BUDGET = 0.005  # share of the run's time that snapshots may take, past the first steps
_OVERDUE = 1.05  # of the length that was said: no run is meant to be that much longer
_MOST_BATCHES = 10_000  # of one step, whose losses are averaged
_CERTIFY_STEPS = 8  # healthy steps after a snapshot that certify it
_ACTING: weakref.WeakSet[Controller] = weakref.WeakSet()  # those that are entered and may act


class AdaptLRWarning(UserWarning):
    """What adaptlr says of a run: a learning rate that is wrong, and what was done about it."""


class Controller:
    """Watches a model train, says when a learning rate is wrong, and puts it right.

    Enter it before the first step and call :meth:`step` after every optimizer step (once a batch, if gradients are accumulated).
    While no decision fires, training is bit-identical to training without it.

    Args:
        model: the network. Training passes are those in which gradients are recorded and the stage is in training mode.
        optimizer: a ``torch.optim.Optimizer``, or any :class:`~adaptlr.act.optimizer.OptimizerPort`, that holds its weights.
        act: False watches and warns, and touches nothing.
        stages: names or modules to observe, or a mapping of label to either; None finds them by rule.
        scaler: the GradScaler, if there is one: a batch without a step is one that it skipped.
        also: what else goes back with a rollback, by ``state_dict`` and ``load_state_dict``: a moving average of the weights, say.
        trace: a path for the JSON Lines trace, or None to keep it in memory alone, thinned after 20,000 steps.
        thresholds, settings, sampling: what counts as wrong, what may be done, how much is measured.
        snapshot_device: where snapshots are kept; None keeps them beside the model.
        total_steps: optimizer steps of the whole run, if known: what is too cold, and how far to raise or to cut, depends on it.
        peak_lrs: the largest learning rate that the schedule will give each group, if known: a warm-up is then judged by where it
            goes, and advice is put in those terms. What torch's schedulers have noted by the time that the controller is entered
            need not be said.
        lesson: what an earlier run of this model taught, ``earlier.lesson``: learning rates that were wrong are so again, and this
            one does not begin untrained, whether the optimizer is new or not, unless that one has learned nothing.
        announce: called with every new finding and decision; None warns with :class:`AdaptLRWarning`.
        process_group: the processes that train this model together, if ``model`` does not say: a DistributedDataParallel wrapper
            and ``fully_shard`` do. All of them judge the same numbers and do the same; the first alone announces, and writes the
            trace to its file.

    Raises:
        TypeError: the model is no module, or the optimizer none, or another argument is of a type that is of no use there.
        ValueError: no stage was found, the optimizer holds none of the model's parameters, or one in two groups; ``peak_lrs`` are
            not as many as its groups, or one is below 0 or not finite; or the weights are spread over processes in a way that
            cannot be measured.
        FileExistsError: the trace's file holds something already.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    >>> with Controller(model, optimizer) as ctl:
    ...     for _ in range(3):
    ...         loss = model(torch.randn(16, 8)).square().mean()
    ...         optimizer.zero_grad(); loss.backward(); optimizer.step(); ctl.step(loss)
    >>> ctl.scales, ctl.decisions, len(ctl.trace.readings)
    ((1.0,), [], 3)
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | OptimizerPort,
        *,
        act: bool = True,
        stages: Stages | None = None,
        scaler: Stateful | None = None,
        also: Stateful | Sequence[Stateful] | None = None,
        trace: str | os.PathLike[str] | None = None,
        thresholds: Thresholds | None = None,
        settings: Settings | None = None,
        sampling: Sampling | None = None,
        snapshot_device: torch.device | str | None = None,
        total_steps: int | None = None,
        peak_lrs: Sequence[float] | None = None,
        lesson: Lesson | None = None,
        announce: Callable[[Finding | Decision], None] | None = None,
        process_group: torch.distributed.ProcessGroup | None = None,
    ) -> None:
        ours = {"thresholds": thresholds, "settings": settings, "sampling": sampling, "lesson": lesson}
        beside = {"scaler": scaler, "announce": announce, "process_group": process_group}
        arguments.check(act=act, stages=stages, also=also, **beside, **ours)
        self._act = bool(act)  # numpy's are none
        self.thresholds = thresholds or Thresholds()
        self.settings = settings or Settings()
        self.sampling = sampling or Sampling()
        self._ranks = wrapped.find(model, process_group)
        self._first_rank = self._ranks is None or self._ranks.rank == 0
        self._model = unwrap(model)
        self._device = torch.device(snapshot_device) if snapshot_device is not None else None
        self._port = TorchOptimizer(optimizer, self._device) if isinstance(optimizer, torch.optim.Optimizer) else optimizer
        _check_types(self._model, self._port)
        self._has_scaler = scaler is not None
        self._extras = all_of(scaler, also)
        self._announce = announce or _warn
        self._observer = Observer(self._model, self._port, stages, self.sampling, self._ranks)
        self._usage = Usage(self._observer, has_scaler=scaler is not None, say=lambda text: warn(text, AdaptLRWarning))
        n = self._observer.n_groups
        peaks = None if peak_lrs is None else _one_each(peak_lrs, n)
        length = None if total_steps is None else whole("total_steps", total_steps)
        weights = sum(numel(p) for group in self._port.params() for p in group if p.requires_grad)
        outlook = Outlook(total_steps=length, peak_lrs=peaks, weights=weights, lesson=lesson)
        self._history = History(outlook=outlook)
        self._control = Control(groups=tuple(GroupControl() for _ in range(n)))
        self._opponents = Opponents(self._model, self._port.params(), lambda: self._observer.activations.passed_since_step)
        self._ring = Ring(budget_frac=_SNAPSHOT_BUDGET if self._ranks is None else None)  # ranks' clocks differ
        self._healthy_since = 0
        self._peaks: tuple[float, ...] = (0.0,) * n
        self._would: tuple[float, ...] | None = None  # be used, from the first decision on that was not carried out: act=False
        self._losses: list[Tensor] = []
        self._stack: ExitStack | None = None
        self._closed = False
        self._replaced = False  # by another on the same weights: it is told of the batches now
        self._joined_to: int | None = None  # the step up to which this rank had read when its data ended
        self.trace = Trace(  # last: what was refused before has opened no file
            trace if self._first_rank else None,
            settings={
                "act": self._act,
                "thresholds": dataclasses.asdict(self.thresholds),
                "settings": dataclasses.asdict(self.settings),
                "sampling": dataclasses.asdict(self.sampling),
            },
            stages=self.stages,
        )
        alone = wrapped.left_alone(model, process_group)
        if alone is not None:
            warn(alone, AdaptLRWarning)

    # ------------------------------------------------------------------ what a user reads

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not watching yet" if self._stack is None else "acting" if self._act else "watching"
        counts = f"{plural(len(self.findings), 'finding')}, {plural(len(self.decisions), 'decision')}"
        return f"<Controller: {state}, {plural(self._observer.step, 'step')}, {counts}, scales {self.scales}>"

    @property
    def findings(self) -> list[Finding]:
        """What was found wrong, each event once."""
        return self.trace.findings

    @property
    def decisions(self) -> list[Decision]:
        """What was done."""
        return self.trace.decisions

    @property
    def act(self) -> bool:
        """Whether it may act, or only watches."""
        return self._act

    @property
    def model(self) -> nn.Module:
        """The model that is watched, without what wraps it."""
        return self._model

    @property
    def scales(self) -> tuple[float, ...]:
        """Each group's multiplier on its scheduled learning rate; 1 is untouched."""
        return self._control.scales

    @property
    def suggested_lrs(self) -> tuple[float, ...]:
        """What to write in the code next time: the largest effective lr of each group since the last decision that changed it.

        With ``act=False``, what it would have been set to by the first decision, if there was any to make. Before the first step,
        the learning rates as they are written.
        """
        seen = self._peaks if any(self._peaks) else tuple(self._port.lrs())
        return seen if self._would is None else self._would

    @property
    def lesson(self) -> Lesson | None:
        """What the next run of this model can go by: that there was one, and how wrong its learning rates were, if they were.

        Where nothing was done, what an earlier run has taught; None where no step was seen.
        """
        first = self.trace.readings[:1]  # none, of a run that was taken up at its end
        return lesson_of(self._history, self._control, first[0].groups if first else (), self._peaks)

    def plot(self, *, stages: Sequence[str] | None = None, figsize: tuple[float, float] | None = None) -> Figure:
        """The run so far in one picture, as :meth:`adaptlr.trace.Trace.plot` draws it."""
        return self.trace.plot(stages=stages, figsize=figsize)

    @property
    def stages(self) -> tuple[str, ...]:
        """Labels of the observed stages, in the order of the forward pass."""
        return tuple(stage.name for stage in self._observer.stages)

    @property
    def sharded(self) -> bool:
        """Several processes hold a part of the weights each, and a state of their own."""
        return self._ranks is not None and self._ranks.sharded

    # ------------------------------------------------------------------ the loop

    def __enter__(self) -> Self:
        if self._closed:
            raise RuntimeError("this controller is closed: make a new one for the next run (its records remain readable)")
        if self._stack is not None:
            raise RuntimeError("this controller is already watching: leave its `with` block before entering it again")
        if self._observer.step == 0:
            outlook = self._history.outlook
            continued = self._port.has_stepped() if outlook.lesson is None else outlook.lesson.learned
            guess, size = beginning.guess(self._model), beginning.size(self._model)
            self._observer.guess, self._observer.fresh = guess, not continued
            frozen = sum(map(numel, self._model.parameters())) > 2 * (outlook.weights or 0)
            outlook = dataclasses.replace(outlook, continued=continued, guess=guess, size=size, frozen=frozen)
            if isinstance(self._port, TorchOptimizer):
                noted = None if outlook.peak_lrs is not None else self._port.peak_lrs()
                outlook = outlook if noted is None else dataclasses.replace(outlook, peak_lrs=tuple(noted))
                excuse = LINE_SEARCH if self._port.searches_a_line else outlook.excuse
                outlook = dataclasses.replace(outlook, excuse=excuse)
            self._history = dataclasses.replace(self._history, outlook=outlook)
        if self._act:
            self._take_over_from_others()
        if self._act and not len(self._ring):
            self._snapshot()
        with ExitStack() as stack:
            stack.enter_context(self._observer.activations)
            stack.enter_context(self._opponents)
            stack.enter_context(StepScale(self._port, self._before_step, self._observer.after_step))
            if self._ranks is not None:
                stack.callback(self._ranks.follow_join(self._observer.shadow, self._join_ends, self._after_join))
            self._stack = stack.pop_all()
        return self

    def _take_over_from_others(self) -> None:
        """Of two that act on the same weights each would undo what the other does."""
        mine = {id(p) for group in self._port.params() for p in group}
        for other in [c for c in _ACTING if c is not self and any(id(p) in mine for group in c._port.params() for p in group)]:
            other.close()
            other._replaced = True
            text = "another Controller was acting on the same weights: it is closed, and this one acts from here on. One is enough"
            warn(text, AdaptLRWarning)
        _ACTING.add(self)

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if exc_type is not None and self._ranks is not None:
            self._observer.forget()  # other ranks may never bring their part of what is on its way
        self.close()

    def close(self) -> None:
        """Take the hooks off, read what is still on the device, and close the trace. Records stay readable. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._stack is not None:
                self._stack.close()
                self._stack = None
                for reading in self._observer.readings(all_of_them=True):
                    self._judge(reading, may_act=False)
        finally:
            self._ring = Ring()
            self.trace.close()
            _ACTING.discard(self)

    def _before_step(self, lrs: list[float]) -> Sequence[float]:
        self._usage.before_step()
        regrouped = self._observer.before_step(lrs)
        self._opponents.before_step()
        if self._opponents.noticed and not self._history.outlook.excuse:
            outlook = dataclasses.replace(self._history.outlook, excuse=GAME)
            self._history = dataclasses.replace(self._history, outlook=outlook)
        if regrouped is not None:  # groups were added, or given other weights: from here on they are watched like the others
            self._control = widened(self._control, lrs)
            self._peaks += (0.0,) * (len(lrs) - len(self._peaks))
            self._history = self._history.rescaled(regrouped.groups)
            self._ring.complete(self._model, self._port, self._device, memory=regrouped.carried)
        self._check_the_length()
        if self._control.acted:
            held = hold_all(self._control.groups, lrs)
            held = annealed(self.settings, held, self._history, self._observer.step, lrs)
            self._control = dataclasses.replace(self._control, groups=held)
        return self.scales

    def _check_the_length(self) -> None:
        """A run that goes on for well longer than was said: from then on nobody knows for how long."""
        outlook, step = self._history.outlook, self._observer.step
        if outlook.total_steps is None or step <= _OVERDUE * outlook.total_steps:
            return
        self._history = dataclasses.replace(self._history, outlook=dataclasses.replace(outlook, total_steps=None))
        text = (
            f"this is optimizer step {step + 1} of a run of which total_steps={outlook.total_steps} was said: is it the number of "
            f"epochs times that of batches? From here on the length of the run counts as unknown"
        )
        if self._first_rank:
            warn(text, AdaptLRWarning)

    def step(self, loss: Tensor | SupportsFloat, *, epoch: float | None = None) -> None:
        """Tell the controller that a batch is done. Judges, and may roll back and rescale.

        Args:
            loss: this batch's loss, a scalar tensor or number (numpy's too). NaN is a finding, not an error.
            epoch: how many epochs are done, as a fraction, if the loop knows.

        Raises:
            ValueError: the loss is no scalar, or a complex one.
            RuntimeError: the controller is closed or was not entered, or no forward pass of the model was seen.
        """
        if self._replaced:
            return
        if self._closed or self._stack is None:
            state = "closed" if self._closed else "not watching yet"
            raise RuntimeError(f"this controller is {state}: call step inside `with Controller(model, optimizer) as ctl:`")
        value = _scalar(loss)
        if not self._observer.stepped and not self._observer.activations.saw_forward and self.sampling.activations:
            raise RuntimeError(
                "step was called, but no forward pass of the model and no optimizer step were seen since the last call: "
                "call it once a batch, after optimizer.step(), and give Controller the model and the optimizer that you train "
                "with; if the model is compiled, enter the Controller before any net of its kind makes its first compiled pass; if "
                "its layers are never called, for their weights are used as they are, give sampling=Sampling(activations=0)"
            )
        self._usage.called()
        self._losses.append(value)
        if not self._observer.stepped:  # gradients are being accumulated, or a GradScaler skipped the step
            self._losses[-1] = value.clone()  # the user's tensor may be written to by the next batch
            del self._losses[:-_MOST_BATCHES]
            if self._has_scaler:
                self._observer.submit_without_step(value, epoch, self.scales, self._claim())
                self._judge_what_has_come()
            elif self._ranks is not None and self._ranks.in_join:
                self._observer.shadow()
            self._usage.nothing_steps(self._losses)
            return
        mean = value if len(self._losses) == 1 else _mean(torch.stack([x.to(value.device) for x in self._losses]))
        self._losses.clear()
        self._observer.submit(mean, epoch, self.scales, self._claim())
        self._judge_what_has_come()
        if self._act and self._ring.due(self._observer.step, at_least_every=self._snapshot_gap) and not self._control.stopped:
            self._snapshot()

    @property
    def _snapshot_gap(self) -> int | None:
        """Steps between snapshots where batches ruin the run time and again: it loses an eighth of them, at most."""
        every = self._control.poison_every
        return None if every is None else every // 8

    def _judge_what_has_come(self) -> None:
        for reading in self._observer.readings():
            self._judge(reading, may_act=True)

    # ------------------------------------------------------------------ a run that is stopped, and goes on another day

    def state_dict(self, *, snapshots: bool = True) -> dict[str, Any]:
        """All that the controller remembers, as plain containers and tensors, to be saved beside the model.

        Without ``snapshots``, of which each is as large as model and optimizer state, a run that goes on decides the same until it
        has to go back: it can go back no further than to where it was taken up again. That may be asked for at any time, and lacks
        what is not judged yet.

        Take it after :meth:`step`, and before the model's and the optimizer's: on a GPU a decision may be on its way, which is
        carried out first. So where several ranks train together, call it on every rank at the same step, whoever saves it.
        Memory: the snapshots' tensors are the controller's own, not copies.

        Raises:
            RuntimeError: it is to be with snapshots, and an optimizer step was made of which :meth:`step` was not told; or the
                controller is closed, and has none any more.
        """
        if self._closed and snapshots:
            raise RuntimeError(
                "this controller is closed, and its snapshots are gone: call state_dict() inside the `with` block, or "
                "state_dict(snapshots=False)"
            )
        if self._observer.stepped and snapshots:
            raise RuntimeError("an optimizer step is not judged yet: call step(loss) before state_dict()")
        if not self._observer.stepped:
            for reading in self._observer.readings(all_of_them=True):
                self._judge(reading, may_act=self._stack is not None)
        return {
            "version": STATE_VERSION,
            "groups": self._observer.n_groups,
            "observer": self._observer.state_dict(),
            "losses": [float(x) for x in self._losses],
            "control": pack(self._control),
            "history": pack(self._history),
            "peaks": list(self._peaks),
            "would": None if self._would is None else list(self._would),
            "healthy_since": self._healthy_since,
            "snapshots": [snapshot.pack(s, self._port) for s in self._ring] if snapshots else [],
            "certified": [s.step for s in self._ring if self._ring.certified(s.step)],
            "last_snapshot": self._ring.last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another controller was, on a model and an optimizer that go on there too. Call it before entering.

        Length and peak learning rates are this controller's, as far as it was given any: a run may go on for longer than was meant.

        Raises:
            RuntimeError: this controller is watching already, or closed.
            ValueError: this is no such state, or it is of another version, of an optimizer with another number of groups, or of a
                controller that was given more or fewer things as ``scaler`` and ``also``; or other weights were sampled.
        """
        if self._stack is not None or self._closed:
            raise RuntimeError("load_state_dict comes before `with`: make a new Controller, load, then enter it")
        arguments.check_state(state, "Controller.state_dict()")
        if state["version"] != STATE_VERSION:
            raise ValueError(f"this state is of version {state['version']}, and this adaptlr reads version {STATE_VERSION}")
        if state["groups"] != self._observer.n_groups:
            raise ValueError(
                f"this state is of an optimizer with {state['groups']} parameter groups, and this one has {self._observer.n_groups}"
            )
        others = [n for packed in state["snapshots"] if (n := len(packed["extras"])) != len(self._extras)]
        if others:
            raise ValueError(
                f"of things beside model and optimizer, as a GradScaler or an average of the weights, the snapshots of this state "
                f"hold {others[0]}, and this controller was given {len(self._extras)} as scaler and also: give it the same, or "
                f"save state_dict(snapshots=False)"
            )
        own = self._history.outlook
        self._take_over(state, [snapshot.unpack(s, self._port) for s in state["snapshots"]])
        then = self._history.outlook
        outlook = dataclasses.replace(
            then, total_steps=own.total_steps or then.total_steps, peak_lrs=own.peak_lrs or then.peak_lrs, weights=own.weights
        )
        self._history = dataclasses.replace(self._history, outlook=outlook)
        self._losses = [torch.tensor(x, dtype=torch.float32, device="cpu") for x in state["losses"]]
        self._would = None if state.get("would") is None else tuple(state["would"])

    def _take_over(self, state: dict[str, Any], held: list[snapshot.Snapshot]) -> None:
        self._observer.load_state_dict(state["observer"])
        self._control = unpack(Control, state["control"])
        self._history = unpack(History, state["history"])
        self._peaks = tuple(state["peaks"])
        self._healthy_since = state["healthy_since"]
        kept = {s.step for s in held}
        self._ring.put(held, [step for step in state["certified"] if step in kept], state["last_snapshot"])

    # ------------------------------------------------------------------ a run that several ranks share

    def _claim(self) -> str:
        """What must be the same on all of them."""
        if self._ranks is None:
            return ""
        steps = [(s.step, self._ring.certified(s.step)) for s in self._ring]
        return f"scales {self.scales}, stopped {self._control.stopped}, snapshots (step, certified) {steps}"

    def _join_ends(self, was_last: bool) -> None:
        """Uneven data is over. What is on its way is carried out by those who were there; the others have missed more than that."""
        self._joined_to = None if was_last else self._observer.step - self._observer.waiting
        if not was_last:
            self._observer.forget()
        for reading in self._observer.readings(all_of_them=True):
            self._judge(reading, may_act=True)

    def _after_join(self) -> None:
        """Weights are the same again: a rank that sat out the end goes on as those that did not, and has it on record."""
        assert self._ranks is not None
        was_last = self._joined_to is None
        mine = self._observer.step if self._joined_to is None else self._joined_to

        def memory(since: int) -> tuple[dict[str, Any], list[Finding | Decision | Reading]]:
            return self.state_dict(snapshots=False), [r for r in self.trace if r.step >= since]

        (state, records), common = self._ranks.agree(was_last, mine, [s.step for s in self._ring], memory)
        self._take_over(state, [s for s in self._ring if s.step in common])
        done = {(r.step, kind) for r in records if isinstance(r, Decision) for kind in r.findings}
        for record in (r for r in records if r.step >= mine):
            if isinstance(record, Reading):
                self.trace.append(record)
            else:
                self.trace.append(record)
                if not (isinstance(record, Finding) and (record.step, record.kind) in done):
                    self._say(record)

    # ------------------------------------------------------------------ judge, act, record

    def _judge(self, reading: Reading, *, may_act: bool) -> None:
        self.trace.append(reading)
        self._control = measured(self.settings, self._control, self._history, reading)
        self._peaks = tuple(max(p, g.effective_lr) for p, g in zip(self._peaks, reading.groups, strict=True))
        self._history, findings = observe(self._history, reading, self.thresholds)
        self._certify(reading, findings)
        self._control, new = news(self.settings, self._control, findings, once=bool(self._history.outlook.excuse))
        if not (self._act and may_act):
            told = new if self._act else self._advised(new, reading)
            self._tell(told, told)
            return
        turn = take_turn(self.settings, self._control, self._history, reading, findings, new, self._refuges)
        self._control, self._history = turn.control, turn.history
        if turn.decision is not None:
            self._carry_out(turn.decision, reading)
        self._tell(turn.records, turn.said)

    def _carry_out(self, decision: Decision, reading: Reading) -> None:
        if decision.action is Action.HOLD:
            return
        scales = list(zip(decision.scales_before, decision.scales_after, strict=True))
        changed = tuple(i for i, (before, after) in enumerate(scales) if before != after)
        now = zip(reading.groups, decision.scales_after, self._peaks, strict=True)
        self._peaks = tuple(g.lr * scale if g.index in changed else peak for g, scale, peak in now)
        if decision.restored_step is not None:
            self._roll_back(decision.restored_step)
        elif decision.action is Action.RESCALE:
            self._history = self._history.rescaled(changed)
            self._observer.restart(changed)

    def _advised(self, findings: tuple[Finding, ...], reading: Reading) -> tuple[Finding, ...]:
        """What is only watched, with what to write next time, the first time that there is something to put right."""
        if self._would is not None or not findings:
            return findings
        advised, self._would = advise(self.settings, self._control, self._history, reading, findings)
        return advised

    def _certify(self, reading: Reading, findings: tuple[Finding, ...]) -> None:
        """Snapshots are certified by the healthy steps after them."""
        if not goes_well(self._history, findings, self.thresholds):
            self._healthy_since = reading.step + 1
        self._ring.certify(self._healthy_since, reading.step - _CERTIFY_STEPS)

    def _refuges(self) -> tuple[Refuge, ...]:
        return tuple(
            Refuge(step=s.step, certified=self._ring.certified(s.step), per_lr=s.memory["per_lr"], level=s.memory["level"])
            for s in self._ring
        )

    def _snapshot(self) -> None:
        per_lr = tuple(g.per_lr for g in self._control.groups)
        memory = {**self._observer.memory(), "per_lr": per_lr, "level": self._history.shown(self._history.median(3))}
        begin = time.perf_counter()
        taken = capture(self._observer.step, self._model, self._port, self._extras, memory=memory, device=self._device)
        self._ring.add(taken, seconds=time.perf_counter() - begin)

    def _roll_back(self, step: int) -> None:
        taken = self._ring.take(step)
        restore(taken, self._model, self._port, self._extras)
        self._losses.clear()
        self._observer.recall(taken.memory)
        self._history = self._history.restarted()
        self._healthy_since = self._observer.step
        self._observer.forget()

    def _tell(self, records: Sequence[Finding | Decision], said: Sequence[Finding | Decision]) -> None:
        """Put these on record, and announce some of them. All is done by then: a warning may be an error to the user."""
        for record in records:
            self.trace.append(record)
        for record in said:
            self._say(record)

    def _say(self, record: Finding | Decision) -> None:
        if self._first_rank:
            self._announce(record)


def _warn(record: Finding | Decision) -> None:
    warn(str(record), AdaptLRWarning)


def _check_types(model: object, port: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"Controller(model, optimizer): the first is to be a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(port, OptimizerPort):
        raise TypeError(
            f"Controller(model, optimizer): the second is to be a torch.optim.Optimizer, got {type(port).__name__}, which is no "
            f"OptimizerPort (adaptlr.act.optimizer) either"
        )


def _one_each(peak_lrs: Sequence[float] | float, n_groups: int) -> tuple[float, ...]:
    """The largest learning rate of each group."""
    peaks = arguments.rates("peak_lrs", peak_lrs)
    if len(peaks) != n_groups:
        raise ValueError(f"peak_lrs is to have one learning rate for each of the optimizer's {n_groups} groups, got {peak_lrs!r}")
    return peaks


def _mean(losses: Tensor) -> Tensor:
    """The mean of the losses since the last step; without those that are not finite, if the newest is.

    A GradScaler skips the step of a batch that overflowed and throws its gradient away. Where gradients are accumulated, such a
    loss is in the gradient too, and is found there.
    """
    counts = losses.isfinite() | ~losses[-1].isfinite()
    return losses.where(counts, 0.0).sum() / counts.sum()


def _scalar(loss: Tensor | SupportsFloat) -> Tensor:
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"the loss must be a scalar, got a tensor of shape {tuple(loss.shape)}: reduce it, e.g. loss.mean()")
        if loss.is_complex():
            raise ValueError(f"the loss must be a real number, got {loss.dtype}: give the one that is minimised, e.g. loss.abs()")
        return loss.detach() if loss.ndim == 0 else loss.detach().reshape(())
    if getattr(loss, "size", None) == 1:  # numpy's numbers, and its arrays of one
        loss = loss.item()  # type: ignore[union-attr]
    if isinstance(loss, SupportsFloat) and getattr(loss, "size", 1) == 1:
        return torch.tensor(float(loss), dtype=torch.float32, device="cpu")
    raise ValueError(f"the loss must be a scalar tensor or a number, got {type(loss).__name__}")
