"""`mmsearch bridge`: one space out of an image-text model's and an audio-text model's."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body
from mmsearch.errors import UsageError


def command(
    context: typer.Context,
    image_model: Annotated[str | None, typer.Option(metavar="MODEL", help="[default: the library's]")] = None,
    audio_model: Annotated[str | None, typer.Option(metavar="MODEL", help="[default: the library's]")] = None,
    sentences: Annotated[str | None, typer.Option(metavar="FILE", help="More sentences to fit on, one a line")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N")] = "cpu",
) -> None:
    """Let photos and sounds that two models have indexed be found together: fitted on words alone, in seconds."""
    with body(context) as settings:
        from dataclasses import asdict

        made = settings.library().bridge(
            image_model=image_model, audio_model=audio_model, sentences=_lines(sentences), device=device
        )
        if settings.json:
            render.document(**asdict(made))
            return
        render.line(f"{made.image_model} and {made.audio_model}: {made.copied} vectors copied, {made.carried} carried")
        fit = made.fit
        render.line(
            f"fitted on {fit.sentences} sentences; of {fit.tested} others {100 * fit.hit1:.0f} % found themselves first"
        )
        if made.pending and not settings.quiet:
            render.note(f"{made.pending} files have no vectors yet: mmsearch index FOLDER --model {made.model}")


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return [text for line in file if (text := line.strip())]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from None
