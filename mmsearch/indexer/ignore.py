"""``.mmsearchignore``: which paths below a folder to leave out. The rules are gitignore's.

One pattern a line; blank lines and lines that start with ``#`` are skipped. ``*`` and ``?`` stay within one name,
``**`` spans folders, a ``/`` at the start or in the middle ties a pattern to the file's own folder, a ``/`` at the end
means folders only, ``!`` takes a path back in. The last pattern that matches decides; below a folder that is left out
nothing can be taken back in. Source: the manual page gitignore(5).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

NAME = b".mmsearchignore"
MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: re.Pattern[str]
    folders_only: bool
    ignore: bool


@dataclass(frozen=True, slots=True)
class IgnoreFile:
    """The rules of one folder; ``prefix`` is that folder's path relative to the root, with a trailing slash."""

    prefix: str
    rules: tuple[Rule, ...]

    def decides(self, path: str, is_folder: bool) -> bool | None:
        """True: leave ``path`` (relative to the root) out; False: take it in; None: no rule matches."""
        below = path[len(self.prefix) :]
        for rule in reversed(self.rules):
            if (is_folder or not rule.folders_only) and rule.pattern.fullmatch(below):
                return rule.ignore
        return None


def load(folder: bytes, prefix: bytes) -> IgnoreFile | None:
    """The ignore file in ``folder``, whose path relative to the root is ``prefix``; None when there is none."""
    try:
        # O_NONBLOCK: a FIFO of that name must not keep us waiting.
        with open(
            os.path.join(folder, NAME), "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)
        ) as file:
            lines = os.fsdecode(file.read(MAX_BYTES)).split("\n")
    except (FileNotFoundError, IsADirectoryError):
        return None
    rules = (parse(line.removesuffix("\r")) for line in lines)
    return IgnoreFile(os.fsdecode(prefix), tuple(rule for rule in rules if rule))


def is_ignored(files: tuple[IgnoreFile, ...], path: bytes, is_folder: bool) -> bool:
    """Whether the rules leave ``path`` out; ``files`` come outermost first, and the innermost that matches decides."""
    text = os.fsdecode(path)
    for file in reversed(files):
        if (decision := file.decides(text, is_folder)) is not None:
            return decision
    return False


def parse(line: str) -> Rule | None:
    """One line as a rule; None for a blank line, a comment or a pattern that matches nothing."""
    line = re.sub(r"(?<!\\) +$", "", line)
    if not line or line.startswith("#"):
        return None
    ignore = not line.startswith("!")
    glob = line if ignore else line[1:]
    folders_only = glob.endswith("/")
    glob = glob.rstrip("/") if folders_only else glob
    if not glob:
        return None
    if "/" not in glob:
        glob = "**/" + glob
    try:
        return Rule(re.compile(_regex(glob.removeprefix("/")), re.DOTALL), folders_only, ignore)
    except re.error:
        return None


_TOKEN = re.compile(
    r"(?P<deep>\*\*/)|(?P<rest>(?:^|/)\*\*$)|(?P<star>\*+)|(?P<any>\?)|\[(?P<set>[!^]?\]?[^\]]*)\]|\\?(?P<char>.)",
    re.DOTALL,
)


def _regex(glob: str) -> str:
    parts = []
    for token in _TOKEN.finditer(glob):
        match token.lastgroup:
            case "deep" if token.start() == 0 or glob[token.start() - 1] == "/":
                parts.append("(?:.*/)?")
            case "deep":
                parts.append("[^/]*/")
            case "rest":
                parts.append(token.group().replace("**", ".+"))
            case "star":
                parts.append("[^/]*")
            case "any":
                parts.append("[^/]")
            case "set":
                parts.append("(?!/)" + _set(token["set"]))
            case _:
                parts.append(re.escape(token["char"]))
    return "".join(parts)


def _set(chars: str) -> str:
    """The inside of ``[...]`` as a regular expression: characters and ranges; ``!`` or ``^`` in front negates."""
    negated = chars[:1] in ("!", "^")
    inside = ""
    for low, high, single in re.findall(r"(?s)(.)-(.)|(.)", chars[negated:]):
        if low <= high:
            inside += re.escape(single) if single else f"{re.escape(low)}-{re.escape(high)}"
    if not inside:  # no character is in an empty range
        return "." if negated else r"(?!)"
    return f"[{'^' if negated else ''}{inside}]"
