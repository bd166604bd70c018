"""Questions and options as nobody would ask them: whole libraries must never be called damaged because of one."""

from __future__ import annotations

from random import Random
from typing import Any

from mmsearch import Library
from mmsearch.errors import Damaged, MMSearchError

_MARKS = "'\"\\!*^()[]{}:;,.-+%_$#@~`|&<>?=/\0\n\t"
_WORDS = (
    *(
        "red",
        "AND",
        "OR",
        "NOT",
        "NEAR",
        "NEAR(",
        "a*",
        "name:",
        "{name} :",
        "蓝色",
        "ß",
        "é",
        "\u0301",
        "\u200b",
        "🐈",
    ),
    *("%", "_", "--", "';", "1e999", "0x", "nan", "-1", "9223372036854775808", "\x1b[31m", "ﷺ" * 3, "x" * 70_000),
)
_FIELDS = ("width", "taken", "added", "size", "camera", "name", "path", "text", "caption", "lat", "page", "ext", "date")
_VALUES = ("1", "2024", "2024-06", "'x'", "'%'", "''", "9" * 40, "-5", "0001-01-01", "'\\\\'", "1e308", "5MB")


def words(rng: Random) -> str:
    """Some words and marks, perhaps very many."""
    count = rng.choice((0, 1, 2, 3, 8, 40, 3000))
    quote = rng.choice(("", "", '"', "'", "“"))
    short = [word for word in _WORDS if len(word) < 100]
    parts = [rng.choice(short if count > 8 else _WORDS) for _ in range(count)]
    parts += [rng.choice(_MARKS) * rng.randint(0, 3) for _ in range(rng.randint(0, 4))]
    rng.shuffle(parts)
    return rng.choice((" ", "", "\n")).join(quote + part + quote for part in parts)


def condition(rng: Random) -> str:
    """A condition in the language of ``--where``, mostly well formed, perhaps very long or deep."""
    one = lambda: f"{rng.choice(_FIELDS)} {rng.choice(('=', '!=', '<', '>=', '~', '!~'))} {rng.choice(_VALUES)}"  # noqa: E731
    kind = rng.randrange(6)
    if kind == 0:
        count = rng.choice((1, 100, 1200, 40_000))
        return f"width {rng.choice(('in', 'not in'))} ({','.join(str(n) for n in range(count))})"
    if kind == 1:
        return f" {rng.choice(('and', 'or'))} ".join(one() for _ in range(rng.choice((1, 2, 30, 1000, 2500))))
    if kind == 2:
        depth = rng.choice((1, 20, 50, 2000))
        return "(" * depth + one() + ")" * depth
    if kind == 3:
        return "not " * rng.choice((1, 3, 500)) + one()
    if kind == 4:
        return f"name ~ '{rng.choice(('%', '_', 'a', '蓝')) * rng.choice((1, 999, 60_000))}'"
    return words(rng)


def ask(library: Library, rng: Random) -> str | None:
    """Ask something; what came of it if that was damage, else None."""
    options: dict[str, Any] = {}
    if rng.random() < 0.5:
        options["where"] = condition(rng)
    if rng.random() < 0.2:
        options["within"] = rng.choice((b"/", b"/nowhere", b"a" * 5000, b"\xff", b"//x/../y"))
    mode, k = rng.choice(("hybrid", "dense", "lexical")), rng.choice((1, 3, 1000))
    text = words(rng)
    try:
        if rng.random() < 0.3:
            library.reader.items(None, text, rng.choice((None, "ok", "'", "missing")))
        else:
            library.search(text, mode=mode, k=k, **options)
    except Damaged as error:
        return f"{text[:100]!r} {str(options)[:300]}: {error}"
    except MMSearchError:
        return None
    return None
