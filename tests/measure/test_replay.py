"""When work is recorded and replayed. What a graph of a GPU does is in tests/test_cuda.py; here a list of calls stands for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from adaptlr.measure.replay import Replayed

GPU = torch.device("cuda")


class Bench:
    """Counts how often work was run, recorded and replayed."""

    def __init__(self, *, device: torch.device = GPU, fails: bool = False, most: int = 2) -> None:
        self.log: list[str] = []
        self.fails = fails
        self.replayed = Replayed(self.run, device, most=most, record=self.record)

    def run(self) -> str:
        self.log.append("run")
        return "result"

    def record(self, run: Callable[[], str], device: torch.device) -> tuple[Bench, str]:
        self.log.append("record")
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        return self, "recorded result"

    def replay(self) -> None:
        self.log.append("replay")


def test_the_third_call_for_the_same_places_records() -> None:
    bench = Bench()
    results = [bench.replayed(1) for _ in range(4)]
    assert bench.log == ["run", "run", "record", "replay", "replay"]
    assert results == ["result", "result", "recorded result", "recorded result"]


def test_other_places_are_another_recording_and_there_are_only_so_many() -> None:
    bench = Bench(most=2)
    for place in (1, 2, 3):
        for _ in range(4):
            bench.replayed(place)
    assert bench.log.count("record") == 2
    assert bench.log[-4:] == ["run"] * 4
    bench.replayed(1)
    assert bench.log[-1] == "replay"


def test_places_that_never_come_again_are_not_remembered_without_end() -> None:
    bench = Bench(most=2)
    for place in range(1000):
        bench.replayed(place)
    assert "record" not in bench.log
    assert len(bench.replayed._seen) <= 17


@pytest.mark.parametrize("calls", [3, 6])
def test_what_cannot_be_recorded_is_run(calls: int) -> None:
    bench = Bench(fails=True)
    assert {bench.replayed(1) for _ in range(calls)} == {"result"}
    assert bench.log.count("record") == 1
    assert bench.log.count("run") == calls


def test_on_a_cpu_it_is_run() -> None:
    bench = Bench(device=torch.device("cpu"))
    for _ in range(5):
        bench.replayed(1)
    assert bench.log == ["run"] * 5
