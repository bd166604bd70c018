"""A video becomes pictures, one a second or one for as long as nothing moves, and its sound track windows of sound."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from mmsearch.errors import Rejected
from mmsearch.media.container import SLACK_S, Container, PictureTrack
from mmsearch.media.files import Source
from mmsearch.media.glimpse import Glimpse
from mmsearch.media.image import MAX_PIXELS, upright_square
from mmsearch.media.outcome import outcome
from mmsearch.media.pieces import Ending, Piece, Pieces
from mmsearch.media.sniff import Kind
from mmsearch.media.sound import resampled, windows
from mmsearch.types import Detail, EncoderSpec, ImageInput, MediaFacts, Modality, Pixels, Span

STEP_S = 1.0
"""Seconds from one picture to the next."""

SAME = 2.0
"""Mean difference in grey levels below which a picture shows what the last one did: its span grows instead."""

# EXIF's name for a turn counter-clockwise by so many degrees, which is how a video says it is to be shown.
_ORIENTATION = {90: 8, -90: 6, 180: 3, -180: 3}


def pieces(source: Source, kind: Kind, spec: EncoderSpec) -> Pieces:
    """The pictures, then the sound of a video file; see `mmsearch.media.decode.pieces`.

    The file is read twice, so that neither track waits in memory for the other.
    """
    try:
        with source.opened() as file:
            container = Container(file, kind.format)
            track = container.pictures()
            if track is None:
                return (yield from _sound_alone(container, spec))
            if track.width * track.height > MAX_PIXELS:
                raise Rejected(f"more than {MAX_PIXELS // 1_000_000} megapixels ({track.width} x {track.height})")
            if isinstance(spec, Glimpse) and spec.image is not None:
                time, frame = track.at(spec.at)
                yield _piece(_upright(track, frame, spec.image), time, time)
                return Ending(Modality.VIDEO, _facts(container, track))
            if spec.image is not None and Modality.IMAGE in spec.modalities:
                yield from _pictures(track, container.duration, spec.image)
                if not track.seconds and track.damage:
                    raise Rejected(track.damage)
            partial, reached = track.damage, track.seconds
            if container.has_sound() and spec.audio_rate is not None and Modality.AUDIO in spec.modalities:
                file.seek(0)
                sound = Container(file, kind.format).sound()
                for window in windows(
                    resampled(sound.blocks(), sound.rate, spec.audio_rate), spec.audio_rate, spec.audio_window
                ):
                    yield replace(window, detail=Detail(Modality.AUDIO))
                partial, reached = partial or sound.damage, max(reached, sound.seconds)
            elif container.has_sound():
                reached = container.duration  # what is not decoded can't be seen to break off
    except Exception as error:
        raise outcome(kind.format, error) from error
    return Ending(Modality.VIDEO, _facts(container, track), partial or container.cut_off(reached))


def _sound_alone(container: Container, spec: EncoderSpec) -> Pieces:
    """A container of videos that holds only sound."""
    if spec.audio_rate is None or Modality.AUDIO not in spec.modalities:
        raise Rejected("holds no pictures")
    sound = container.sound()
    yield from windows(resampled(sound.blocks(), sound.rate, spec.audio_rate), spec.audio_rate, spec.audio_window)
    if not sound.seconds:
        raise Rejected(sound.damage or "holds no sound")
    return Ending(Modality.AUDIO, MediaFacts(duration_s=round(sound.seconds, 3)), sound.damage)


def _pictures(track: PictureTrack, duration: float, want: ImageInput) -> Iterator[Piece]:
    """A picture and the seconds from its frame to the next one that differs, or to the end."""
    shown: Pixels | None = None
    start = 0.0
    for time, frame in track.every(STEP_S):
        picture = _upright(track, frame, want)
        if shown is not None:
            if _difference(shown, picture) < SAME:
                continue
            yield _piece(shown, start, time)
        shown, start = picture, time
    if shown is not None:
        broken_off = duration - track.seconds > SLACK_S
        yield _piece(shown, start, track.seconds if broken_off else max(track.seconds, duration))


def _upright(track: PictureTrack, frame: Any, want: ImageInput) -> Pixels:
    return upright_square(track.rgb(frame), _ORIENTATION.get(track.rotation, 1), want)


def _difference(a: Pixels, b: Pixels) -> float:
    return float(np.abs(a[::4, ::4].astype(np.int16) - b[::4, ::4]).mean())


def _piece(picture: Pixels, start: float, end: float) -> Piece:
    return Piece(picture, Modality.IMAGE, Span(round(start, 3), round(end, 3), "s"))


def _facts(container: Container, track: PictureTrack) -> MediaFacts:
    taken = re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", container.metadata.get("creation_time", ""))
    turned = abs(track.rotation) == 90
    return MediaFacts(
        width=track.height if turned else track.width,
        height=track.width if turned else track.height,
        taken=taken and taken[0],
        duration_s=round(container.duration or track.seconds, 3),
    )
