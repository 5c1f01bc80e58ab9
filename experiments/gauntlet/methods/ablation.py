"""adaptlr with one of its rules off: what each of them is worth."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from typing import ClassVar
from unittest.mock import patch

import adaptlr.controller
from adaptlr.act.snapshot import Ring
from adaptlr.judge import cold, control, heat, raises, retreat, shift, stalled, starved, turn
from adaptlr.judge.control import Settings
from adaptlr.judge.history import History
from adaptlr.judge.thresholds import Thresholds
from adaptlr.records import Finding, Reading
from experiments.gauntlet.job import Job
from experiments.gauntlet.methods.adapt import AdaptLR

WITHOUT = "without-"  # begins the name of a method that lacks one rule


class Without(AdaptLR):
    """One rule is off from the controller's making to the run's end."""

    by_default: ClassVar[bool] = False
    off: ClassVar[str]

    def __init__(self, job: Job) -> None:
        self._off = ExitStack()
        for place, name, stand_in in _OFF[self.off]:
            self._off.enter_context(patch.object(place, name, stand_in))
        with ExitStack() as on_error:
            on_error.callback(self._off.close)
            super().__init__(job)
            on_error.pop_all()

    def close(self) -> None:
        super().close()
        self._off.close()


def _never(*_: object, **__: object) -> None:
    """In place of a rule."""


def _as_set(ceiling: float, _: float) -> float:
    return ceiling


def _all_of_them(_: object, __: object, groups: tuple[int, ...]) -> tuple[int, ...]:
    return groups


def _untouched(_: Settings, groups: tuple[control.GroupControl, ...], *__: object) -> tuple[control.GroupControl, ...]:
    return groups


def _no_acquittal(held: control.Control, *_: object) -> tuple[control.Control, None]:
    return held, None


_search = cold._search


def _not_soon(history: History, reading: Reading, moving: object, limits: Thresholds, *, helped: bool) -> object:
    return _search(history, reading, moving, dataclasses.replace(limits, soon_frac=0.99), helped=helped)  # type: ignore[arg-type]


def _though_it_swings(history: History, reading: Reading, limits: Thresholds) -> Finding | None:
    return stalled.thrown(history, reading, dataclasses.replace(limits, swing=1.0))


def _no_shift(history: History, *_: object) -> tuple[History, None]:
    return history, None


def _only_the_first(ring: Ring, _: int, **__: object) -> bool:
    return not len(ring)


#: What stands in for a rule: places, names there and stand-ins.
_OFF: dict[str, tuple[tuple[object, str, object], ...]] = {
    **{
        rule.__name__.replace("_", "-"): ((kind, "RULES", tuple(r for r in kind.RULES if r is not rule)),)
        for kind in (heat, stalled)
        for rule in kind.RULES
    },
    "starved": ((starved, "starved", _never),),
    "too-cold": ((cold, "too_cold", _never),),
    "way": ((cold, "short_way", _never),),
    "walk": ((cold, "_walks", _never),),
    "soon": ((cold, "_search", _not_soon),),
    "idle": ((cold, "idle", _never),),
    "aligned": ((cold, "_aligned", _never),),
    "slack": ((cold, "slack", _never),),
    "swing": ((stalled, "RULES", tuple(_though_it_swings if r is stalled.thrown else r for r in stalled.RULES)),),
    "come-down": ((stalled, "_comes_down", _never),),
    "blame": ((heat, "_to_blame", _all_of_them),),
    "loosened": ((retreat, "loosened", _as_set), (raises, "loosened", _as_set), (control, "loosened", _as_set)),
    "anneal": ((adaptlr.controller, "annealed", _untouched),),
    "acquittal": ((turn, "acquit", _no_acquittal),),
    "come-back": ((heat, "_may_come_back", _never),),
    "slow-down": ((retreat, "worth_a_try", _never),),
    "undo": ((raises, "Raise", _never),),
    "outgrown": ((raises, "_has_outgrown", _never),),
    "shift": ((shift, "shift", _no_shift),),
    "batch-noise": ((History, "most_noise", 0.0),),
    "snapshots": ((Ring, "due", _only_the_first),),
}


ABLATIONS: tuple[type[Without], ...] = tuple(
    type(
        f"Without_{name}",
        (Without,),
        {"name": f"{WITHOUT}{name}", "off": name, "settings": f"as adaptlr, with {name} off", "__module__": __name__},
    )
    for name in _OFF
)
