"""`mmsearch query` and `mmsearch similar`: ask in words, with files, or with a sum of them."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli import answers, complete, hits
from mmsearch.cli import facets as counts
from mmsearch.cli import weak as weaker
from mmsearch.cli.answers import ClipTo, CopyTo, Html, LinkTo, Preview, PreviewAs, RankPrefix
from mmsearch.cli.common import command as body
from mmsearch.cli.common import numpy_alone
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmsearch import types
    from mmsearch.types import Asked, Query

MODES = ("hybrid", "dense", "lexical")
Mode = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="hybrid (meaning and words), dense (meaning alone) or lexical (words alone)",
        show_default="hybrid",
        autocompletion=complete.words(*MODES),
    ),
]
Top = Annotated[int, typer.Option("-k", "--top", min=1, max=10_000, metavar="N", help="So many hits at most")]
Within = Annotated[
    str | None,
    typer.Option("--in", metavar="PATH", help="Only files at or below PATH", autocompletion=complete.folders),
]
Kinds = Annotated[
    str | None,
    typer.Option(
        "--modality",
        metavar="LIST",
        help="Only these: image,audio,text,video",
        autocompletion=complete.words("image", "audio", "text", "video"),
    ),
]
Where = Annotated[
    list[str], typer.Option(metavar="CONDITION", help="Such as: taken >= 2024-06 and width > 2000; again for one more")
]
Since = Annotated[str | None, typer.Option(metavar="DATE", help="From then on: June 2023, last week, 3 weeks ago")]
Until = Annotated[str | None, typer.Option(metavar="DATE", help="Up to then, that day or month included")]
Near = Annotated[str | None, typer.Option(metavar="LAT,LON,KM", help="Only photos taken near a place")]
MinConfidence = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Only hits of at least this confidence, 0 to 1", show_default="all"),
]
Moments = Annotated[int, typer.Option(min=1, max=100, metavar="N", help="So many spans of each file at most")]
Unique = Annotated[bool, typer.Option("--unique/--no-unique", help="Of near-duplicates only the best")]
Sort = Annotated[
    str,
    typer.Option(
        metavar="BY",
        help="score, date, taken, added or path; date:asc from the oldest on",
        autocompletion=complete.words("score", "date", "taken", "added", "path"),
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group-by",
        metavar="BY",
        help="day, folder or modality",
        autocompletion=complete.words("day", "folder", "modality"),
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu or cuda:N", autocompletion=complete.words("auto", "cpu", "cuda:0"))
]
Paths = Annotated[bool, typer.Option("--paths", help="Paths alone, one a line")]
Null = Annotated[bool, typer.Option("-0", help="Paths alone as they are, each ended by a NUL")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help="One JSON object a line for each hit")]
Csv = Annotated[bool, typer.Option("--csv", help="Comma-separated, with a header")]


def command(
    context: typer.Context,
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PARTS...",
            help="Words and files: a cat + 0.5:./sofa.jpg - ./dog.wav@0:38; a last - reads stdin",
        ),
    ] = None,
    k: Top = 10,
    image: Annotated[list[str], typer.Option(metavar="FILE", help="A picture to look for")] = [],  # noqa: B006
    audio: Annotated[list[str], typer.Option(metavar="FILE", help="A sound to look for")] = [],  # noqa: B006
    text: Annotated[list[str], typer.Option(metavar="WORDS", help="Words, whatever they look like")] = [],  # noqa: B006
    within: Within = None,
    modality: Kinds = None,
    where: Where = [],  # noqa: B006
    since: Since = None,
    until: Until = None,
    near: Near = None,
    mode: Mode = None,
    lexical: Annotated[bool, typer.Option("--lexical", help="Short for --mode lexical")] = False,
    dense: Annotated[bool, typer.Option("--dense", help="Short for --mode dense")] = False,
    min_confidence: MinConfidence = None,
    weak: weaker.Option = False,
    moments: Moments = 1,
    unique: Unique = False,
    sort: Sort = "score",
    group_by: Group = None,
    facets: counts.Option = None,
    batch: Annotated[str | None, typer.Option(metavar="FILE", help="A question a line; hits as JSON lines")] = None,
    allow_url: Annotated[bool, typer.Option("--allow-url", help="Fetch addresses among the parts")] = False,
    paths: Paths = False,
    null: Null = False,
    jsonl: Jsonl = False,
    csv: Csv = False,
    html: Html = None,
    copy_to: CopyTo = None,
    link_to: LinkTo = None,
    clip_to: ClipTo = None,
    rank_prefix: RankPrefix = False,
    preview: Preview = None,
    preview_as: PreviewAs = None,
    device: Device = "cpu",
) -> None:
    """Find files by meaning, mmsearch query "a cat on a sofa"; with filters alone, list what passes, newest first."""
    with body(context) as settings:
        if batch is None:
            numpy_alone()
        from mmsearch.types import Asked

        said = tuple(Asked("file", os.path.expanduser(file)) for file in (*image, *audio))
        said += tuple(Asked("text", words) for words in text)
        query = options(
            k,
            within,
            modality,
            where,
            since,
            until,
            near,
            None if weak else min_confidence,
            unique,
            sort,
            group_by,
            mode=mode_of(mode, lexical=lexical, dense=dense),
            parts=said,
            moments=moments,
        )
        wishes = answers.Wishes(html, copy_to, link_to, clip_to, rank_prefix, preview, preview_as)
        if batch is not None:
            if parts or said or wishes.any() or facets:
                raise UsageError("--batch takes its questions from the file alone, and answers in JSON lines alone")
            from mmsearch.cli import batch as lines

            lines.run(settings, batch, query, device, allow_url)
            return
        asked = replace_in(query, parts=query.parts + _parsed(parts or []))
        form = hits.Form.of(settings, paths=paths, null=null, jsonl=jsonl, csv=csv)
        fields, library = counts.asked(facets, form), settings.library()
        answer = library.ask(asked, device, allow_url=allow_url)
        cut, shown = weaker.cut_of(asked, min_confidence, form), None
        if cut is not None:
            uncut = replace_in(asked, min_confidence=0.0)
            everything = partial(library.ask, uncut, device, allow_url=allow_url) if asked != uncut else lambda: answer
            shown = weaker.screen(answer, cut, weak, everything)
        sure = asked if cut is None or weak else replace_in(asked, min_confidence=cut)
        counted = library.facets(sure, fields, device, allow_url=allow_url) if fields else None
        answers.give(settings, answer, asked, form, wishes, counted, shown)


def similar(
    context: typer.Context,
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, indexed or not, or a part: talk.wav@0:38-0:41")],
    k: Top = 10,
    within: Within = None,
    modality: Kinds = None,
    where: Where = [],  # noqa: B006
    since: Since = None,
    until: Until = None,
    near: Near = None,
    min_confidence: MinConfidence = None,
    moments: Moments = 1,
    unique: Unique = False,
    sort: Sort = "score",
    group_by: Group = None,
    paths: Paths = False,
    null: Null = False,
    jsonl: Jsonl = False,
    csv: Csv = False,
    html: Html = None,
    copy_to: CopyTo = None,
    link_to: LinkTo = None,
    clip_to: ClipTo = None,
    rank_prefix: RankPrefix = False,
    preview: Preview = None,
    preview_as: PreviewAs = None,
    device: Device = "cpu",
) -> None:
    """Find files like a file: mmsearch similar photo.jpg."""
    with body(context) as settings:
        query = options(
            k, within, modality, where, since, until, near, min_confidence, unique, sort, group_by, moments=moments
        )
        answer = settings.library().similar(path, query, device)
        form = hits.Form.of(settings, paths=paths, null=null, jsonl=jsonl, csv=csv)
        wishes = answers.Wishes(html, copy_to, link_to, clip_to, rank_prefix, preview, preview_as)
        answers.give(settings, answer, query, form, wishes)


def options(
    k: int,
    within: str | None,
    modality: str | None,
    where: Sequence[str],
    since: str | None,
    until: str | None,
    near: str | None,
    min_confidence: float | None = None,
    unique: bool = False,
    sort: str = "score",
    group: str | None = None,
    **more: Any,
) -> Query:
    """What was typed as a ``Query``. Raises ``UsageError`` for a word that is none of those allowed."""
    from mmsearch.retrieval.arrange import order
    from mmsearch.types import Modality, Query

    order(sort)
    one_of("--group-by", group, (None, "day", "folder", "modality"))
    named = None if modality is None else [name.strip() for name in modality.split(",")]
    for name in named or ():
        one_of("--modality", name, tuple(Modality))
    return Query(
        k=k,
        within=None if within is None else os.path.abspath(os.fsencode(within)),
        modalities=None if named is None else frozenset(map(Modality, named)),
        where=" and ".join(where if len(where) < 2 else (f"({one})" for one in where)) or None,
        since=since,
        until=until,
        near=None if near is None else _place(near),
        min_confidence=min_confidence or 0.0,
        unique=unique,
        sort=sort,
        group=group,  # type: ignore[arg-type]
        **more,
    )


def mode_of(mode: str | None, *, lexical: bool = False, dense: bool = False) -> types.Mode:
    """The one mode that was asked for; `query`'s own where none was. Raises ``UsageError`` for several."""
    asked = {name for name, on in (("lexical", lexical), ("dense", dense)) if on} | ({mode} if mode else set())
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(sorted(asked))} exclude each other: a question is asked in one mode")
    chosen = asked.pop() if asked else "hybrid"
    one_of("--mode", chosen, MODES)
    return chosen  # type: ignore[return-value]


def one_of(option: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{option} {value}: there are {', '.join(map(str, filter(None, allowed)))}")


def _place(text: str) -> tuple[float, float, float]:
    try:
        lat, lon, km = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--near {text}: write LAT,LON,KM, such as 48.86,2.35,10") from None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180 and km >= 0):
        raise UsageError(f"--near {text}: degrees go to 90 and 180, and a distance is not negative")
    return lat, lon, km


def _parsed(parts: list[str]) -> tuple[Asked, ...]:
    from mmsearch.retrieval.parse import parse

    return parse(parts, sys.stdin if parts and parts[-1] == "-" else ())


def replace_in(query: Query, **more: Any) -> Query:
    from dataclasses import replace

    return replace(query, **more)
