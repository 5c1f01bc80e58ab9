"""What adaptlr needs of an optimizer, and the answer for ``torch.optim``. An adapter brings its own for other kinds."""

from __future__ import annotations

import functools
import itertools
import math
import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

#: torch optimizers in which ``weight_decay`` is part of the gradient, which is normalised before it is multiplied by lr: such a
#: decay shrinks nothing by itself. In all others it multiplies weights by ``1 - lr x decay``; Adam's kin have that as an option.
_NORMALISED = ("Adam", "Adamax", "RMSprop", "Adagrad", "Adadelta", "Rprop", "SparseAdam")
_FIRST_STEPS = 8  # in which an optimizer shows what it writes into its groups


@runtime_checkable
class OptimizerPort(Protocol):
    """An optimizer as the controller sees it: groups of parameters, a learning rate each, and a step with a before and an after."""

    def params(self) -> list[list[nn.Parameter]]:
        """The parameters of each group, in order."""
        ...

    def lrs(self) -> list[float]:
        """Each group's learning rate as the user's code last wrote it."""
        ...

    def weight_decays(self) -> list[float]:
        """Each group's decoupled weight decay: the share of a weight, over lr, that a step removes. 0 where there is none."""
        ...

    def multiply_lr(self, scales: Sequence[float]) -> Callable[[], None]:
        """Multiply each group's lr by its scale, and return what puts the very same values back. A scale of 1 touches nothing."""
        ...

    def watch_steps(
        self, before: Callable[[], None], after: Callable[[], None], failed: Callable[[], None] = lambda: None
    ) -> Callable[[], None]:
        """Have ``before`` and ``after`` called around every step; returns what ends that.

        If a step raises, ``failed`` is called in place of ``after``, before anyone can catch the error; also after one that has
        changed nothing since a GradScaler found an overflow, where that can be known without waiting for a device.
        """
        ...

    def has_stepped(self) -> bool:
        """Its state tells of steps that were made before. A kind that keeps none, as SGD without momentum, never says so."""
        ...

    def skips(self) -> Tensor | None:
        """Within a step, or within ``after``: a scalar on the device, above 0 if a GradScaler makes this step change nothing."""
        ...

    def capture(self) -> Any:
        """A copy of the optimizer's state (moments, counts), but not of its hyperparameters: the schedule stays the user's."""
        ...

    def restore(self, state: Any) -> None:
        """Put back what :meth:`capture` gave. May be called any number of times."""
        ...

    def pack(self, state: Any) -> Any:
        """What :meth:`capture` gave, as plain containers and tensors, with numbers in place of parameters."""
        ...

    def unpack(self, packed: Any) -> Any:
        """What :meth:`pack` gave, perhaps in another process, for :meth:`restore`."""
        ...


def copy_tensors(value: Any, device: torch.device | None = None) -> Any:
    """A deep copy of nested containers in which every tensor is detached and cloned (onto ``device`` if one is given)."""
    if isinstance(value, Tensor):
        return value.detach().clone() if device is None else value.detach().to(device, copy=True)
    if isinstance(value, dict):
        return {k: copy_tensors(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(copy_tensors(v, device) for v in value)
    return deepcopy(value)


def tells_of_steps(state: Mapping[str, Any]) -> bool:
    """What an optimizer keeps of a parameter: a count of steps, or else averages. Some begin both before any step.

    Of averages whose parts lie on several ranks it counts that they are there: every rank has to say the same.
    """
    count = state.get("step")
    if isinstance(count, int | float | Tensor):
        return float(count) > 0
    averages = [v for v in state.values() if isinstance(v, Tensor)]
    return any(hasattr(v, "to_local") or bool(v.count_nonzero()) for v in averages)


def by_number(states: Iterable[tuple[Tensor, Any]], groups: Sequence[Sequence[nn.Parameter]]) -> list[list[Any]]:
    """Each parameter's state with the parameter's number in place of itself: an order that another process has too."""
    number: dict[Tensor, int] = {p: i for i, p in enumerate(itertools.chain.from_iterable(groups))}
    return [[number[p], saved] for p, saved in states if p in number]


def by_parameter(
    packed: Iterable[Sequence[Any]], groups: Sequence[Sequence[nn.Parameter]], device: torch.device | None
) -> list[tuple[nn.Parameter, Any]]:
    """What :func:`by_number` gave, for these parameters; copied to ``device``, or beside each parameter."""
    params = list(itertools.chain.from_iterable(groups))
    return [(params[i], copy_tensors(saved, device or params[i].device)) for i, saved in packed]


def put_back(saved: Any, current: Any) -> Any:
    """``saved`` as a fresh copy, written into the tensors of ``current`` where shapes allow: captured graphs keep their memory."""
    if isinstance(saved, Tensor):
        if isinstance(current, Tensor) and current.shape == saved.shape and current.dtype == saved.dtype:
            with torch.no_grad():
                current.copy_(saved)
            return current
        return saved.detach().clone()
    if isinstance(saved, dict):
        old = current if isinstance(current, dict) else {}
        return {k: put_back(v, old.get(k)) for k, v in saved.items()}
    return copy_tensors(saved)


def peak_lrs(optimizer: torch.optim.Optimizer) -> list[float]:
    """The largest learning rate that the schedule gives each group, as torch's schedulers note it: ``max_lr`` is OneCycleLR's;
    a warm-up begins below ``initial_lr`` and ends there. CyclicLR notes its lowest alone."""
    return [float(group.get("max_lr", group.get("initial_lr", group["lr"]))) for group in optimizer.param_groups]


class TorchOptimizer:
    """A ``torch.optim.Optimizer``, watched through its own step hooks.

    Hyperparameters stay the user's: of the numbers in its groups only those go back that its own steps have been seen to write.

    Of one that wraps another (Accelerate's, SAM, Lookahead) the innermost is watched: it is the one that steps, whichever method of
    the wrapper is called, and at times does not. What the wrappers remember goes back with it.

    Args:
        optimizer: any optimizer with ``param_groups``, ``state`` and step hooks; lr may be a float or a tensor.
        device: where captured state is kept; None keeps it beside the original.

    Raises:
        ValueError: it has no step hooks, and nothing within it has; or a group has no learning rate, or is maximised.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device | None = None) -> None:
        *self._wrappers, self.optimizer = _layers(optimizer)
        for i, group in enumerate(self.optimizer.param_groups):
            _check_group(f"group {i} of {type(self.optimizer).__name__}", group)
        self._device = device
        self._written: set[str] = set()  # what its steps write into its groups, beside learning rates
        self._steps_looked_at = 0

    def params(self) -> list[list[nn.Parameter]]:
        return [list(g["params"]) for g in self.optimizer.param_groups]

    def lrs(self) -> list[float]:
        return [float(g["lr"]) for g in self.optimizer.param_groups]

    def weight_decays(self) -> list[float]:
        shrinks = _shrinks(type(self.optimizer))
        return [
            float(g.get("weight_decay", 0.0) or 0.0) if g.get("decoupled_weight_decay", shrinks) else 0.0
            for g in self.optimizer.param_groups
        ]

    def multiply_lr(self, scales: Sequence[float]) -> Callable[[], None]:
        if all(scale == 1.0 for scale in scales):
            return _nothing
        undo: list[Callable[[], None]] = []
        lrs = Counter(id(g["lr"]) for g in self.optimizer.param_groups)
        for group, scale in zip(self.optimizer.param_groups, scales, strict=False):
            if scale == 1.0:
                continue
            lr = group["lr"]
            if isinstance(lr, Tensor) and lrs[id(lr)] == 1:  # torch gives one tensor to all groups: that one is not written to
                undo.append(_scale_tensor(group, lr, scale))
            else:
                group["lr"] = scaled = lr * scale
                undo.append(functools.partial(_put_back_number, group, lr, scaled))

        def put_back_lr() -> None:
            for each in undo:
                each()

        return put_back_lr

    def watch_steps(
        self, before: Callable[[], None], after: Callable[[], None], failed: Callable[[], None] = lambda: None
    ) -> Callable[[], None]:
        begun = False
        numbers = list[dict[str, Any]]()

        def begins(*_: Any) -> None:
            nonlocal begun, numbers
            before()
            if not begun and self._steps_looked_at < _FIRST_STEPS:
                numbers = self._numbers()
            begun = True

        def ends(*_: Any) -> None:
            nonlocal begun, numbers
            if begun:  # torch calls hooks twice for a subclass whose step calls its parent's: the inner step is the one
                begun = False
                self._look_at_what_was_written(numbers)
                numbers = []
                skips = self.skips()
                if skips is not None and skips.device.type == "cpu" and skips > 0:
                    failed()
                else:
                    after()

        def fails() -> None:
            nonlocal begun
            begun = False
            failed()

        hide: Any = torch.compiler.disable  # a step may be compiled: what we do around it stays out of the graph
        pre, post = self.optimizer.register_step_pre_hook(hide(begins)), self.optimizer.register_step_post_hook(hide(ends))

        def innermost() -> None:
            """The user's own hooks, whenever they were made, see the learning rates and gradients that are theirs."""
            before_it: Any = self.optimizer._optimizer_step_pre_hooks  # ordered dictionaries
            after_it: Any = self.optimizer._optimizer_step_post_hooks
            if pre.id in before_it:
                before_it.move_to_end(pre.id)
            if post.id in after_it:
                after_it.move_to_end(post.id, last=False)

        innermost()
        leave = _stand_before(self.optimizer, hide(innermost), fails)

        def end() -> None:
            leave()
            pre.remove()
            post.remove()

        return end

    def has_stepped(self) -> bool:
        return any(tells_of_steps(self.optimizer.state[p]) for p in _kept_of(self.optimizer.state))

    def peak_lrs(self) -> list[float] | None:
        """As :func:`peak_lrs`, if one of torch's schedulers has been made for this optimizer; None if nothing is noted."""
        noted = all("initial_lr" in group for group in self.optimizer.param_groups)
        return peak_lrs(self.optimizer) if noted else None

    @property
    def searches_a_line(self) -> bool:
        """It finds the length of each step by itself, from the learning rate on."""
        return isinstance(self.optimizer, torch.optim.LBFGS) and all(g.get("line_search_fn") for g in self.optimizer.param_groups)

    def skips(self) -> Tensor | None:
        return getattr(self.optimizer, "found_inf", None)  # a GradScaler leaves it there while a fused optimizer steps

    def _numbers(self) -> list[dict[str, Any]]:
        """Each group's, but for its learning rate: hyperparameters, and what some optimizers remember there, as Prodigy does."""
        return [{k: v for k, v in g.items() if k != "lr" and isinstance(v, int | float)} for g in self.optimizer.param_groups]

    def _look_at_what_was_written(self, before: list[dict[str, Any]]) -> None:
        if before:
            self._steps_looked_at += 1
            for was, now in zip(before, self._numbers(), strict=True):
                self._written |= {k for k, v in now.items() if was.get(k, v) != v}

    def capture(self) -> Any:
        states = [[(p, copy_tensors(dict(own[p]), self._device)) for p in _kept_of(own)] for own in self._states()]
        return states, self._numbers()

    def restore(self, state: Any) -> None:
        states, numbers = state
        for group, saved in zip(self.optimizer.param_groups, numbers, strict=False):  # groups may have been added since
            group.update({k: saved[k] for k in self._written & saved.keys()})
        self._restore_states(states)

    def _restore_states(self, state: Any) -> None:
        held = {p for params in self.params() for p in params}
        for own, captured in list(zip(self._states(), state, strict=True)):
            copies = [(p, saved) for p, saved in captured if p in held or p in own]  # others have left since, replaced perhaps
            kept = {p for p, _ in copies}
            for p in [p for p in _kept_of(own) if p not in kept]:
                del own[p]
            for p, saved in copies:
                current = own[p]
                fresh = put_back(saved, current)
                current.clear()
                current.update(fresh)

    def pack(self, state: Any) -> Any:
        states, numbers = state
        return [[by_number(copies, self.params()) for copies in states], numbers]

    def unpack(self, packed: Any) -> Any:
        states, numbers = packed
        return [by_parameter(copies, self.params(), self._device) for copies in states], numbers

    def _states(self) -> list[Any]:
        """What the optimizer remembers of each parameter, and what its wrappers do, if they do so apart."""
        states = [self.optimizer.state, *(getattr(layer, "state", self.optimizer.state) for layer in reversed(self._wrappers))]
        return [s for i, s in enumerate(states) if not any(s is other for other in states[:i])]


def _check_group(which: str, group: Mapping[str, Any]) -> None:
    if group.get("lr") is None or group.get("relative_step"):
        raise ValueError(
            f"{which} uses no learning rate: it chooses its steps by itself, as Adafactor with relative_step=True does, and "
            f"nothing is to be put right. Give it one (with Adafactor: lr=1e-3, relative_step=False), or train without adaptlr"
        )
    if group.get("maximize"):
        raise ValueError(
            f"{which} has maximize=True, and adaptlr takes it that a loss comes down as training goes well: minimise the negative "
            f"of what is to grow, without maximize, which makes the same steps"
        )


def _kept_of(state: Mapping[Any, Any]) -> list[Tensor]:
    """The parameters of which something is kept. A wrapper may have counts of its own among them, which stay."""
    return [p for p, kept in state.items() if isinstance(p, Tensor) and isinstance(kept, Mapping)]


def _nothing() -> None:
    """What takes back no change."""


@functools.cache
def _shrinks(kind: type[torch.optim.Optimizer]) -> bool:
    """Its weight decay makes weights smaller by lr x decay, as far as its name tells."""
    return not any(c.__name__ in _NORMALISED for c in kind.__mro__)  # a user's own kind of RMSprop decays as RMSprop does


def _scale_tensor(group: dict[str, Any], lr: Tensor, scale: float) -> Callable[[], None]:
    """Multiply it in place, and return what puts it back. What the optimizer itself has multiplied it by meanwhile stays."""
    value = lr.detach().clone()
    with torch.no_grad():
        scaled = lr.mul_(scale).clone()

    def put_back() -> None:
        with torch.no_grad():
            lr.copy_(torch.where(lr == scaled, value, value * (lr / scaled)))
        group["lr"] = lr

    return put_back


def _put_back_number(group: dict[str, Any], lr: Any, scaled: Any) -> None:
    """As it was, unless the optimizer itself has written another within its step: that is a multiple of ours, or its own."""
    now = group["lr"]
    if now is scaled or isinstance(now, Tensor) or isinstance(lr, Tensor) or now == scaled:
        group["lr"] = lr
    elif min(now, scaled, lr) > 0 and abs(math.log(now / scaled)) < abs(math.log(now / lr)):
        group["lr"] = lr * (now / scaled)


def _stand_before(optimizer: torch.optim.Optimizer, begins: Callable[[], None], failed: Callable[[], None]) -> Callable[[], None]:
    """Have ``begins`` called before a step and its hooks, and ``failed`` when one raises; returns what ends that. torch has hooks
    for neither.

    A method in front of the optimizer's own, as schedulers put one there: theirs may stand before or behind it. Whoever takes the
    place away (Accelerate, after a step that was skipped) takes this call away, and nothing else.
    """
    plain, had_own, active = optimizer.step, "step" in vars(optimizer), True

    @functools.wraps(plain)  # schedulers look for their mark on it, and GradScaler at its signature
    def step(_: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        if active:
            begins()
        try:
            return plain(*args, **kwargs)
        except BaseException:
            if active:
                failed()
            raise

    ours = types.MethodType(step, optimizer)
    optimizer.step = ours  # type: ignore[method-assign]

    def end() -> None:
        nonlocal active
        active = False
        if vars(optimizer).get("step") is not ours:  # another has taken the place since, and calls through this one
            return
        if had_own:
            optimizer.step = plain  # type: ignore[method-assign]
        else:
            del optimizer.step

    return end


def _layers(optimizer: torch.optim.Optimizer) -> list[torch.optim.Optimizer]:
    """The optimizer, and what it wraps: an attribute that is an optimizer of the very same groups; the innermost last."""
    layers = [optimizer]
    while (inner := _wrapped(layers[-1])) is not None and inner not in layers:
        layers.append(inner)
    if not hasattr(layers[-1], "_optimizer_step_pre_hooks"):
        raise ValueError(
            f"{type(layers[-1]).__name__} has no step hooks, for its __init__ does not call that of torch.optim.Optimizer, "
            f"and holds no optimizer of the same param_groups that has them: give the optimizer whose step() changes the weights"
        )
    return layers


def _wrapped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer | None:
    groups = [id(group) for group in optimizer.param_groups]
    inner = (v for v in vars(optimizer).values() if isinstance(v, torch.optim.Optimizer))
    return next((o for o in inner if [id(group) for group in o.param_groups] == groups), None)
