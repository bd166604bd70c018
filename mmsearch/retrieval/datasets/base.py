"""What a benchmark set is once it is read, whatever its file format: documents, texts, and which belong together.

A format is one module with a `Format`; it fills a `Draft`, which names everything that is wrong by file and line and
lets nothing fall out of the mean: a caption whose photo is missing stays a question, and becomes a miss.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from mmsearch.errors import UsageError
from mmsearch.types import Modality

PROMPTS = {Modality.IMAGE: "a photo of a {}", Modality.AUDIO: "the sound of {}", Modality.VIDEO: "a video of a {}"}
"""How the bare name of a class becomes a question."""


class Problem(NamedTuple):
    """Something wrong with a set: file, line from 1 (0: the file as a whole), and what it is."""

    file: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


class Known(NamedTuple):
    """A public set: where it comes from, on what terms, how big it is. Nothing here is ever downloaded."""

    name: str
    where: str
    licence: str
    size: str


@dataclass(frozen=True, slots=True)
class Document:
    """What is looked for: a file (``path``), or a text."""

    id: str
    modality: Modality
    path: bytes | None = None
    text: str | None = None
    label: str | None = None


class Text(NamedTuple):
    """A caption, a class name in a prompt, or a question."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A set that was read. ``pairs``: number of a text, number of a document, gain."""

    name: str
    format: str
    split: str
    captions: str
    """The key or language of the captions, where there was a choice."""
    documents: list[Document]
    texts: list[Text]
    pairs: list[tuple[int, int, float]]
    labelled: bool
    """A set of classes: every document has one label or none, every text stands for a class."""
    revision: str
    """sha256 over the annotation files that were read, 16 digits."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for: the set's path, and how to read it. ``scratch``: a folder for files taken out of archives."""

    path: str
    images: str | None = None
    split: str | None = None
    captions: str | None = None
    scratch: str


Read: TypeAlias = "Callable[[Request, Draft], None]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A reader: ``recognises`` looks at a path, ``read`` fills a draft. ``layout`` tells people what it expects."""

    name: str
    layout: str
    recognises: Callable[[str], bool]
    read: Read
    known: tuple[Known, ...] = ()


class Draft:
    """A set while it is being read."""

    def __init__(self, request: Request) -> None:
        self.split, self.labelled = request.split or "all", False
        self.captions = ""
        """Which were chosen, set by formats that have several; the others refuse a choice."""
        self.problems: list[Problem] = []
        self._folders = [request.images] if request.images else _near(request.path)
        self._documents: list[Document] = []
        self._texts: list[Text] = []
        self._pairs: list[tuple[int, int, float]] = []
        self._number: dict[str, int] = {}
        self._captions: dict[int, int] = {}
        self._places: list[tuple[str, int]] = []
        self._digest = hashlib.sha256()
        self._lost = 0

    def problem(self, file: str, line: int, what: str) -> None:
        self.problems.append(Problem(file, line, what))

    def add_revision(self, data: bytes) -> None:
        """Let the content of an annotation file count in the set's revision."""
        self._digest.update(data)

    def document(
        self, name: str, file: str, line: int, *, path: str | None = None, label: str | None = None, again: bool = False
    ) -> int:
        """The number of a file by its name in the set; ``again``: it may be named more than once.

        ``path`` overrides where it is looked for: below ``--images``, or beside the set.
        """
        name = _writable(name)
        if name in self._number:
            if not again:
                self.problem(file, line, f"{name} was there before: duplicate id")
            return self._number[name]
        found = path or self._find(name)
        if found is None or not os.path.isfile(found):
            self._lost += 1
            more = " or where sets keep files: --images says where" if len(self._folders) > 1 else ""
            self.problem(file, line, f"{name}: no such file in {self._folders[0]}{more}")
        place = os.fsencode(os.path.abspath(found or os.path.join(self._folders[0], name)))
        return self._add(Document(name, modality_of(name), path=place, label=label), file, line)

    def text_document(self, name: str, text: str, file: str, line: int) -> int:
        """The number of a text that is looked for."""
        if name in self._number:
            self.problem(file, line, f"{name} was there before: duplicate id")
            return self._number[name]
        return self._add(Document(name, Modality.TEXT, text=text), file, line)

    def number(self, name: str) -> int | None:
        """The number of a document that was added, by its name."""
        return self._number.get(name)

    def caption(self, document: int, text: object, file: str, line: int) -> None:
        """A text that belongs to one document; one that is empty is a problem."""
        if not isinstance(text, str) or not text.strip():
            self.problem(file, line, f"{self._documents[document].id}: an empty caption, or none that is text")
            return
        count = self._captions[document] = self._captions.get(document, -1) + 1
        self.pair(self.question(f"{self._documents[document].id}#{count}", text), document)

    def question(self, name: str, text: str) -> int:
        """The number of a new text."""
        self._texts.append(Text(name, " ".join(_writable(text).split())))
        return len(self._texts) - 1

    def pair(self, text: int, document: int, gain: float = 1.0) -> None:
        """This text and this document belong together."""
        self._pairs.append((text, document, gain))

    def finish(self, name: str, kind: str) -> Dataset:
        """The set. Raises ``UsageError`` for one with nothing to ask or to find."""
        if self.labelled:
            self._ask_for_classes()
        if not self._documents or not self._texts:
            what = "files" if not self._documents else "captions"
            reason = f" ({self.problems[0]})" if self.problems else ""
            raise UsageError(f"{name}: no {what} in it as {kind}{reason}: `mmsearch evaluate --list` shows the layouts")
        files = sum(document.path is not None for document in self._documents)
        if files and files == self._lost:
            raise UsageError(f"{name}: none of its {files} files is there ({self.problems[0]})")
        captioned = {document for _, document, _ in self._pairs}
        if not any(document.path is None for document in self._documents):
            for number, (file, line) in enumerate(self._places):
                if number not in captioned:
                    what = "label" if self.labelled else "caption"
                    self.problem(file, line, f"{self._documents[number].id}: no {what}, only a distractor")
        return Dataset(
            name, kind, self.split, self.captions, self._documents, self._texts, self._pairs, self.labelled,
            self._digest.hexdigest()[:16], self.problems,
        )  # fmt: skip

    def _ask_for_classes(self) -> None:
        classes: dict[tuple[str, Modality], int] = {}
        for number, document in enumerate(self._documents):
            if document.label is None:
                continue
            prompt = PROMPTS.get(document.modality, "{}")
            key = document.label, document.modality
            if key not in classes:
                classes[key] = self.question(f"{document.modality}/{document.label}", prompt.format(document.label))
            self.pair(classes[key], number)

    def _add(self, document: Document, file: str, line: int) -> int:
        self._number[document.id] = len(self._documents)
        self._documents.append(document)
        self._places.append((file, line))
        return len(self._documents) - 1

    def _find(self, name: str) -> str | None:
        paths = (os.path.join(folder, name) for folder in self._folders)
        return next((path for path in paths if os.path.isfile(path)), None)


_FOLDERS = ("images", "Images", "audio", "Flicker8k_Dataset", "../Flicker8k_Dataset")
"""Where sets keep their files, seen from the annotations; one is spelled as its makers spell it."""


def modality_of(name: str) -> Modality:
    """What a file name promises; anything unknown is taken for a photo."""
    kind = (mimetypes.guess_type(name)[0] or "").partition("/")[0]
    return Modality(kind) if kind in ("audio", "video") else Modality.IMAGE


def _writable(text: str) -> str:
    """Without lone surrogates, which JSON can hold, and no file name or tokenizer; names that are not UTF-8 stay."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def choose_split(wanted: str | None, there: Iterable[str], default: str = "test") -> str:
    """The split to read: ``wanted``, else ``default``, else the only one. ``UsageError`` names those there are."""
    names = sorted(set(there))
    if wanted is None and not names:
        raise UsageError("there is nothing in it to choose a split of")
    if wanted is None and default in names:
        return default
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is not None and wanted in names:
        return wanted
    said = "--split is needed" if wanted is None else f"no split {wanted!r}"
    raise UsageError(f"{said}: there are {', '.join(names) or 'none'}")


def _near(path: str) -> list[str]:
    folder = path if os.path.isdir(path) else os.path.dirname(os.path.abspath(path))
    return [folder, *(os.path.join(folder, name) for name in _FOLDERS)]
