"""Sounds of our own making, from formulas and seeded noise: nothing is recorded, nothing is anybody else's.

    python data/make_sounds.py ./sounds

Each imitates what the model listens for: a dog's bark is a short burst of harmonics around 1,100 Hz whose pitch rises
and falls, rain is a hiss full of drops, a helicopter is noise chopped thirteen times a second.
"""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np

RATE = 16_000


def times(seconds):
    return np.arange(int(seconds * RATE)) / RATE


def noise(seconds, seed):
    return np.random.default_rng(seed).standard_normal(int(seconds * RATE))


def band(samples, low, high):
    """Only what lies between two pitches in hertz."""
    spectrum = np.fft.rfft(samples)
    pitch = np.fft.rfftfreq(len(samples), 1 / RATE)
    spectrum[(pitch < low) | (pitch > high)] = 0
    return np.fft.irfft(spectrum, len(samples))


def dog():
    random, sound = np.random.default_rng(5), 0.002 * noise(5, 6)
    k = times(0.18)
    phase = 2 * np.pi * np.cumsum(np.interp(k, [0, 0.04, 0.18], [380, 560, 260])) / RATE
    throat = sum(np.sin(h * phase) * np.exp(-(((h * 450 - 1100) / 900) ** 2)) for h in range(1, 14))
    for at in (0.3, 0.75, 1.9, 2.35, 3.6, 4.1):
        breath = band(random.standard_normal(len(k)), 500, 4000)
        start = int(at * RATE)
        sound[start : start + len(k)] += (0.8 * throat + 0.5 * breath) * np.minimum(k / 0.015, 1) * np.exp(-k / 0.07)
    return sound


def rain():
    random, sound = np.random.default_rng(2), 0.3 * band(noise(6, 1), 400, 8000)
    for at in random.integers(0, len(sound) - 400, 2400):
        n = random.integers(20, 120)
        drop = np.exp(-np.arange(n) / (n / 5)) * random.standard_normal(n)
        sound[at : at + n] += random.uniform(0.2, 1.5) * drop
    return sound


def helicopter():
    k = times(6)
    blades = (0.5 + 0.5 * np.sin(2 * np.pi * 13 * k)) ** 6
    return blades * band(noise(6, 7), 40, 900) + 0.15 * band(noise(6, 8), 200, 4000) + 0.2 * np.sin(2 * np.pi * 90 * k)


SOUNDS = {"barking.wav": dog, "rain.wav": rain, "helicopter.wav": helicopter}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SOUNDS.items():
        samples = make()
        with wave.open(str(folder / name), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((samples * (0.7 * 32767 / np.abs(samples).max())).astype("<i2").tobytes())
    print(f"{len(SOUNDS)} sounds in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "sounds"))
