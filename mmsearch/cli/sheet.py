"""`--html`: the hits as one page that carries its pictures and sounds with it.

Nothing in it is fetched: it can be sent, or kept. Links lead to the files themselves, where they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING

from mmsearch.cli.hits import confidence, places, where
from mmsearch.errors import MMSearchError
from mmsearch.retrieval import page
from mmsearch.types import Modality

if TYPE_CHECKING:
    from mmsearch.types import Hit, Query

SIZE = 320
"""Pixels on the longer side: sharp at the 220 that are shown, 15 kB each."""

SOUND_BYTES, ALL_SOUND_BYTES = 2_000_000, 24_000_000
"""A sound is carried in the page up to this size, until all of them take so much; others are linked."""

TEXT = 600
"""Characters shown of a text."""

DECODERS = 2
"""Processes that decode pictures at once; a third one gains nothing before the first two have started."""

_STYLE = """
ol { list-style: none; margin: 1em 0; padding: 0; display: grid; gap: 18px 14px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 220px), 1fr)) }
li { min-width: 0; overflow-wrap: anywhere; font-size: 13px }
.look { position: relative; display: flex; height: 180px; align-items: center; justify-content: center;
  background: var(--box); border-radius: 6px; overflow: hidden; text-decoration: none; font-size: 40px;
  color: var(--faint) }
.look img { max-height: 100%; object-fit: contain }
.look b { position: absolute; right: 6px; bottom: 6px; padding: 0 5px; border-radius: 4px; font-size: 12px;
  background: #000c; color: #fff }
.look.text { font-size: 13px; align-items: start; padding: 8px 10px; white-space: pre-line; color: inherit }
.look.why { font-size: 13px; padding: 8px }
.name { font-weight: 600; font-size: 15px; margin: 6px 0 0 } .facts, .folder { margin: 2px 0; color: var(--faint) }
meter { width: 4em; height: .8em; vertical-align: middle } audio { width: 100%; height: 36px; margin-top: 6px }
@media print { li { break-inside: avoid } }
"""

# Without it Tab goes from file to file and Enter opens one; with it the arrow keys do, Home and End.
_SCRIPT = """
addEventListener("keydown", event => {
  const all = [...document.querySelectorAll(".look")], at = all.indexOf(document.activeElement);
  const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1}[event.key];
  if (to === undefined || event.target.closest("audio") || !all[to]) return;
  event.preventDefault(); all[to].focus();
});
"""

_PLAYABLE = {
    "WAV": "audio/wav",
    "FLAC": "audio/flac",
    "MP3": "audio/mpeg",
    "Ogg": "audio/ogg",
    "M4A": "audio/mp4",
    "AAC": "audio/aac",
}


def write(path: str, hits: Sequence[Hit], query: Query) -> None:
    """Write the page. A file that shows nothing says why in its place. Raises ``UsageError``."""
    page.write(path, page.document(_title(query), _body(hits), _STYLE, _SCRIPT))


def _title(query: Query) -> str:
    parts = [f"{'-' if part.weight < 0 else '+'} {_weight(part.weight)}{part.value}" for part in query.parts]
    return " ".join(parts).removeprefix("+ ") or _filters(query) or "mmsearch"


def _filters(query: Query) -> str:
    """What a listing is of."""
    since, until = (f"{word} {date}" if date else "" for word, date in (("since", query.since), ("until", query.until)))
    kinds, folder = ", ".join(sorted(query.modalities or ())), os.fsdecode(query.within or b"")
    near = "near {}, {} ({} km)".format(*query.near) if query.near else ""
    return " · ".join(filter(None, (query.where, since, until, near, kinds, folder)))


def _weight(weight: float) -> str:
    return "" if abs(weight) == 1 else f"{abs(weight):g}:"


def _body(hits: Sequence[Hit]) -> Iterator[str]:
    if not hits:
        yield "<p>nothing found</p>"
    budget = _Budget()
    with ThreadPoolExecutor(DECODERS) as threads:
        looks = threads.map(_look, hits)
        for group, members in groupby(hits, lambda hit: hit.group):
            if group is not None:
                yield f"<h2>{page.shown(group)}</h2>"
            yield "<ol>"
            for hit in members:
                yield _card(hit, next(looks), budget)
            yield "</ol>"


def _card(hit: Hit, look: str, budget: _Budget) -> str:
    folder, name = os.path.split(hit.path)
    facts = [f"score {hit.score:.3f}"] if hit.space else []
    if hit.confidence is not None:
        facts.append(f'confidence {confidence(hit.confidence)} <meter value="{hit.confidence:.2f}"></meter>')
    facts += [page.shown(place) for place in [places(hit).strip(" []").replace("] [", ", ")] if place]
    facts += [page.shown(hit.date[:19])] if hit.date else []
    return "\n".join(
        [
            f"<li>{look}{_sound(hit, budget)}",
            f'<p class="name">{hit.rank}. {page.shown(name)}</p>',
            f'<p class="facts">{" · ".join(facts)}</p>',
            f'<p class="folder">{page.shown(folder)}</p></li>',
        ]
    )


def _link(hit: Hit) -> str:
    seconds = hit.span is not None and hit.span.unit == "s"
    return page.address(hit.path) + (f"#t={hit.span.start:g},{hit.span.end:g}" if hit.span and seconds else "")


def _look(hit: Hit) -> str:
    """What is seen of a hit, which is a link to its file: a picture, a text, a note."""
    kind, content = "look", "♪"
    if hit.modality is Modality.TEXT:
        kind, content = "look text", page.shown((hit.text or "")[:TEXT])
    elif hit.modality is not Modality.AUDIO:
        from mmsearch.media.glimpse import glimpse, jpeg

        try:
            pixels = glimpse(hit.path, SIZE, hit.span.start if hit.span is not None else 0.0)
        except (MMSearchError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            kind, content = "look why", page.shown(reason or type(error).__name__)
        else:
            height, width = pixels.shape[:2]
            source = page.data_address(jpeg(pixels), "image/jpeg")
            content = f'<img src="{source}" width="{width}" height="{height}" alt="">{_time(hit)}'
    label = page.shown(os.path.basename(hit.path))
    return f'<a class="{kind}" href="{_link(hit)}" aria-label="{label}">{content}</a>'


def _time(hit: Hit) -> str:
    """On a frame of a video, when it is shown."""
    return f"<b>{where(hit.span).strip(' []').partition('-')[0]}</b>" if hit.modality is Modality.VIDEO else ""


class _Budget:
    """How many bytes of sound the page may still carry."""

    left = ALL_SOUND_BYTES

    def take(self, size: int) -> bool:
        if size > min(self.left, SOUND_BYTES):
            return False
        self.left -= size
        return True


def _sound(hit: Hit, budget: _Budget) -> str:
    """A player for a sound, which begins at the hit's span; a format that no browser plays is only linked."""
    if hit.modality is not Modality.AUDIO:
        return ""
    from mmsearch.media.sniff import HEAD, sniff

    source = _link(hit)
    try:
        with open(os.open(hit.path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            head = file.read(HEAD)
            kind = sniff(head)
            if kind is None or kind.format not in _PLAYABLE:
                return ""
            if budget.take(os.fstat(file.fileno()).st_size):
                content = page.data_address(head + file.read(SOUND_BYTES), _PLAYABLE[kind.format])
                source = content + source[source.rfind("#") :] if "#" in source else content
    except OSError as error:
        return f'<p class="facts">{page.shown(error.strerror or "unreadable")}</p>'
    return f'<audio controls preload="metadata" src="{source}"></audio>'
