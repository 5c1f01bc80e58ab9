"""Clips as log-mel spectrograms with their tags: rendered from sound fonts, or read from FSDKaggle2019's curated set."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import wavfile
from tqdm import tqdm

from experiments.audio_tagging.instruments import INSTRUMENTS, TAGS
from experiments.audio_tagging.mel import FLOOR, HIGHEST, HOP, LOWEST, MELS, WINDOW, log_mel
from experiments.audio_tagging.render import RATE, Clip, compose, font_path, render

CROP = 128  # frames; a spectrogram that is shorter is padded with its minimum
_VERSION = 2  # of the rendering: a change of the code behind a cached file has to change this
_CHUNK = 1000


@dataclass(frozen=True)
class Clips:
    """``mels``: one byte array ``[128, frames]`` a clip, of any length of 128 and more. ``tags``: bool ``[clips, n_tags]``."""

    mels: tuple[NDArray[np.uint8], ...]
    tags: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.mels)

    def pick(self, index: NDArray[np.int64]) -> Clips:
        return Clips(tuple(self.mels[i] for i in index), self.tags[index])


@dataclass(frozen=True)
class AudioData:
    """Training clips, and test sets by name; ``tag_names`` has a name a column."""

    train: Clips
    tests: dict[str, Clips]
    tag_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Sizes of the rendered set. Train and test come from different seeds; ``n_other`` clips of the test from another font."""

    n_train: int = 2816
    n_test: int = 640
    n_other: int = 640
    seed: int = 2019

    def load(self, cache: Path) -> AudioData:
        """Render, or read what an earlier call has rendered into ``cache``."""
        train = _rendered(cache, self.n_train, self.seed, "fluid")
        tests = {"test": _rendered(cache, self.n_test, self.seed + 1, "fluid")}
        tests["other font"] = _rendered(cache, self.n_other, self.seed + 2, "musescore")
        return AudioData(train, tests, TAGS)


def _rendered(cache: Path, n: int, seed: int, font: str) -> Clips:
    made_of = [
        _VERSION,
        n,
        seed,
        str(font_path(font)),
        [MELS, HOP, WINDOW, LOWEST, HIGHEST, FLOOR],
        [asdict(i) for i in INSTRUMENTS],
    ]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:12]
    file = cache / f"{font}-{n}-{key}.npz"
    if not file.exists():
        clips = compose(n, seed)
        mels = [log_mel(a) for part in _chunks(clips, n, font) for a in render(part, font)]
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez_compressed(part, mels=np.stack(mels), tags=tags_of(clips))
        part.rename(file)
    with np.load(file) as saved:
        return Clips(tuple(saved["mels"]), saved["tags"])


def _chunks(clips: Sequence[Clip], n: int, font: str) -> tqdm[list[Clip]]:
    return tqdm([list(clips[at : at + _CHUNK]) for at in range(0, n, _CHUNK)], desc=f"rendering {n} clips ({font})")


def tags_of(clips: Sequence[Clip]) -> NDArray[np.bool_]:
    tags = np.zeros((len(clips), len(INSTRUMENTS)), bool)
    for row, clip in zip(tags, clips, strict=True):
        row[[part.instrument for part in clip]] = True
    return tags


def fsdkaggle2019(folder: Path, *, test_share: float = 0.2, seed: int = 2019) -> AudioData:
    """The curated set of Freesound Audio Tagging 2019: ``train_curated/*.wav`` and ``train_curated.csv`` (fname, labels).

    Raises:
        FileNotFoundError: the folder lacks one of them, or a clip.
        ValueError: a column is missing, or a clip is not sampled at 44.1 kHz.
    """
    table, sounds = folder / "train_curated.csv", folder / "train_curated"
    for wanted in (table, sounds):
        if not wanted.exists():
            raise FileNotFoundError(
                f"{wanted} does not exist: download FSDKaggle2019 (https://zenodo.org/records/3612637), and name the folder that "
                f"holds train_curated.csv and train_curated/*.wav"
            )
    with table.open(newline="") as file:
        reader = csv.DictReader(file)
        if not {"fname", "labels"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{table} has the columns {reader.fieldnames}, expected fname and labels")
        rows = [(row["fname"], row["labels"].split(",")) for row in reader]
    names = tuple(sorted({tag for _, tags in rows for tag in tags}))
    tags = np.array([[name in mine for name in names] for _, mine in rows])
    mels = tuple(log_mel(_samples(sounds / fname)) for fname, _ in tqdm(rows, desc="reading clips"))
    every = Clips(tuple(_padded(m) for m in mels), tags)
    order = np.random.default_rng(seed).permutation(len(rows))
    n_test = max(1, round(test_share * len(rows)))
    return AudioData(every.pick(order[n_test:]), {"test": every.pick(order[:n_test])}, names)


def _samples(path: Path) -> NDArray[np.float32]:
    rate, raw = wavfile.read(path)
    if rate != RATE:
        raise ValueError(f"{path} is sampled at {rate} Hz, expected {RATE}: convert it, or take the data set's original files")
    scale = np.iinfo(raw.dtype).max if np.issubdtype(raw.dtype, np.integer) else 1.0
    samples = raw.astype(np.float32) / scale
    return samples.mean(1) if samples.ndim == 2 else samples


def _padded(mel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    missing = max(0, CROP - mel.shape[1])
    return np.pad(mel, ((0, 0), (missing // 2, missing - missing // 2)), constant_values=int(mel.min()))
