"""The sound of the clips. What needs fluidsynth and its fonts skips without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments.audio_tagging import dataset
from experiments.audio_tagging.dataset import Embedded, tags_of
from experiments.audio_tagging.instruments import INSTRUMENTS, TAGS
from experiments.audio_tagging.render import FONTS, MissingPackageError, Note, Part, compose, font_path, render


def missing() -> str:
    try:
        for font in FONTS:
            font_path(font)
    except MissingPackageError as error:
        return str(error)
    return "" if shutil.which("fluidsynth") else "fluidsynth is missing: install it with `apt-get install fluidsynth`"


needs_fluidsynth = pytest.mark.skipif(bool(missing()), reason=missing() or "all there")


def solo(index: int, key: int, *, start_ms: int = 0) -> tuple[Part, ...]:
    return (Part(instrument=index, pan=64, notes=(Note(key=key, velocity=90, start_ms=start_ms, end_ms=start_ms + 400),)),)


class TestScore:
    def test_there_are_80_tags_of_which_8_are_drums(self) -> None:
        assert len(TAGS) == len(set(TAGS)) == 80
        assert sum(i.program is None for i in INSTRUMENTS) == 8
        assert {i.program for i in INSTRUMENTS if i.program is not None} == {p for p in range(96) if p % 4 != 3}

    def test_clips_depend_on_the_seed_alone(self) -> None:
        assert compose(20, 1) == compose(20, 1)
        assert compose(20, 1) != compose(20, 2)

    def test_a_clip_has_one_to_three_instruments_within_its_two_seconds(self) -> None:
        clips = compose(300, 0)
        assert {len(clip) for clip in clips} == {1, 2, 3}
        for clip in clips:
            assert len({part.instrument for part in clip}) == len(clip)
            for part in clip:
                instrument = INSTRUMENTS[part.instrument]
                assert part.notes
                for note in part.notes:
                    assert instrument.lowest <= note.key <= instrument.highest
                    assert 0 <= note.start_ms < note.end_ms < 2000

    def test_tags_are_the_instruments(self) -> None:
        tags = tags_of([solo(3, 60), solo(79, 56)])
        assert [list(np.flatnonzero(row)) for row in tags] == [[3], [79]]


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingPackageError, match="apt-get install fluidsynth"):
        render(compose(1, 0), "fluid")


@pytest.mark.parametrize("font", FONTS)
def test_a_missing_font_names_its_package(font: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, _ = FONTS[font]
    monkeypatch.setitem(FONTS, font, (package, ("/nowhere/a.sf2",)))
    with pytest.raises(MissingPackageError, match=f"/nowhere/a.sf2 is missing: .*apt-get install {package}"):
        font_path(font)


@needs_fluidsynth
class TestSound:
    def test_the_same_seed_gives_the_same_bytes(self) -> None:
        first, again = (render(compose(6, seed=3), "fluid") for _ in range(2))
        assert first.shape == (6, 88_200)
        assert first.tobytes() == again.tobytes()
        assert np.abs(first).max(1) == pytest.approx(1)
        other = render(compose(6, seed=3), "musescore")
        assert np.median(np.abs(other - first).max(1)) > 0.1  # some of its instruments are the same recordings

    def test_a_note_sounds_when_the_score_says(self) -> None:
        piano = render([solo(0, 60, start_ms=at) for at in (0, 300, 700)], "fluid")
        onsets = [np.flatnonzero(np.abs(x) > 0.02)[0] / 44.1 for x in piano]
        assert onsets == pytest.approx([0, 300, 700], abs=30)

    def test_a_clip_holds_nothing_of_the_one_before(self) -> None:
        loud, alone = compose(6, seed=4)[3:5]
        after = render([loud] * 3 + [alone], "fluid")[3]
        assert np.corrcoef(after, render([alone], "fluid")[0])[0, 1] > 0.99

    def test_a_silent_clip_is_an_error(self) -> None:
        with pytest.raises(RuntimeError, match=r"silent, the first is of \['Electric Piano 2'\]"):
            render([(Part(instrument=4, pan=64, notes=()),)], "fluid")

    def test_a_file_that_is_no_font_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = tmp_path / "broken.sf2"
        broken.write_text("no font")
        monkeypatch.setitem(FONTS, "fluid", ("fluid-soundfont-gm", (str(broken),)))
        with pytest.raises(RuntimeError, match=r"broken\.sf2"):
            render(compose(1, 0), "fluid")

    def test_the_embedded_set_is_rendered_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes = Embedded(n_train=3, n_test=2, n_other=2)
        first = sizes.load(tmp_path)
        assert [len(c) for c in (first.train, *first.tests.values())] == [3, 2, 2]
        assert {m.shape for m in first.train.mels} == {(128, 255)}
        monkeypatch.setattr(dataset, "render", None)  # would fail if it were asked again
        again = sizes.load(tmp_path)
        assert all((a == b).all() for a, b in zip(first.train.mels, again.train.mels, strict=True))
        assert (first.train.tags == again.train.tags).all()
        assert not (first.tests["test"].tags == first.tests["other font"].tags).all()
