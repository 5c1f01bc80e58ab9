"""Two-second clips of recorded instruments: drawn by a seed, written as MIDI, played by fluidsynth from a sound font."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
from numpy.typing import NDArray

from experiments.audio_tagging.instruments import INSTRUMENTS

RATE = 44_100  # samples a second
SECONDS = 2.0
_SLOT_MS = 2_500  # of the one long piece that a shard is played as: clip, then silence
_SHARD = 1000  # clips a piece: the font is loaded once for each
_DRUM_CHANNEL = 9
_SOUND_OFF, _PAN = 120, 10  # MIDI controllers

# Debian's packages of the two fonts, and where they lie.
FONTS = {
    "fluid": ("fluid-soundfont-gm", ("/usr/share/sounds/sf2/FluidR3_GM.sf2",)),
    "musescore": (
        "musescore-general-soundfont",
        ("/usr/share/sounds/sf3/MuseScore_General.sf3",),
    ),
}


class MissingPackageError(RuntimeError):
    """A program or a sound font is not installed; the message names the package."""


@dataclass(frozen=True, kw_only=True)
class Note:
    key: int
    velocity: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, kw_only=True)
class Part:
    """One instrument in one clip."""

    instrument: int  # index of its tag
    pan: int  # 0 (left) to 127
    notes: tuple[Note, ...]


Clip = tuple[Part, ...]


def compose(n: int, seed: int) -> list[Clip]:
    """``n`` clips of one to three instruments (half of them of one alone). The same for the same seed."""
    rng = np.random.default_rng(seed)
    return [_clip(rng) for _ in range(n)]


def _clip(rng: np.random.Generator) -> Clip:
    chosen = rng.choice(len(INSTRUMENTS), size=int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2])), replace=False)
    return tuple(_part(rng, int(i)) for i in chosen)


def _part(rng: np.random.Generator, index: int) -> Part:
    instrument = INSTRUMENTS[index]
    starts = np.cumsum([rng.integers(0, 200), *rng.integers(150, 500, size=rng.integers(2, 6))])
    notes = tuple(
        Note(
            key=int(rng.integers(instrument.lowest, instrument.highest + 1)),
            velocity=int(rng.integers(70, 120)),
            start_ms=int(start),
            end_ms=int(min(start + rng.integers(150, 700), SECONDS * 1000 - 20)),
        )
        for start in starts
        if start < SECONDS * 1000 - 300
    )
    return Part(instrument=index, pan=int(rng.integers(20, 108)), notes=notes)


def render(clips: Sequence[Clip], font: str) -> NDArray[np.float32]:
    """Mono samples ``[clips, 88200]``, each clip scaled to a peak of 1.

    Raises:
        MissingPackageError: fluidsynth or the font is not installed.
        RuntimeError: fluidsynth failed, or a clip is silent.
    """
    program, path = _program(), font_path(font)
    shards = [clips[at : at + _SHARD] for at in range(0, len(clips), _SHARD)]
    return np.concatenate([_play(shard, program, path) for shard in shards])


def font_path(font: str) -> Path:
    package, places = FONTS[font]
    for place in places:
        if Path(place).is_file():
            return Path(place)
    raise MissingPackageError(f"the sound font {places[0]} is missing: install it with `apt-get install {package}`")


def _program() -> str:
    found = shutil.which("fluidsynth")
    if found is None:
        raise MissingPackageError("the program fluidsynth is missing: install it with `apt-get install fluidsynth`")
    return found


def _play(clips: Sequence[Clip], program: str, font: Path) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder:
        score, sound = Path(folder, "clips.mid"), Path(folder, "clips.raw")
        piece(clips).save(str(score))
        options = ["-n", "-i", "-q", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(RATE), "-T", "raw", "-O", "float"]
        done = subprocess.run(
            [program, *options, "-F", str(sound), str(font), str(score)], capture_output=True, text=True, check=False
        )
        # What it cannot load it names on stderr, and plays with another font instead, returning 0.
        if done.returncode or "fluidsynth: error" in done.stderr or not sound.exists():
            raise RuntimeError(f"fluidsynth failed with {done.returncode} on {font}: {done.stderr.strip()[-500:]}")
        mono = np.fromfile(sound, np.float32).reshape(-1, 2).mean(1)
    slot, length = RATE * _SLOT_MS // 1000, int(RATE * SECONDS)
    mono = np.pad(mono, (0, max(0, slot * len(clips) - len(mono))))
    cut = np.stack([mono[i * slot : i * slot + length] for i in range(len(clips))])
    peaks = np.abs(cut).max(1)
    silent = np.flatnonzero(peaks < 1e-4)
    if len(silent):
        tags = [INSTRUMENTS[p.instrument].tag for p in clips[silent[0]]]
        raise RuntimeError(
            f"{len(silent)} of {len(clips)} clips are silent, the first is of {tags}: does {font} hold General MIDI?"
        )
    return (cut / peaks[:, None]).astype(np.float32)


def piece(clips: Sequence[Clip]) -> mido.MidiFile:
    """All clips one after another, at one tick a millisecond, every channel silenced before the next begins."""
    events: list[tuple[int, int, mido.Message]] = []  # ms, order among equals, message
    for i, clip in enumerate(clips):
        at = i * _SLOT_MS
        tonal = iter(range(_DRUM_CHANNEL))
        for part in clip:
            instrument = INSTRUMENTS[part.instrument]
            channel = _DRUM_CHANNEL if instrument.program is None else next(tonal)
            if instrument.program is not None:
                events.append((at, 0, mido.Message("program_change", channel=channel, program=instrument.program)))
                events.append((at, 1, mido.Message("control_change", channel=channel, control=_PAN, value=part.pan)))
            for note in part.notes:
                on = mido.Message("note_on", channel=channel, note=note.key, velocity=note.velocity)
                events.append((at + note.start_ms, 3, on))
                events.append((at + note.end_ms, 2, mido.Message("note_off", channel=channel, note=note.key)))
            quiet = mido.Message("control_change", channel=channel, control=_SOUND_OFF, value=0)
            events.append((at + int(SECONDS * 1000), 4, quiet))
    events.append((len(clips) * _SLOT_MS, 5, mido.Message("control_change", channel=0, control=_SOUND_OFF, value=0)))
    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    last = 0
    for at, _, message in sorted(events, key=lambda e: e[:2]):
        track.append(message.copy(time=at - last))
        last = at
    return mido.MidiFile(ticks_per_beat=500, tracks=[track])
