"""What is said of each number that may be set: in help, and where one is refused."""

from __future__ import annotations

import dataclasses
import pydoc
import re
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from adaptlr import Sampling, Settings, Thresholds
from adaptlr.ranges import Least, Share, check, default, explained, meanings_of, ranges_of

KINDS = [Thresholds, Settings, Sampling]
FIELDS = [pytest.param(kind, f, id=f"{kind.__name__}-{f.name}") for kind in KINDS for f in dataclasses.fields(kind)]


def shown(kind: type) -> str:
    """The text of ``help(kind)``, in one line."""
    return " ".join(pydoc.plain(pydoc.render_doc(kind)).replace("|", " ").split())


class TestEachNumber:
    @pytest.mark.parametrize("kind", KINDS)
    def test_has_a_range_and_a_meaning_of_its_own(self, kind: type) -> None:
        names = [f.name for f in dataclasses.fields(kind)]
        meanings = meanings_of(kind)
        assert [*meanings] == names == [*ranges_of(kind)]
        assert len(set(meanings.values())) == len(names)
        unclear = re.compile(r"^$|\.$|^(the same|likewise|that|so many)\b")
        assert {name: text for name, text in meanings.items() if unclear.search(text)} == {}

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_in_help_with_default_range_and_meaning(self, kind: type) -> None:
        text = shown(kind).replace(" ", "")  # as help breaks |a| up, too
        for f in dataclasses.fields(kind):
            value = f"{f.default:.3g}" if isinstance(f.default, float) else f.default
            line = f"{f.name} = {value}, of {ranges_of(kind)[f.name]}: {meanings_of(kind)[f.name]}."
            assert line.replace(" ", "").replace("|", "") in text

    @pytest.mark.parametrize(("kind", "f"), FIELDS)
    def test_is_quoted_where_it_is_refused(self, kind: Any, f: dataclasses.Field[Any]) -> None:
        within, meaning = ranges_of(kind)[f.name], meanings_of(kind)[f.name]
        below = within.low - 1
        with pytest.raises(ValueError, match=re.escape(f"{f.name} must lie in {within}, got {below!r}: {meaning}") + "$"):
            kind(**{f.name: below})
        with pytest.raises(TypeError, match=re.escape(f"{f.name} must be a number, got '1': {meaning}") + "$"):
            kind(**{f.name: "1"})


def test_thresholds_are_grouped_by_rule() -> None:
    text = Thresholds.__doc__ or ""
    found = re.findall(r"^    ---- (.*)$|^    (\w+) = ", text, flags=re.MULTILINE)
    sections = {section: [] for section, _ in found if section}
    now = ""
    for section, name in found:
        now = section or now
        if name:
            sections[now].append(name)
    assert sections["weight decay that does the work of the gradient: cold.decay_dominated"] == ["decay_share", "decay_per_step"]
    assert len(sections) > 10
    assert all(sections.values())


class TestExplained:
    def test_comes_before_what_is_raised(self) -> None:
        @explained
        @dataclass(frozen=True)
        class Limits:
            """What is too much.

            Raises:
                ValueError: it is out of range.
            """

            wide: Annotated[int | None, Least(0, upto=9)] = default(None, "metres")
            high: Share = default(1 / 3, "storeys", section="upwards")

        assert (Limits.__doc__ or "").split("\n") == [
            "What is too much.",
            "",
            "Args:",
            "    wide = None, of [0, 9]: metres.",
            "",
            "    ---- upwards",
            "",
            "    high = 0.333, of (0, 1]: storeys.",
            "",
            "Raises:",
            "    ValueError: it is out of range.",
        ]
        check(Limits())
        with pytest.raises(ValueError, match=r"high must lie in \(0, 1\], got 2: storeys$"):
            check(Limits(high=2))

    def test_a_field_that_says_nothing_is_refused(self) -> None:
        @dataclass(frozen=True)
        class Mute:
            wide: Share = 1.0

        with pytest.raises(KeyError, match="section"):
            explained(Mute)
