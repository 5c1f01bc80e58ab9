"""adaptlr with one of its rules off: what each of them is worth."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import ClassVar
from unittest.mock import patch

import adaptlr.controller
from adaptlr.act.snapshot import Ring
from adaptlr.judge import cold, control, heat, policy
from adaptlr.judge.control import Settings
from experiments.gauntlet.job import Job
from experiments.gauntlet.methods.adapt import AdaptLR


class Without(AdaptLR):
    """One rule is off from the controller's making to the run's end."""

    by_default: ClassVar[bool] = False
    off: ClassVar[str]

    def __init__(self, job: Job) -> None:
        self._patch = _OFF[self.off]()
        self._patch.__enter__()
        self._patched = True
        try:
            super().__init__(job)
        except BaseException:
            self._unpatch()
            raise

    def close(self) -> None:
        super().close()
        self._unpatch()

    def _unpatch(self) -> None:
        if self._patched:
            self._patched = False
            self._patch.__exit__(None, None, None)


def _never(*_: object, **__: object) -> None:
    """In place of a rule."""


def _hot_rule(rule: heat.Rule) -> Callable[[], AbstractContextManager[object]]:
    return lambda: patch.object(heat, "RULES", tuple(r for r in heat.RULES if r is not rule))


def _as_set(ceiling: float, _: float) -> float:
    return ceiling


def _untouched(_: Settings, groups: tuple[control.GroupControl, ...], *__: object) -> tuple[control.GroupControl, ...]:
    return groups


def _no_acquittal(held: control.Control, *_: object) -> tuple[control.Control, None]:
    return held, None


_OFF: dict[str, Callable[[], AbstractContextManager[object]]] = {
    **{rule.__name__.replace("_", "-"): _hot_rule(rule) for rule in heat.RULES},
    "starved": lambda: patch.object(cold, "starved", _never),
    "too-cold": lambda: patch.object(cold, "too_cold", _never),
    "way": lambda: patch.object(cold, "short_way", _never),
    "walk": lambda: patch.object(cold, "_walks", _never),
    "slack": lambda: patch.object(cold, "slack", _never),
    "loosened": lambda: _both(policy, control, name="loosened", new=_as_set),
    "anneal": lambda: patch.object(adaptlr.controller, "annealed", _untouched),
    "acquittal": lambda: patch.object(adaptlr.controller, "acquit", _no_acquittal),
    "snapshots": lambda: patch.object(Ring, "due", lambda ring, _: not len(ring)),
}


def _both(*places: object, name: str, new: object) -> AbstractContextManager[object]:
    stack = ExitStack()
    for place in places:
        stack.enter_context(patch.object(place, name, new))
    return stack


ABLATIONS: tuple[type[Without], ...] = tuple(
    type(
        f"Without_{name}",
        (Without,),
        {"name": f"without-{name}", "off": name, "settings": f"as adaptlr, with {name} off", "__module__": __name__},
    )
    for name in _OFF
)
