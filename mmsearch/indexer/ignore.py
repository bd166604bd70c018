"""``.mmsearchignore``: which paths below a folder to leave out. The rules are gitignore's.

One pattern a line; blank lines and lines that start with ``#`` are skipped. ``*`` and ``?`` stay within one name,
``**`` spans folders, a ``/`` at the start or in the middle ties a pattern to the file's own folder, a ``/`` at the end
means folders only, ``!`` takes a path back in. The last pattern that matches decides; below a folder that is left out
nothing can be taken back in. Source: the manual page gitignore(5).

Whatever the patterns are, a path costs time in proportion to their length and its own. The common library is no help:
pathspec 1.1 needs more than ten seconds for ``*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b`` on a name of 40 characters.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

NAME = b".mmsearchignore"
MAX_BYTES = 1024 * 1024
MAX_GLOBS, LONGEST = 32 * 1024, 4096
"""Characters of all patterns with wildcards of a file, and of one; names and paths as they are cost next to nothing."""


class Rule(NamedTuple):
    """``glob`` is the pattern without what stands around it; one with a slash is tied to the file's folder."""

    glob: str
    folders_only: bool
    ignore: bool


@dataclass(slots=True)
class _Rules:
    """Those for files, or those for folders. Rules in a row that all leave out, or all take in, share a number."""

    exact: dict[str, int] = field(default_factory=dict)
    """Names, and paths with a slash before them, to the number of the last rule."""
    globs: list[tuple[int, re.Pattern[str] | None, re.Pattern[str] | None]] = field(default_factory=list)
    """Number, what names match, what paths match; the last first."""

    def last(self, below: str) -> int:
        """The highest number of a rule that matches a path; 0: none does."""
        name = below.rpartition("/")[2]
        best = max(self.exact.get(name, 0), self.exact.get("/" + below, 0))
        for number, names, paths in self.globs:
            if number <= best:
                break
            if (names and names.match(name)) or (paths and paths.match(below)):
                return number
        return best


class IgnoreFile:
    """The rules of one folder; ``prefix`` is that folder's path relative to the root, with a trailing slash."""

    def __init__(self, prefix: str, rules: Iterable[Rule]) -> None:
        """Raises ``OSError`` for more wildcards than can be matched in good time."""
        self._prefix = prefix
        self._files, self._folders = _Rules(), _Rules()
        self._ignores = [False]
        room = MAX_GLOBS
        for ignore, run in groupby(rules, key=lambda rule: rule.ignore):
            self._ignores.append(ignore)
            globs = self._add(len(self._ignores) - 1, run)
            room -= sum(map(len, globs))
            if room < 0:
                raise OSError(errno.EFBIG, f"more than {MAX_GLOBS} characters of wildcards in its {NAME.decode()}")

    def _add(self, number: int, run: Iterable[Rule]) -> list[str]:
        """Take in rules that all say the same; returns those with wildcards."""
        globs: dict[str, bool] = {}
        for glob, folders_only, _ in run:
            if _WILD.search(glob):
                globs[glob] = globs.get(glob, True) and folders_only
                continue
            exact = re.sub(r"(?s)\\(.)", r"\1", glob) if "\\" in glob else glob
            exact = "/" + exact.removeprefix("/") if "/" in glob else exact
            self._folders.exact[exact] = number
            if not folders_only:
                self._files.exact[exact] = number
        if any(len(glob) > LONGEST for glob in globs):
            raise OSError(errno.EFBIG, f"a pattern of more than {LONGEST} characters in its {NAME.decode()}")
        if globs and sum(map(len, globs)) <= MAX_GLOBS:
            self._folders.globs.insert(0, (number, *_compiled(list(globs))))
            if for_files := [glob for glob, folders_only in globs.items() if not folders_only]:
                self._files.globs.insert(0, (number, *_compiled(for_files)))
        return list(globs)

    def decides(self, path: str, is_folder: bool) -> bool | None:
        """True: leave ``path`` (relative to the root) out; False: take it in; None: no rule matches."""
        rules = self._folders if is_folder else self._files
        number = rules.last(path[len(self._prefix) :])
        return self._ignores[number] if number else None


def load(folder: bytes, prefix: bytes) -> IgnoreFile | None:
    """The ignore file in ``folder``, whose path relative to the root is ``prefix``; None when there is none.

    Raises ``OSError`` for one that can't be read, or is too large: better nothing than what somebody wanted left out.
    """
    try:
        # O_NONBLOCK: a FIFO of that name must not keep us waiting.
        with open(
            os.path.join(folder, NAME), "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)
        ) as file:
            data = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError):
        return None
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"its {NAME.decode()} is larger than {MAX_BYTES // 2**20} MiB")
    lines = os.fsdecode(data).replace("\r\n", "\n").removesuffix("\r").split("\n")
    once = reversed(dict.fromkeys(reversed(lines)))  # of the same line twice, the last decides
    return IgnoreFile(os.fsdecode(prefix), (rule for line in once if (rule := parse(line))))


def is_ignored(files: tuple[IgnoreFile, ...], path: bytes, is_folder: bool) -> bool:
    """Whether the rules leave ``path`` out; ``files`` come outermost first, and the innermost that matches decides."""
    text = os.fsdecode(path)
    for file in reversed(files):
        if (decision := file.decides(text, is_folder)) is not None:
            return decision
    return False


def parse(line: str) -> Rule | None:
    """One line as a rule; None for a blank line, a comment or a pattern that matches nothing."""
    bare = line.rstrip(" ")
    line = bare + " " if bare.endswith("\\") and bare != line else bare
    if not line or line.startswith("#"):
        return None
    ignore = not line.startswith("!")
    glob = line if ignore else line[1:]
    folders_only = glob.endswith("/")
    glob = glob.rstrip("/") if folders_only else glob
    return Rule(glob, folders_only, ignore) if glob else None


_WILD = re.compile(r"[*?\[]")
_TOKEN = re.compile(
    r"(?P<deep>\*\*/)|(?P<rest>(?:^|/)\*\*$)|(?P<star>\*+)|(?P<any>\?)|\[(?P<set>[!^]?\]?[^\]]*)\]|\\?(?P<char>.)",
    re.DOTALL,
)
_STAR, _DEEP = "*", "**/"
"""Between the parts of a pattern: any characters of one name; any folders."""


def _compiled(globs: Sequence[str]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """What the names match that no slash ties to a folder, and what paths match."""
    names = [_regex(_parts(glob)) for glob in globs if "/" not in glob]
    paths = [_regex(_parts(glob.removeprefix("/"))) for glob in globs if "/" in glob]
    return _any_of(names), _any_of(paths)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(patterns), re.DOTALL) if patterns else None


def _parts(glob: str) -> list[str]:
    """A pattern as regular expressions of fixed parts, with ``_STAR`` and ``_DEEP`` between them."""
    parts: list[str] = []
    for token in _TOKEN.finditer(glob):
        match token.lastgroup:
            case "deep" if token.start() == 0 or glob[token.start() - 1] == "/":
                parts.append(_DEEP)
            case "deep":
                parts += [_STAR, "/"]
            case "rest":
                parts.append(token.group().replace("**", ".+"))
            case "star":
                parts.append(_STAR)
            case "any":
                parts.append("[^/]")
            case "set":
                parts.append("(?!/)" + _set(token["set"]))
            case _:
                parts.append(re.escape(token["char"]))
    return parts


def _regex(parts: Sequence[str]) -> str:
    """A regular expression that never tries again what matched before a star: the first place is as good as any.

    What follows a star can start as early as possible, as that leaves the most to the stars after it. So only the last
    star has to be tried at every place, and only until the end fits.
    """
    *middle, last = _split(parts, _DEEP)
    found = ""
    for number, part in enumerate(middle):
        found += _stars(part) if not number else f"(?>(?:[^/]*/)*?{_stars(part)})"
    return found + ("(?:[^/]*/)*?" if middle else "") + _stars(last) + r"\Z"


def _stars(parts: Sequence[str]) -> str:
    first, *others = ["".join(fixed) for fixed in _split(parts, _STAR)]
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^/]*?{fixed})" for fixed in middle) + f"[^/]*{last}"


def _split(parts: Sequence[str], mark: str) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for part in parts:
        if part == mark:
            found.append([])
        else:
            found[-1].append(part)
    return found


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
