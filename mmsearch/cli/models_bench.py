"""`mmsearch models bench`: what models cost and how well they find, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli import render
from mmsearch.cli.common import Settings
from mmsearch.cli.common import command as body
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.hub.measure import Figures, Sample


def command(
    context: typer.Context,
    models: Annotated[list[str] | None, typer.Argument(metavar="MODEL...", help="[default: all that are here]")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="On photos of your library")] = False,
    captions: Annotated[
        str | None, typer.Option(metavar="FILE", help="On photos with captions: JSON lines with image and caption")
    ] = None,
    images: Annotated[str | None, typer.Option(metavar="DIR", help="Where the photos of --captions lie")] = None,
    count: Annotated[int, typer.Option("-n", min=10, metavar="N", help="So many photos at most")] = 200,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N")] = "auto",
) -> None:
    """Measure speed, memory, disk and, with photos, hit@10; * marks the models that no other one beats in both."""
    with body(context) as settings:
        from dataclasses import asdict

        from mmsearch.hub import measure

        sample = _sample(settings, mine, captions, images, count)
        rows = measure.table(models or _here(), sample, device)
        if settings.json:
            render.document(models=[asdict(row) for row in rows])
        else:
            render.table(HEADER, [_row(figures) for figures in rows])
        asked = next((row.asked for row in rows if row.asked), "")
        if asked and not settings.quiet:
            render.note(f"hit@10: {asked}")
        if all(row.error for row in rows):
            raise UsageError("none of these models could be measured")


def _sample(settings: Settings, mine: bool, captions: str | None, images: str | None, count: int) -> Sample:
    from mmsearch.hub import sample
    from mmsearch.hub.measure import Sample

    if mine and captions:
        raise UsageError("--mine or --captions, not both")
    if captions:
        return sample.from_captions(captions, images, count)
    return sample.from_library(settings.library().reader, count) if mine else Sample()


def _here() -> list[str]:
    """`mini`, and the presets that are pulled."""
    from mmsearch.encoders import presets
    from mmsearch.errors import MissingExtra
    from mmsearch.hub import cache

    try:
        pulled = [preset.name for preset in presets.PRESETS if cache.snapshot(preset.repo)]
    except MissingExtra:
        pulled = []
    return ["mini", *pulled]


HEADER = ("", "model", "hit@10", "photos/s", "text ms", "sound", "load s", "memory", "disk", "")


def _row(row: Figures) -> list[str]:
    return [
        "*" if row.best else "",
        row.model,
        _shown(row.hit10 and 100 * row.hit10, "{:.1f} %"),
        _shown(row.images_per_s, "{:.1f}"),
        _shown(row.text_ms, "{:.1f}"),
        _shown(row.audio_s_per_s, "{:.0f}x"),
        _shown(row.load_s, "{:.1f}"),
        render.size(row.rss_bytes) if row.rss_bytes else "",
        render.size(row.disk_bytes) if row.disk_bytes else "",
        row.error,
    ]


def _shown(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)
