"""Work on a GPU that is the same at every step: recorded once, as a CUDA graph, and from then on one launch.

A small net's step on a fast GPU is as long as the host takes to launch its kernels, and hundreds of small ones of ours would be
added to those of the user.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch

T = TypeVar("T")


class Graph(Protocol):
    """What :func:`record` gives: :class:`torch.cuda.CUDAGraph`."""

    def replay(self) -> None: ...


class _Recording(NamedTuple):
    graph: Graph
    result: object  # stays where it is: each replay writes it anew


def record(run: Callable[[], T], device: torch.device) -> tuple[Graph, T]:
    """The launches of ``run``, none of which is made now, and what it returns, to be filled by the graph's replays.

    Raises:
        RuntimeError: it cannot be recorded. Random numbers are drawn after that as before.
    """
    with torch.cuda.device(device):
        generator = torch.cuda.default_generators[torch.cuda.current_device()]
        state = generator.get_state()
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                graph.capture_begin(capture_error_mode="thread_local")  # other threads may do as they like
                try:
                    result = run()
                finally:
                    graph.capture_end()
        except RuntimeError:
            # torch leaves the user's generator as if it were being recorded still: another in its place, in the state that it had.
            generator.graphsafe_set_state(torch.Generator(device).set_state(state))
            raise
        torch.cuda.current_stream().wait_stream(stream)
    return graph, result


class Replayed(Generic[T]):
    """A function of tensors that stay where they are, recorded when it is called a third time for the same places.

    Before that, and wherever recording fails (another allocator, an old driver), it is called as it is. What it returns is
    overwritten by the next call: copy what is to be kept.

    Args:
        run: launches on ``device``, waits for nothing, and draws no random number.
        device: a CUDA device; on any other all calls are made as they are.
        most: recordings held, for as many sets of places.
    """

    def __init__(
        self,
        run: Callable[[], T],
        device: torch.device,
        *,
        most: int = 4,
        record: Callable[[Callable[[], T], torch.device], tuple[Graph, T]] = record,
    ) -> None:
        self._run, self._device, self._most, self._record = run, device, most, record
        self._seen: dict[Hashable, int] = {}
        self._recordings: dict[Hashable, _Recording] = {}
        self._gave_up = device.type != "cuda"

    def __call__(self, places: Hashable) -> T:
        """Run it.

        Args:
            places: where all that it reads and writes lies. With others it is another recording.
        """
        recording = self._recordings.get(places)
        if recording is not None:
            recording.graph.replay()
            return recording.result  # type: ignore[return-value]
        if self._gave_up or not self._worth_it(places):
            return self._run()
        try:
            recording = _Recording(*self._record(self._run, self._device))
        except RuntimeError:
            self._gave_up = True
            return self._run()
        self._recordings[places] = recording
        recording.graph.replay()
        return recording.result  # type: ignore[return-value]

    def _worth_it(self, places: Hashable) -> bool:
        """These places have come twice before; the first calls have also loaded what the launches need."""
        if len(self._recordings) >= self._most:
            return False
        if len(self._seen) > 8 * self._most:  # they hardly ever come again
            self._seen.clear()
        self._seen[places] = self._seen.get(places, 0) + 1
        return self._seen[places] > 2
