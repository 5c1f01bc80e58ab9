"""Log-mel spectrograms as the contest's kernels made them: 128 mels, 44.1 kHz, hop 347, window 2560, 20 to 22,050 Hz, decibels."""

from __future__ import annotations

import librosa
import numpy as np
from numpy.typing import NDArray

from experiments.audio_tagging.render import RATE

MELS, HOP, WINDOW = 128, 347, 2560
LOWEST, HIGHEST = 20.0, RATE / 2


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """One clip's samples ``[n]`` -> ``[128, frames]``: decibels, stretched from minimum to maximum as bytes."""
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_mels=MELS, hop_length=HOP, n_fft=WINDOW, fmin=LOWEST, fmax=HIGHEST, power=2.0
    )
    decibels = librosa.power_to_db(power, ref=np.max, top_db=80.0)
    low, high = float(decibels.min()), float(decibels.max())
    return np.round(255 * (decibels - low) / max(high - low, 1e-6)).astype(np.uint8)
