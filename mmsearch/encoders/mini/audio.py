"""Samples to log-mel patches, the input of the audio tower (YAMNet's front end, in numpy).

25 ms Hann windows every 10 ms, magnitude of a 512-point FFT, 64 mel bands from 125 to 7,500 Hz, log(mel + 0.001), cut
into patches of 96 frames (0.96 s). Source: AudioSet's YAMNet, ``features.py`` and ``params.py`` (Apache-2.0).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from mmsearch.types import FloatArray

RATE = 16_000
_WINDOW, _HOP, _FFT = 400, 160, 512
_BANDS, _LOWEST, _HIGHEST = 64, 125.0, 7_500.0
_FRAMES = 96
_PATCH_HOP = 48
"""Frames between the starts of two patches: they overlap by half, as in the teacher."""
_PATCH = _WINDOW + (_FRAMES - 1) * _HOP


def patches(samples: FloatArray) -> FloatArray:
    """Mono samples at 16 kHz in -1..1, any length, to float32 ``(p, 96, 64)``, ``p`` at least 1.

    A clip shorter than one patch is repeated to fill it: silence after a short sound would dilute it.
    """
    samples = np.asarray(samples, np.float32)
    if len(samples) < _PATCH:
        samples = np.resize(samples, _PATCH) if len(samples) else np.zeros(_PATCH, np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    spectrum = np.abs(np.fft.rfft(frames * _hann(), _FFT)).astype(np.float32)
    bands = np.log(spectrum @ _mel_matrix() + np.float32(0.001))
    starts = list(range(0, len(bands) - _FRAMES + 1, _PATCH_HOP))
    return np.stack([bands[start : start + _FRAMES] for start in starts])


@lru_cache(maxsize=1)
def _hann() -> FloatArray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)


@lru_cache(maxsize=1)
def _mel_matrix() -> FloatArray:
    """Triangular bands, equally wide on the mel scale: float32 ``(257, 64)``."""
    bins = _mel(np.linspace(0.0, RATE / 2, _FFT // 2 + 1))
    edges = np.linspace(_mel(np.array(_LOWEST)), _mel(np.array(_HIGHEST)), _BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - low) / (centre - low)
    falling = (high - bins[:, None]) / (high - centre)
    matrix = np.maximum(0.0, np.minimum(rising, falling))
    matrix[0] = 0.0  # the constant term belongs to no band
    return matrix.astype(np.float32)


def _mel(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1127.0 * np.log1p(hertz / 700.0)
