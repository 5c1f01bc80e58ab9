"""What the demo shows while it runs: one progress bar with the time that is left, and, above it, what adaptlr says."""

from __future__ import annotations

import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from tqdm import tqdm

from adaptlr.controller import AdaptLRWarning


class Screen:
    """The bar, and lines above it. Without a terminal there are only the lines."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def step(self) -> None:
        """One more training step is done."""
        self._bar.update()

    def begin(self, name: str) -> None:
        """Name what is running now, beside the bar."""
        self._bar.set_description(name)

    def say(self, text: str) -> None:
        """A paragraph above the bar, broken into lines of the terminal's width."""
        width = min(shutil.get_terminal_size().columns, 110)
        self._bar.write("\n".join(textwrap.wrap(text, width, subsequent_indent="    ")), file=sys.stderr)


@contextmanager
def screen(steps: int) -> Iterator[Screen]:
    """A :class:`Screen` for ``steps`` training steps. Within, adaptlr's warnings are said on it, each text once a run."""
    form = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps, {elapsed} gone, {remaining} left"
    with tqdm(total=steps, bar_format=form, disable=None, dynamic_ncols=True, leave=False) as bar, warnings.catch_warnings():
        shown = Screen(bar)
        warnings.simplefilter("always", AdaptLRWarning)
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, AdaptLRWarning):
                shown.say(f"  {message}")
                return
            with bar.external_write_mode(file=sys.stderr):  # the bar steps aside
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield shown
