"""Forward hooks that count a sample of each stage's activations, and are gone when the ``with`` block ends."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.hooks import RemovableHandle

from adaptlr.measure import compiled
from adaptlr.measure.replay import Replayed
from adaptlr.measure.stages import Stage
from adaptlr.measure.stats import ActivationSample, count_all, single, stage_reading
from adaptlr.records import StageReading

_C: Any = torch._C
_functorch = _C._functorch  # no stub of torch has it
_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)  # of torch 2.7
_NO_DISPATCH = _C._disabled_torch_dispatch_impl  # what those subclasses have that do nothing of their own
_DEEPEST = 6  # containers within containers that are looked into: one may hold itself


class ActivationProbe:
    """Counts activations of the stages in training passes, while it is entered and ``enabled``.

    Outputs are never changed nor kept. A pass is a training pass if gradients are recorded and the module is in training mode.
    A stage that runs several times (a shared module, micro-batches) adds up; recomputing it for activation checkpointing does not.

    Args:
        stages: from :func:`adaptlr.measure.stages.find_stages`.
        seed: shifts the sampled positions.
        hist_bins, hist_max: the histogram of |a|.
        sample_size: most activations read from one output.

    >>> from adaptlr.measure.stages import find_stages
    >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> stages = find_stages(net)
    >>> with ActivationProbe(stages) as probe:
    ...     _ = net(torch.randn(16, 4))
    ...     counts = probe.collect()
    >>> [(r.name, r.n) for r in probe.readings(counts.cpu())]
    [('fc1', 128), ('head', 32)]
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        seed: int = 0,
        hist_bins: int = 40,
        hist_max: float = 10.0,
        sample_size: int = 8192,
    ) -> None:
        if hist_bins < 1 or not hist_max > 0:
            raise ValueError(f"hist_bins must be at least 1 and hist_max above 0; got hist_bins={hist_bins}, hist_max={hist_max}")
        sample = ActivationSample(size=sample_size, per_unit=min(32, sample_size), seed=seed)
        self.stages = tuple(stages)
        self.enabled = True
        self.hist_bins, self.hist_max = hist_bins, hist_max
        self._saw_forward = self._passed_since_step = self._passed_after_step = False
        self._tallies = tuple(_Tally(sample) for _ in self.stages)
        self._handles: list[RemovableHandle] = []
        self._to_count: list[Tensor] = []
        self._counters: dict[torch.device, Replayed[Tensor]] = {}

    def __enter__(self) -> Self:
        if self._handles:
            raise RuntimeError("the probe is already on the model: leave it before entering it again")
        compiled.define()  # a compiler that meets it in a hook must find it
        for stage, tally in zip(self.stages, self._tallies, strict=True):
            self._handles.append(stage.module.register_forward_hook(_Hook(self, tally, stage.path or stage.name)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    @property
    def saw_forward(self) -> bool:
        """A stage ran since the last :meth:`collect` while gradients were recorded, in whichever mode, counted or not."""
        return self._saw_forward

    @property
    def passed_since_step(self) -> bool:
        """A stage ran in a training pass since the last :meth:`before_step`."""
        return self._passed_since_step

    @property
    def passed_after_step(self) -> bool:
        """A training pass was made since the optimizer's last step was over: not within it, as closures make them."""
        return self._passed_after_step

    def before_step(self) -> None:
        """The optimizer is about to step: a pass from here on is another one."""
        self._passed_since_step = False

    def after_step(self) -> None:
        """The optimizer has stepped."""
        self._passed_after_step = False

    def collect(self) -> Tensor | None:
        """Counts since the last call [stages, counters], on the device, zeros for a stage that did not run; then starts anew.

        Rows of other ranks may be added to them. None if nothing was counted.
        """
        self._saw_forward = False
        self.count_taken()
        rows = [tally.reset() for tally in self._tallies]
        first = next((row for row in rows if row is not None), None)
        if first is None:
            return None
        return torch.stack([torch.zeros_like(first) if r is None else r.to(first.device, first.dtype) for r in rows])

    def count_taken(self) -> None:
        """Count what the hooks have taken, all at once: between the layers of a net, each would find the caches cold."""
        taken = [(tally, values) for tally in self._tallies for values in tally.taken]
        self._to_count = [values for _, values in taken]
        devices = {values.device for values in self._to_count}
        device = devices.pop() if len(devices) == 1 else None
        if device is None or device.type != "cuda":
            counts: Sequence[Tensor] = self._count()
        else:
            if device not in self._counters:
                self._counters[device] = Replayed(lambda: torch.stack(self._count()), device)
            places = tuple((v.data_ptr(), v.shape, v.dtype) for v in self._to_count)
            counts = self._counters[device](places).clone().unbind()
        self._to_count = []
        for (tally, _), row in zip(taken, counts, strict=True):
            tally.merge(row)
        for tally in self._tallies:
            tally.taken.clear()

    def _count(self) -> list[Tensor]:
        return count_all([single(values) for values in self._to_count], hist_bins=self.hist_bins, hist_max=self.hist_max)

    def readings(self, host_counts: Tensor, groups: Sequence[int | None] | None = None) -> tuple[StageReading, ...]:
        """Counts on the host [stages, counters] -> readings of the stages that ran.

        Args:
            host_counts: what :meth:`collect` returned, brought over (and summed across ranks).
            groups: optimizer group of each stage, from :func:`adaptlr.measure.stages.assign_groups`.
        """
        groups = groups if groups is not None else [None] * len(self.stages)
        return tuple(
            stage_reading(row, name=stage.name, path=stage.path, group=group, hist_max=self.hist_max)
            for stage, group, row in zip(self.stages, groups, host_counts.cpu().numpy(), strict=True)
            if row[0] > 0
        )


_MOST_TAKEN = 8  # passes of a stage whose samples are kept before they are counted: gradients may be accumulated over many


class _Tally:
    """The counts of one stage since the last reset."""

    def __init__(self, sample: ActivationSample) -> None:
        self.sample = sample
        self.taken: list[Tensor] = []  # sampled, and not counted yet
        self.counts: Tensor | None = None
        self.in_forward = False  # counted outside of a backward pass
        self.given_up = False  # its outputs cannot be read
        self._places: dict[tuple[int, int, torch.dtype, torch.device], Tensor] = {}

    def take(self, output: Tensor) -> None:
        """Sample an output. On a GPU what is taken lies where it lay in the step before, so that counting it is the same work."""
        place = functools.partial(self._place, output.dtype, output.device) if output.device.type == "cuda" else None
        self.taken.append(self.sample.take(output, place))

    def _place(self, dtype: torch.dtype, device: torch.device, size: int) -> Tensor:
        key = len(self.taken), size, dtype, device
        if key not in self._places:
            if len(self._places) >= 2 * _MOST_TAKEN:  # sizes that hardly ever come again
                self._places.clear()
            self._places[key] = torch.empty(size, dtype=dtype, device=device)
        return self._places[key]

    def merge(self, counts: Tensor) -> None:
        self.counts = counts if self.counts is None else self.counts + counts.to(self.counts.device)

    def reset(self) -> Tensor | None:
        counts, self.counts, self.in_forward = self.counts, None, False
        return counts if type(counts) is Tensor else None  # a compiled pass under FakeTensorMode has counted no numbers

    def give_up(self) -> None:
        self.given_up = True
        self.taken.clear()


class _Hook:
    """The forward hook of one stage. A copy or a pickle of the model carries one of Python's own instead, which does nothing."""

    def __init__(self, probe: ActivationProbe, tally: _Tally, name: str) -> None:
        self.probe, self.tally, self.name = probe, tally, name
        # Where torch.compile has broken a graph by itself, it need not look into this. No decorator: that would load the compiler.
        self.count = cast("Callable[[object], None]", torch.compiler.disable(self._count))

    def __call__(self, module: nn.Module, args: object, output: object) -> None:
        if not torch.is_grad_enabled() or _is_exporting():  # torch.export's pass is none of training, and its graph the user's
            return
        self.probe._saw_forward = True
        if not module.training:
            return
        self.probe._passed_since_step = self.probe._passed_after_step = True
        if not self.probe.enabled or self.tally.given_up:
            return
        if torch.compiler.is_compiling():
            tensor = _first_floating(output)
            if tensor is not None:
                self.tally.in_forward = True
                s, probe = self.tally.sample, self.probe
                counts = torch.ops.adaptlr.count(tensor.detach(), s.size, s.per_unit, s.seed, probe.hist_bins, probe.hist_max)
                self.tally.merge(counts)
        else:
            self.count(output)

    def _count(self, output: object) -> None:
        try:
            self._count_or_raise(output)
        except Exception as e:  # noqa: BLE001  (a net returns what it likes, and measuring must not end its training)
            self.tally.give_up()
            warnings.warn(
                f"adaptlr cannot read what the stage {self.name!r} returned, and watches this run without it "
                f"({type(e).__name__}: {str(e)[:200]})",
                stacklevel=2,  # the user's line is beyond any number of calls of torch's: the text names the stage
            )

    def _count_or_raise(self, output: object) -> None:
        if _C._is_tracing():  # torch.jit.trace would record what is done here
            return
        # Checkpointing runs a stage again within the backward pass. The re-entrant kind ran it without gradients before, so that
        # the second run is the one that counts; the other kind has been counted already.
        recomputing = _C._current_graph_task_id() != -1
        if recomputing and self.tally.in_forward:
            return
        tensor = _first_floating(output)
        if tensor is None:
            return
        if _functorch.maybe_current_level() is not None:
            tensor = _plain(tensor)  # within torch.func.grad and vmap, by the numbers below
            if _is_readable(tensor):
                with temporarily_clear_interpreter_stack():
                    self._take(tensor)
            return
        self.tally.in_forward = self.tally.in_forward or not recomputing
        self._take(tensor)

    def _take(self, output: Tensor) -> None:
        if not _C._len_torch_dispatch_stack():
            self._keep(output)
            return
        with _disable_current_modes():  # the user's, which are for his operations: selective checkpointing would keep our results
            self._keep(output)

    def _keep(self, output: Tensor) -> None:
        self.tally.take(output if type(output) is Tensor else _without_class(output))
        if len(self.tally.taken) >= _MOST_TAKEN:
            self.probe.count_taken()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, str]]:
        return getattr, (contextlib.nullcontext(), "__exit__")  # takes three arguments and returns None; needs no adaptlr


def _plain(tensor: Tensor) -> Tensor:
    """The tensor below what torch.func's transforms have wrapped around it; vmap's batch is a dimension of it."""
    while _functorch.is_functorch_wrapped_tensor(tensor):
        tensor = _functorch.get_unwrapped(tensor)
    return tensor


def _without_class(tensor: Tensor) -> Tensor:
    """As a plain tensor, so that no method of the subclass is called any more."""
    if hasattr(tensor, "trigger_wait"):
        tensor = tensor.trigger_wait()  # type: ignore[attr-defined]  # of tensor parallelism: on its way between ranks
    with _C.DisableTorchFunctionSubclass():
        return tensor.detach().as_subclass(Tensor)


def _is_readable(tensor: Tensor) -> bool:
    """It is dense and floating-point, and has numbers where it says: most subclasses that dispatch by themselves (FakeTensor,
    MaskedTensor, DTensor) have not."""
    kind: Any = type(tensor)
    if kind is not Tensor and kind.__torch_dispatch__ is not _NO_DISPATCH and not hasattr(kind, "trigger_wait"):
        return False
    return tensor.is_floating_point() and tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_nested)


def _first_floating(output: Any, depth: int = 0) -> Tensor | None:
    """The first readable tensor in nested tuples, lists, mappings (transformers' outputs are) and dataclasses."""
    if isinstance(output, Tensor):
        return output if _is_readable(output) else None
    if isinstance(output, Mapping):
        parts: Sequence[Any] = list(output.values())
    elif isinstance(output, tuple | list):
        parts = output
    elif hasattr(type(output), "__dataclass_fields__"):  # of the class: what an object answers is its own affair
        parts = [getattr(output, field.name, None) for field in dataclasses.fields(output)]
    else:
        return None
    if depth == _DEEPEST:
        return None
    return next((t for t in (_first_floating(part, depth + 1) for part in parts) if t is not None), None)
