"""The filter language of ``--where``, parsed by hand into conditions; nothing that is typed reaches SQL as text.

    condition  = all ("or" all)*
    all        = one ("and" one)*
    one        = "not" one | "(" condition ")" | field comparison
    comparison = operator value | ["not"] "in" "(" value ("," value)* ")" | "is" ["not"] "known"
    operator   = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=" | "~" | "!~"

A value is a number (``2000``, ``5MB``), a date (``last week``), bare letters (``jpg``) or a text in quotes.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NamedTuple, NoReturn

from mmsearch.errors import UsageError
from mmsearch.retrieval.dates import period
from mmsearch.store.filters import FIELDS, And, Compare, Condition, Known, Not, Or, Value

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<mark>[(),]|==|=|!=|<>|<=|<|>=|>|!~|~)
    |(?P<word>[^\s(),=<>!~'"]+))""",
    re.VERBOSE,
)
_OPERATORS = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
    "~": "~",
    "!~": "~",
}
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([a-z]*)", re.IGNORECASE)
_UNITS = {
    "size": {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30},
    "duration_s": {"": 1, "s": 1, "sec": 1, "min": 60, "h": 3600},
}
DEEPEST = 50
"""Brackets inside brackets."""


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


def parse(source: str) -> Condition:
    """The condition that ``source`` writes out. Raises ``UsageError`` that points at the column where it stops."""
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source, self._next, self._depth = source, 0, 0
        self._tokens = list(self._split())

    def _split(self) -> list[_Token]:
        tokens, at, end = [], 0, len(self._source.rstrip())
        while at < end:
            found = _TOKEN.match(self._source, at)
            if found is None:
                at += len(self._source[at:]) - len(self._source[at:].lstrip())
                unclosed = self._source[at] in "'\""
                self._fail("this quote is not closed" if unclosed else f"unexpected {self._source[at]!r}", at)
            assert found.lastgroup is not None
            tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            at = found.end()
        return [*tokens, _Token("end", "", end)]

    def whole(self) -> Condition:
        condition = self._any()
        if self._peek.kind != "end":
            self._fail(f"expected `and`, `or` or the end, not {self._peek.text!r}")
        return condition

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._peek
        self._next += token.kind != "end"
        return token

    def _takes(self, *words: str) -> bool:
        """Whether the next token is one of these words or marks; if so it is taken."""
        found = self._peek.kind in ("word", "mark") and self._peek.text.lower() in words
        self._next += found
        return found

    def _expect(self, mark: str) -> None:
        if not self._takes(mark):
            self._fail(f"expected `{mark}`" + (f", not {self._peek.text!r}" if self._peek.text else ""))

    def _any(self) -> Condition:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(f"more than {DEEPEST} levels deep")
        if self._takes("not"):
            part: Condition = Not(self._one())
        elif self._takes("("):
            part = self._any()
            self._expect(")")
        else:
            part = self._comparison()
        self._depth -= 1
        return part

    def _comparison(self) -> Condition:
        token = self._take()
        name = token.text.lower()
        if token.kind != "word" or name not in FIELDS:
            near = get_close_matches(name, FIELDS, 1, 0.5)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(FIELDS)}"
            self._fail(f"no field {token.text!r}: {hint}" if token.text else f"expected a field: {hint}", token.at)
        if self._takes("is"):
            negated = self._takes("not")
            if not self._takes("known"):
                self._fail("expected `known`")
            return Not(Known(name)) if negated else Known(name)
        negated = self._takes("not")
        if self._takes("in"):
            return self._among(name, negated)
        if negated:
            self._fail("expected `in`")
        return self._operation(name)

    def _among(self, name: str, negated: bool) -> Condition:
        self._expect("(")
        parts: list[Condition] = [Compare(name, "=", self._value(name))]
        while self._takes(","):
            parts.append(Compare(name, "=", self._value(name)))
        self._expect(")")
        one_of = Or(tuple(parts))
        return And((Known(name), Not(one_of))) if negated else one_of

    def _operation(self, name: str) -> Condition:
        token = self._take()
        operator = _OPERATORS.get(token.text) if token.kind == "mark" else None
        if operator is None:
            self._fail(f"expected a comparison of {name}, such as `=`", token.at)
        if operator == "~" and FIELDS[name].kind != "text":
            self._fail(f"`~` is for texts, and {name} is a {FIELDS[name].kind}", token.at)
        compare = Compare(name, operator, self._value(name))
        return And((Known(name), Not(compare))) if token.text == "!~" else compare

    def _value(self, name: str) -> Value:
        token = self._take()
        if token.kind not in ("word", "text"):
            self._fail(f"expected a value for {name}", token.at)
        text = re.sub(r"\\(.)", r"\1", token.text[1:-1]) if token.kind == "text" else token.text
        match FIELDS[name].kind:
            case "number":
                return self._number(name, text, token.at)
            case "date":
                try:
                    return period(text if token.kind == "text" else self._words(text))
                except ValueError as error:
                    self._fail(str(error), token.at)
            case "text":
                return text

    def _words(self, first: str) -> str:
        """A date without quotes may have several words: they go on to `and`, `or`, a mark or the end."""
        words = [first]
        while self._peek.kind == "word" and self._peek.text.lower() not in ("and", "or"):
            words.append(self._take().text)
        return " ".join(words)

    def _number(self, name: str, text: str, at: int) -> float:
        units = _UNITS.get(name, {"": 1})
        found = _NUMBER.fullmatch(text)
        if found is None or found[2].lower() not in units:
            known = ", ".join(unit for unit in units if unit)
            self._fail(f"{name} is a number, not {text!r}" + (f" (units: {known})" if known else ""), at)
        return float(found[1]) * units[found[2].lower()]

    def _fail(self, message: str, at: int | None = None) -> NoReturn:
        at = self._peek.at if at is None else at
        raise UsageError(f"--where, column {at + 1}: {message}\n  {self._source}\n  {' ' * at}^")
