"""The nouns of the benchmark: a column, a plan of learning rates, a cell."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # the learning rates that a column's oracle is taken from
N_GROUPS = 3  # parameter groups of a discriminative plan, in forward order


@dataclass(frozen=True, kw_only=True, order=True)
class Column:
    """What stays the same while the learning rate goes wrong.

    >>> Column(task="digits", net="mlp", optimizer="sgd", schedule="flat").name
    'digits/mlp/sgd/flat'
    """

    task: str
    net: str
    optimizer: str
    schedule: str

    @property
    def name(self) -> str:
        return f"{self.task}/{self.net}/{self.optimizer}/{self.schedule}"

    @property
    def half(self) -> str:
        return half(self.name)

    @staticmethod
    def parse(name: str) -> Column:
        """The column of that name.

        Raises:
            ValueError: the name has not four parts.
        """
        parts = name.split("/")
        if len(parts) != 4:
            raise ValueError(f"a column is task/net/optimizer/schedule, got {name!r}")
        return Column(task=parts[0], net=parts[1], optimizer=parts[2], schedule=parts[3])


def half(column: str) -> str:
    """The half that a column's name falls in: settings may be tuned on the even hashes, never on the odd ones.

    >>> half("digits/mlp/sgd/flat"), half("digits/resnet/adam/flat")
    ('held-out', 'held-out')
    """
    return "held-out" if zlib.crc32(column.encode()) % 2 else "tuned"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The learning rates of a run: one for all weights, or one for each of three groups in forward order."""

    name: str
    lrs: tuple[float, ...]
    kind: str = "grid"  # "grid", "starving", "hot group" or "edge"
    hot_group: int | None = None


def uniform(lr: float) -> Plan:
    return Plan(name=f"{lr:g}", lrs=(lr,))


#: fastai's ``slice(1e-6, 1e-2)``, spread evenly on a log scale: right for a pretrained net, ruinous for these.
SLICE = Plan(name="slice(1e-6,1e-2)", lrs=(1e-6, 1e-4, 1e-2), kind="starving")
REVERSED = Plan(name="slice(1e-2,1e-6)", lrs=(1e-2, 1e-4, 1e-6), kind="starving")
HOT_FACTOR = 100.0


def hot_group(good: float, group: int = 1) -> Plan:
    """The middle group at a hundred times the learning rate that is good for the column, the others at the good one."""
    lrs = tuple(good * HOT_FACTOR if g == group else good for g in range(N_GROUPS))
    return Plan(name="hot-group", lrs=lrs, kind="hot group", hot_group=group)


def edge(top: float, factor: float) -> Plan:
    """Some way above the largest healthy decade, the edge of stability: where a run still is healthy, stepping in is the fault."""
    return Plan(name=f"edge-x{factor:g}", lrs=(top * factor,), kind="edge")


#: A method that fixes its own learning rate is given none.
OWN = Plan(name="own", lrs=(), kind="own")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run but for the method: weights and batches depend on the seed alone."""

    column: Column
    plan: Plan
    seed: int
    fault: str = "none"  # a late break, by its name in faults.FAULTS

    @property
    def name(self) -> str:
        lrs = ",".join(f"{lr:g}" for lr in self.plan.lrs)
        return f"{self.column.name}/{self.plan.name}@{lrs}/{self.fault}/{self.seed}"
