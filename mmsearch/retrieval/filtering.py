"""What a question asks for beside its meaning: its words, its quoted words, and its filters as a selection."""

from __future__ import annotations

from mmsearch.errors import UsageError
from mmsearch.retrieval.dates import period
from mmsearch.retrieval.where import parse as parse_where
from mmsearch.store import selection
from mmsearch.store.filters import And, Compare, Condition, Near
from mmsearch.store.reader import Reader
from mmsearch.store.selection import Selection
from mmsearch.store.words import all_of, split_quoted
from mmsearch.types import Asked, Query


def words_of(query: Query) -> tuple[str, list[str]]:
    """The question's words that count for it, without quotation marks, and those that were quoted."""
    plain: list[str] = []
    literal: list[str] = []
    for part in query.parts:
        if part.kind == "text" and part.weight > 0:
            text, quoted = split_quoted(part.value)
            plain.append(text)
            literal += quoted
    return " ".join(plain), literal


def spoken(query: Query) -> tuple[Asked, ...]:
    """The parts as an encoder should read them: the marks of quoted words are for the letter alone."""
    if query.mode == "dense":
        return query.parts
    return tuple(
        part._replace(value=split_quoted(part.value)[0]) if part.kind == "text" else part for part in query.parts
    )


def condition_of(query: Query) -> Condition | None:
    """All filters of a question that speak of what files say of themselves. Raises ``UsageError``."""
    parts: list[Condition] = [] if query.where is None else [parse_where(query.where)]
    for option, operator, date in (("--since", ">=", query.since), ("--until", "<=", query.until)):
        if date is not None:
            try:
                parts.append(Compare("date", operator, period(date)))
            except ValueError as error:
                raise UsageError(f"{option}: {error}") from None
    if query.near is not None:
        parts.append(Near(*query.near))
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))


def chosen_by(reader: Reader, query: Query) -> Selection | None:
    """What passes the filters of a question, and has its quoted words; None: everything."""
    condition = condition_of(query)
    # By meaning alone a quotation mark is a character of the sentence, as in a caption that quotes a sign.
    quoted = [] if query.mode == "dense" else words_of(query)[1]
    phrases = [expression for phrase in quoted if (expression := all_of([phrase]))]
    modalities = None if query.modalities is None else sorted(query.modalities)
    if query.within is None and modalities is None and condition is None and not phrases:
        return None
    return selection.select(reader, query.within, modalities, condition, phrases)
