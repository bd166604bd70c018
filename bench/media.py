"""Sounds and videos against their own length, and what decoding in processes costs; one JSON line a row.

    python -m bench.media [--minutes 10] [--pairs 5] [--photos 60]

``realtime`` is seconds of media indexed by a second: decoding, windows, `mini`, and the commit; ``by_cpu`` divides by
processor seconds instead, on all cores, which on a machine that is not idle is the steadier. The sounds are noise with
tones in it, 44.1 kHz stereo; the videos moving shapes in 360p at 25 frames a second, H.264, with a sound track.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from itertools import pairwise

import numpy as np

from bench.common import pairs, process, ratios, row, spread
from mmsearch.media import decode
from mmsearch.media.files import read
from mmsearch.media.sandbox import Sandbox
from mmsearch.types import EncoderSpec, ImageInput, Modality

RATE = 44_100


def tune(seconds, seed):
    k = np.arange(int(seconds * RATE)) / RATE
    wave = 0.2 * np.random.default_rng(seed).standard_normal(len(k)) + 0.3 * np.sin(2 * np.pi * 300 * (1 + k % 7) * k)
    return np.repeat(wave.clip(-1, 1)[:, None], 2, axis=1).astype(np.float32)


def film(path, seconds):
    import av

    random = np.random.default_rng(0)
    backs = random.integers(0, 256, (1 + int(seconds) // 5, 360, 640, 3), np.uint8)
    backs = np.repeat(np.repeat(backs[:, ::20, ::20], 20, axis=1), 20, axis=2)
    with av.open(path, "w", format="mp4") as out:
        pictures = out.add_stream("libx264", rate=25, width=640, height=360, pix_fmt="yuv420p")
        sound = out.add_stream("aac", rate=RATE, layout="stereo")
        for i in range(int(25 * seconds)):
            frame = backs[i // 125].copy()
            frame[100:200, 4 * i % 540 : 4 * i % 540 + 100] = 255
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(pictures.encode(None))
        for start in range(0, int(seconds * RATE), 1024):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(tune(1024 / RATE, start).T), "fltp", "stereo")
            frame.sample_rate, frame.pts = RATE, start
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))


def shots(path, cuts, moving):
    """A film of still or moving shots: seconds at which each begins, and the end. A photo that slides, or stands."""
    import av
    from skimage import data

    photos = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    with av.open(path, "w", format="mp4") as out:
        pictures = out.add_stream("libx264", rate=25, width=320, height=240, pix_fmt="yuv420p")
        for number, (start, end) in enumerate(pairwise(cuts)):
            for i in range(round(25 * start), round(25 * end)):
                left = (i - round(25 * start)) // 5 % 60 if moving else 0
                frame = np.ascontiguousarray(photos[number % len(photos)][:240, left : left + 320])
                out.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(pictures.encode(None))


def found_cuts(count, moving):
    """How far from each cut of a made film the nearest end of a span lies, in seconds, and how many spans there are."""
    cuts = np.concatenate([[0], np.cumsum(np.random.default_rng(1).uniform(1.5, 8, count + 1))])
    spec = EncoderSpec(
        name="square", space="s", dim=8, modalities=frozenset({Modality.IMAGE}), licence="", image=ImageInput(size=224)
    )
    with tempfile.TemporaryDirectory() as folder:
        shots(f"{folder}/film.mp4", cuts, moving)
        spans = [piece.span for piece in decode.pieces(read(f"{folder}/film.mp4".encode(), spec), spec)]
    ends = np.array([span.end for span in spans[:-1]])
    late = [min(ends[ends >= cut - 0.04] - cut, default=np.inf) for cut in cuts[1:-1]]
    within = round(float(np.mean(np.array(late) <= 1)), 3)
    facts = {"cuts": count, "spans": len(spans), "within_1_s": within, "seconds_late": spread(late, 2)}
    row("media", f"cuts of a film of {'moving' if moving else 'still'} shots", **facts)


def indexed(folder, seconds):
    """Seconds of media by a second of wall time and of processor time, and the peak of the main process in MB."""
    with tempfile.TemporaryDirectory() as library:
        usage = process([sys.executable, "-m", "mmsearch", "--library", library, "index", folder, "-q"])
    return seconds / usage.wall, seconds / usage.cpu, usage.rss_mb


def realtime(case, folder, seconds, runs):
    wall, cpu, rss = zip(*(indexed(folder, seconds) for _ in range(runs)), strict=True)
    row("media", case, media_s=round(seconds), realtime=spread(wall, 1), by_cpu=spread(cpu, 1), rss_mb=round(max(rss)))


def isolation(count, runs):
    """Photos decoded in another process against in this one, on one thread: wall seconds."""
    from bench.decode import photo

    sources = [photo(500, 375, seed) for seed in range(8)] * (count // 8)
    spec = EncoderSpec(
        name="square", space="s", dim=8, modalities=frozenset({Modality.IMAGE}), licence="", image=ImageInput(size=224)
    )

    def decoding(how):
        started = time.perf_counter()
        for source in sources:
            list(how(source, spec))
        return time.perf_counter() - started

    with closing(Sandbox()) as sandbox:
        decoding(sandbox)  # starts the process
        here, there = pairs(lambda: decoding(decode.pieces), lambda: decoding(sandbox), runs)
    row(
        "media",
        "500 px photos, a process against this one",
        photos=len(sources),
        ratio=ratios(there, here),
        ms_here=spread([1e3 * t / len(sources) for t in here]),
        ms_there=spread([1e3 * t / len(sources) for t in there]),
    )


def main():
    import soundfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--photos", type=int, default=80)
    arguments = parser.parse_args()
    isolation(arguments.photos, arguments.pairs)
    found_cuts(60, moving=False), found_cuts(60, moving=True)
    seconds = 60 * arguments.minutes
    for case, format_, parts in (("one long FLAC", "FLAC", 1), ("Ogg Vorbis, 5 s each", "OGG", int(seconds // 5))):
        with tempfile.TemporaryDirectory() as folder:
            for part in range(parts):
                soundfile.write(f"{folder}/{part}", tune(seconds / parts, part), RATE, format=format_)
            realtime(case, folder, seconds, arguments.pairs)
    with tempfile.TemporaryDirectory() as folder:
        film(f"{folder}/film.mp4", seconds / 2)
        realtime("one 360p film with sound", folder, seconds / 2, arguments.pairs)


if __name__ == "__main__":
    main()
