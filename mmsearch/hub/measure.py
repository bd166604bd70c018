"""What a model costs and how well it finds, measured in a process of its own so that memory is the model's alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import numpy as np

from mmsearch.errors import EncoderError, MediaError, MMSearchError, UsageError
from mmsearch.types import Encoder, FloatArray, Media, Modality, Pixels

PHOTOS_AT_ONCE, ROUNDS, SOUND_S = 32, 5, 5
WORDS = ("a cat on a sofa", "two people walk along a beach at sunset", "一只猫坐在沙发上", "rain on a tin roof")


@dataclass(frozen=True, slots=True)
class Sample:
    """What to measure on: photos, and questions with the number of the photo that is right.

    Without questions, each photo's inner half is the question for the photo itself.
    """

    photos: tuple[str, ...] = ()
    questions: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One model's row. Times are medians; a figure that does not apply is None."""

    model: str
    device: str = "cpu"
    load_s: float | None = None
    text_ms: float | None = None
    """One question of a few words, alone."""
    images_per_s: float | None = None
    """Prepared photos, 32 at a time: decoding is not in it."""
    audio_s_per_s: float | None = None
    rss_bytes: int | None = None
    disk_bytes: int | None = None
    hit10: float | None = None
    """Share of questions whose photo is among the first ten; what the questions are stands in ``asked``."""
    asked: str = ""
    best: bool = field(default=False)
    """No other model of the table is as good in both ``images_per_s`` and ``hit10`` and better in one."""
    error: str = ""


def table(models: list[str], sample: Sample, device: str = "cpu") -> list[Figures]:
    """Measure models one after the other; one that fails is a row with its error."""
    return mark([measure_apart(model, sample, device) for model in models])


def mark(rows: list[Figures]) -> list[Figures]:
    """Set ``best`` where no other row dominates."""

    def dominated(row: Figures) -> bool:
        mine = _merit(row)
        return any(other is not row and _beats(_merit(other), mine) for other in rows)

    return [replace(row, best=_merit(row) is not None and not dominated(row)) for row in rows]


def _merit(row: Figures) -> tuple[float, float] | None:
    return None if row.images_per_s is None or row.hit10 is None else (row.images_per_s, row.hit10)


def _beats(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    if one is None or other is None:
        return False
    return one[0] >= other[0] and one[1] >= other[1] and one != other


def measure_apart(model: str, sample: Sample, device: str = "cpu") -> Figures:
    """`measure` in a fresh process, which is thrown away: its peak memory is the model's."""
    program = "import sys; from mmsearch.hub.measure import main; main(*sys.argv[1:])"
    with tempfile.TemporaryDirectory() as scratch:
        job, out = os.path.join(scratch, "job"), os.path.join(scratch, "out")
        with open(job, "w", encoding="utf-8") as file:
            json.dump({"model": model, "device": device, "sample": asdict(sample)}, file)
        done = subprocess.run([sys.executable, "-c", program, job, out], capture_output=True, text=True, check=False)
        try:
            with open(out, encoding="utf-8") as file:
                return Figures(**json.load(file))
        except (OSError, ValueError):
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            return Figures(model=model, error=f"ended with {done.returncode}: {last}")


def main(job: str, out: str) -> None:
    """The child's side of `measure_apart`: a job file in, a result file out."""
    with open(job, encoding="utf-8") as file:
        wanted: dict[str, Any] = json.load(file)
    photos, questions = wanted["sample"].values()
    try:
        sample = Sample(tuple(photos), tuple((text, int(number)) for text, number in questions))
        figures = measure(wanted["model"], sample, wanted["device"])
    except MMSearchError as error:
        figures = Figures(model=wanted["model"], error=str(error))
    with open(out, "w", encoding="utf-8") as file:
        json.dump(asdict(figures), file)


def measure(model: str, sample: Sample, device: str = "cpu") -> Figures:
    """Load a model and measure it. Raises what loading raises, and ``EncoderError`` for vectors that are none."""
    from mmsearch.encoders import registry

    started = time.perf_counter()
    encoder = registry.load(model, device)
    figures = Figures(model=model, disk_bytes=_disk(model))
    kinds = encoder.spec.modalities
    encoder.encode([WORDS[0]], Modality.TEXT)  # some load their weights only now
    figures = replace(figures, load_s=time.perf_counter() - started, device=getattr(encoder, "device", "cpu"))
    turns = iter(WORDS * ROUNDS)
    text_s = _median(lambda: encoder.encode([next(turns)], Modality.TEXT), len(WORDS) * ROUNDS - 1)
    figures = replace(figures, text_ms=1000 * text_s)
    if Modality.IMAGE in kinds:
        photos = [_photo(path, encoder) for path in sample.photos]
        some = (photos or _noise_photos(encoder))[:PHOTOS_AT_ONCE]
        seconds = _median(lambda: encoder.encode(cast(list[Media], some), Modality.IMAGE))
        figures = replace(figures, images_per_s=len(some) / seconds)
        if photos:
            figures = _ask(figures, encoder, photos, sample)
    if Modality.AUDIO in kinds and encoder.spec.audio_rate:
        noise = np.random.default_rng(0).normal(0, 0.1, SOUND_S * encoder.spec.audio_rate).astype(np.float32)
        figures = replace(figures, audio_s_per_s=SOUND_S / _median(lambda: encoder.encode([noise], Modality.AUDIO)))
    return replace(figures, rss_bytes=_peak_memory())


def _ask(figures: Figures, encoder: Encoder, photos: list[Pixels], sample: Sample) -> Figures:
    """Every question against every photo."""
    from mmsearch.retrieval import metrics

    documents = _encode(encoder, photos)
    if sample.questions:
        texts = [text for text, _ in sample.questions]
        queries = encoder.encode(texts, Modality.TEXT)
        right = np.array([number for _, number in sample.questions])
        asked = f"{len(texts)} captions, {len(photos)} photos"
    else:
        queries = _encode(encoder, [_inner_half(photo) for photo in photos])
        right = np.arange(len(photos))
        asked = f"the inner half of each of {len(photos)} photos"
    first = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :10]
    hits = metrics.hit((first == right[:, None]).astype(np.float64), 10)
    return replace(figures, hit10=float(hits.mean()), asked=asked)


def _encode(encoder: Encoder, photos: list[Pixels]) -> FloatArray:
    parts = [photos[i : i + PHOTOS_AT_ONCE] for i in range(0, len(photos), PHOTOS_AT_ONCE)]
    return np.concatenate([encoder.encode(cast(list[Media], part), Modality.IMAGE) for part in parts])


def _photo(path: str, encoder: Encoder) -> Pixels:
    from mmsearch.media.files import read
    from mmsearch.media.sandbox import decode

    try:
        content = decode(read(os.fsencode(path), follow_links=True), encoder.spec).pieces[0].content
    except (MediaError, OSError) as error:
        raise UsageError(f"{path} can't be measured with: {error}") from error
    return cast(Pixels, content)


def _inner_half(photo: Pixels) -> Pixels:
    """The middle of a photo at twice the size (nearest neighbour): the same thing, seen closer."""
    height, width = photo.shape[:2]
    rows, columns = height // 4 + np.arange(height) // 2, width // 4 + np.arange(width) // 2
    return np.ascontiguousarray(photo[rows][:, columns])


def _noise_photos(encoder: Encoder) -> list[Pixels]:
    if encoder.spec.image is None:
        raise EncoderError(f"{encoder.spec.name} does not say which pictures it takes")
    size = encoder.spec.image.size
    return list(np.random.default_rng(0).integers(0, 256, (PHOTOS_AT_ONCE, size, size, 3), dtype=np.uint8))


def _median(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Seconds; the first call is not counted."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def _peak_memory() -> int | None:
    """Peak resident bytes of this process since it began; ``getrusage`` would count what its parent had."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            line = next(line for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024


def _disk(model: str) -> int | None:
    """Bytes of a model's files, where we know which they are."""
    from mmsearch.hub import cache, source

    if model == "mini":
        from mmsearch.encoders import mini

        folder = os.path.dirname(mini.__file__)
        return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())
    try:
        found = [cache.snapshot(need.repo) for need in source.needs(model)]
    except MMSearchError:
        return None
    return sum(snapshot.bytes for snapshot in found if snapshot)
