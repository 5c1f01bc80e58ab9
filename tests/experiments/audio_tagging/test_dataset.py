"""Spectrograms against librosa's own, and the contest's folder against folders that are made up here."""

from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import wavfile

from experiments.audio_tagging.dataset import fsdkaggle2019
from experiments.audio_tagging.mel import log_mel


def chirp(n: int) -> NDArray[np.float32]:
    tone = librosa.chirp(fmin=100, fmax=15_000, sr=44_100, length=n)
    return (0.5 * tone + 0.01 * np.random.default_rng(0).standard_normal(n)).astype(np.float32)


class TestLogMel:
    def test_it_is_what_librosa_makes(self) -> None:
        samples = chirp(88_200)
        power = librosa.feature.melspectrogram(y=samples, sr=44_100, n_mels=128, hop_length=347, n_fft=2560, fmin=20, fmax=22_050)
        decibels = librosa.power_to_db(power, ref=np.max)
        wanted = 255 * (decibels - decibels.min()) / (decibels.max() - decibels.min())
        made = log_mel(samples)
        assert made.dtype == np.uint8
        assert made.shape == (128, 255)
        assert np.abs(made - wanted).max() <= 1

    def test_it_is_stretched_over_all_bytes_however_loud(self) -> None:
        made = log_mel(chirp(60_000))
        assert (made.min(), made.max()) == (0, 255)
        assert np.abs(made.astype(int) - log_mel(np.float32(0.1) * chirp(60_000))).max() <= 1


class TestFSDKaggle2019:
    def folder(
        self, at: Path, clips: dict[str, np.ndarray], labels: list[str], *, rate: int = 44_100, header: str = "fname,labels"
    ) -> Path:
        (at / "train_curated").mkdir()
        for name, samples in clips.items():
            wavfile.write(at / "train_curated" / name, rate, samples)
        lines = [f'{name},"{tags}"' for name, tags in zip(clips, labels, strict=True)]
        (at / "train_curated.csv").write_text("\n".join([header, *lines]) + "\n")
        return at

    def test_clips_of_any_length_and_their_tags(self, tmp_path: Path) -> None:
        long, short = ((32_000 * chirp(n)).astype(np.int16) for n in (88_200, 20_000))
        clips = {"a.wav": long, "b.wav": short, "c.wav": np.stack([long, long], 1)}
        data = fsdkaggle2019(self.folder(tmp_path, clips, ["Bark", "Bark,Meow", "Meow"]), test_share=0.34)
        assert data.tag_names == ("Bark", "Meow")
        assert (len(data.train), len(data.tests["test"])) == (2, 1)
        every = {m.shape[1]: t for c in (data.train, data.tests["test"]) for m, t in zip(c.mels, c.tags, strict=True)}
        assert set(every) == {128, 255}, "a short clip is padded to a crop"
        assert every[128].tolist() == [True, True]
        mels = [m for c in (data.train, data.tests["test"]) for m in c.mels if m.shape[1] == 255]
        assert np.abs(mels[0].astype(int) - mels[1]).max() <= 1, "a stereo clip is averaged"

    def test_another_rate_is_an_error_that_names_the_file(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path, {"a.wav": np.zeros(9000, np.int16)}, ["Bark"], rate=22_050)
        with pytest.raises(ValueError, match=r"a\.wav is sampled at 22050 Hz, expected 44100"):
            fsdkaggle2019(folder)

    def test_a_missing_column_is_an_error(self, tmp_path: Path) -> None:
        folder = self.folder(tmp_path, {"a.wav": np.zeros(9000, np.int16)}, ["Bark"], header="file,labels")
        with pytest.raises(ValueError, match=r"\['file', 'labels'\], expected fname and labels"):
            fsdkaggle2019(folder)

    def test_a_missing_folder_says_what_to_download(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"train_curated\.csv does not exist: download FSDKaggle2019"):
            fsdkaggle2019(tmp_path)
