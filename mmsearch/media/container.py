"""Containers that FFmpeg (PyAV) opens: videos, and the sounds that libsndfile does not know.

The content's signature picks one demuxer, no other is asked: no playlist is followed, no second file opened.
What is broken inside is skipped and said; what is decoded is a stream, of one frame at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import Rejected
from mmsearch.media.sound import BLOCK, MAX_SECONDS, check_format, longer, to_mono
from mmsearch.types import FloatArray

if TYPE_CHECKING:
    from PIL import Image

DEMUXERS = {
    "MP4": "mov",
    "M4A": "mov",
    "Matroska": "matroska",
    "AVI": "avi",
    "FLV": "flv",
    "MPEG": "mpeg",
    "MPEG-TS": "mpegts",
    "WMV": "asf",
    "WMA": "asf",
    "Ogg": "ogg",
    "AAC": "aac",
    "AMR": "amr",
    "CAF": "caf",
    "APE": "ape",
    "WavPack": "wv",
}

SLACK_S = 3.0
"""Headers round, and of the last seconds' frames only some are decoded."""

MAX_SOUGHT = 500
"""So many frames after a keyframe are decoded at most to reach one time: keyframes are seldom more than 250 apart."""

MAX_BROKEN = 1000
"""After so many packets in a row that nothing comes of, the rest is not tried."""


class Container:
    """An open file: ``duration`` in seconds as its header says (0: unknown), ``metadata``."""

    def __init__(self, file: Any, format_: str) -> None:
        import av

        self._container = av.open(file, format=DEMUXERS[format_], metadata_errors="replace")
        self.duration = max(0.0, (self._container.duration or 0) / 1e6)
        self.metadata: dict[str, str] = self._container.metadata

    def sound(self) -> SoundTrack:
        """The best sound track. Raises ``Rejected`` if there is none."""
        stream = self._container.streams.best("audio")
        if stream is None:
            raise Rejected("holds no sound")
        return SoundTrack(self._container, stream)

    def pictures(self) -> PictureTrack | None:
        """The best track of pictures; a cover is none."""
        stream = self._container.streams.best("video")
        if stream is None or stream.disposition & stream.disposition.attached_pic:
            return None
        return PictureTrack(self._container, stream)

    def has_sound(self) -> bool:
        return self._container.streams.best("audio") is not None

    def cut_off(self, reached: float) -> str | None:
        """What is to be said if the header promises clearly more seconds than were ``reached``."""
        if self.duration - reached <= max(SLACK_S, 0.02 * self.duration):
            return None
        return f"truncated: {100 * reached / self.duration:.0f}% of the seconds are there"


class _Track:
    """Decodes one stream; ``seconds`` and ``damage`` grow true as it goes."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container, self._stream = container, stream
        self.seconds = 0.0
        self.damage: str | None = None

    def _frames(self) -> Iterator[Any]:
        """Frames to the end, or to where nothing can be read any more; broken packets are skipped."""
        from av.error import FFmpegError

        broken = 0
        packets = self._container.demux(self._stream)
        while broken < MAX_BROKEN:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except FFmpegError as error:
                broken += 1
                self.damage = f"damaged: {(error.strerror or 'broken').lower()}"
                continue
            if frames:
                broken = 0
            yield from frames


class SoundTrack(_Track):
    """A track of sound; a `mmsearch.media.audio.Sound`."""

    def __init__(self, container: Any, stream: Any) -> None:
        super().__init__(container, stream)
        check_format(stream.rate or 0, stream.channels or 0)
        self.rate: int = stream.rate

    def blocks(self) -> Iterator[FloatArray]:
        held: list[FloatArray] = []
        for planes in self._planes():
            held.append(planes)
            # FFmpeg's frames of a thousand samples would each cost as many calls as a block.
            if sum(part.shape[1] for part in held) >= BLOCK:
                yield to_mono(np.concatenate(held, axis=1).T)
                held = []
        if held:
            yield to_mono(np.concatenate(held, axis=1).T)

    def _planes(self) -> Iterator[FloatArray]:
        """Samples float32 ``(channels, n)``, a frame at a time."""
        from av import AudioResampler

        # Only the samples' type is changed here; some files change it, or their channels, on the way.
        resampler = AudioResampler(format="fltp", layout=self._stream.layout.name, rate=self.rate)
        count = 0
        for frame in self._frames():
            try:
                converted = resampler.resample(frame)
            except ValueError:
                self.damage = "damaged: its format changes"
                return
            for part in converted:
                planes = part.to_ndarray()
                count += planes.shape[1]
                self.seconds = count / self.rate
                yield planes
            if self.seconds > MAX_SECONDS:
                self.damage = longer()
                return


class PictureTrack(_Track):
    """Pictures of ``width`` x ``height`` pixels, to be shown turned by ``rotation`` degrees counter-clockwise."""

    def __init__(self, container: Any, stream: Any) -> None:
        super().__init__(container, stream)
        self.width: int = stream.codec_context.width
        self.height: int = stream.codec_context.height
        self.rotation = 0
        self._reformatter: Any = None

    def rgb(self, frame: Any) -> Image.Image:
        """A frame as it is stored, in RGB. Its own `to_image` would set FFmpeg's scaler up anew, with threads."""
        from av.video.reformatter import VideoReformatter
        from PIL import Image as images

        self._reformatter = self._reformatter or VideoReformatter()
        return images.fromarray(self._reformatter.reformat(frame, format="rgb24").to_ndarray())

    def every(self, step: float) -> Iterator[tuple[float, Any]]:
        """About one frame every ``step`` seconds with its time, the first one first: the next that is decoded.

        Frames that no other one needs are skipped, and where keyframes are close enough, all others.
        """
        stream = self._stream
        stream.thread_type = "AUTO"
        stream.codec_context.skip_frame = "NONKEY" if self._keyframe_gap() <= 1.5 * step else "NONREF"
        start, wanted = None, 0.0
        for frame in self._frames():
            if frame.time is None:
                continue
            start = frame.time if start is None else start
            time = frame.time - start
            self.seconds = max(self.seconds, time)
            if self.seconds > MAX_SECONDS:
                self.damage = longer()
                return
            if time >= wanted:
                self.rotation = frame.rotation
                yield time, frame
                wanted = (time // step + 1) * step

    def at(self, seconds: float) -> tuple[float, Any]:
        """The frame ``seconds`` after the first one, or near it: decoded from the keyframe before, not from the start.

        Raises ``Rejected`` if none can be decoded.
        """
        from av.error import FFmpegError

        stream = self._stream
        stream.thread_type = "AUTO"
        stream.codec_context.skip_frame = "NONREF"
        start = float((stream.start_time or 0) * stream.time_base)
        with suppress(FFmpegError):  # what can't be sought is read from where it stands
            self._container.seek(round((start + seconds) / stream.time_base), stream=stream)
        found: tuple[float, Any] | None = None
        for frame in islice(self._frames(), MAX_SOUGHT):
            if frame.time is None:
                continue
            self.rotation = frame.rotation
            found = frame.time - start, frame
            if found[0] >= seconds - 0.5 * float(1 / (stream.average_rate or 25)):
                break
        if found is None:
            raise Rejected(self.damage or "holds no pictures")
        return found

    def _keyframe_gap(self) -> float:
        """Mean seconds between keyframes by the container's index; infinite if it has none."""
        stream = self._stream
        times = [entry.timestamp for entry in stream.index_entries if entry.is_keyframe]
        if len(times) < 3 or stream.time_base is None:
            return float("inf")
        return float((times[-1] - times[0]) * stream.time_base / (len(times) - 1))
