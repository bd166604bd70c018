"""What `query` and `similar` do with their hits beside listing them: a page, copies, links, clips, previews."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli import complete, hits, preview, render
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.cli.common import Settings
    from mmsearch.cli.weak import Screen
    from mmsearch.library import Answer
    from mmsearch.retrieval.facets import Facets
    from mmsearch.types import Query

Html = Annotated[str | None, typer.Option(metavar="FILE", help="Also as one HTML page, pictures and sounds in it")]
CopyTo = Annotated[str | None, typer.Option(metavar="DIR", help="Copy the files there; nothing is overwritten")]
LinkTo = Annotated[str | None, typer.Option(metavar="DIR", help="Link to the files there")]
ClipTo = Annotated[str | None, typer.Option(metavar="DIR", help="Cut the spans of sounds and videos out, into there")]
RankPrefix = Annotated[bool, typer.Option("--rank-prefix", help="Begin the names of copies with the rank")]

Preview = Annotated[
    bool | None, typer.Option("--preview/--no-preview", help="Pictures in the terminal [default: where it can draw]")
]
PreviewAs = Annotated[
    str | None,
    typer.Option(
        metavar="WAY",
        help="How: kitty, iterm2, sixel or blocks [default: as the terminal says]",
        autocompletion=complete.words("kitty", "iterm2", "sixel", "blocks"),
    ),
]

SOME_FAILED = 3
_DONE = {"copy": "copied", "link": "linked", "clip": "cut"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is to be done with the hits."""

    html: str | None = None
    copy_to: str | None = None
    link_to: str | None = None
    clip_to: str | None = None
    rank_prefix: bool = False
    preview: bool | None = None
    preview_as: str | None = None

    def any(self) -> bool:
        return any((self.html, self.copy_to, self.link_to, self.clip_to))


def give(
    settings: Settings,
    answer: Answer,
    query: Query,
    form: hits.Form,
    wishes: Wishes,
    counts: Facets | None = None,
    screen: Screen | None = None,
) -> None:
    """Do it, then list the hits. Exits with 1 if there are none, with 3 if a file could not be copied or cut."""
    if wishes.rank_prefix and not (wishes.copy_to or wishes.link_to or wishes.clip_to):
        raise UsageError("--rank-prefix needs --copy-to, --link-to or --clip-to")
    drawn = preview.way(wishes.preview, wishes.preview_as, form)
    if drawn is None and wishes.preview and not settings.quiet:
        render.note("no pictures: they are drawn on a terminal only, beside the table")
    failed = False
    if wishes.html is not None:
        from mmsearch.cli import sheet

        sheet.write(wishes.html, answer.hits, query)
    for how, folder in (("copy", wishes.copy_to), ("link", wishes.link_to), ("clip", wishes.clip_to)):
        if folder is not None:
            failed |= _collect(settings, answer, how, folder, wishes.rank_prefix)
    hits.show(settings, answer, query, form, drawn, counts, screen)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _collect(settings: Settings, answer: Answer, how: str, folder: str, ranked: bool) -> bool:
    from mmsearch.cli.collect import collect
    from mmsearch.store.presence import contents

    with settings.library() as library:
        known = contents(library.reader, [hit.item_id for hit in answer.hits])
    done = collect(answer.hits, folder, how, known, ranked)
    for failure in done.failed:
        render.note(f"mmsearch: {failure}")
    if not settings.quiet:
        more = [f"{done.same} were there"] if done.same else []
        more += [f"{done.spanless} have no span of seconds"] if done.spanless else []
        render.note(", ".join([f"{done.new} files {_DONE[how]} to {folder}", *more]))
    return bool(done.failed)
