"""Questions of each kind, with the files that are right, from the files themselves: nothing of a search is used."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from bench.answers.data import PARTS, noun_part, nouns, part_of, share, shuffled, telling, tokens
from bench.answers.make import File, Recipe, part_of_file
from bench.answers.texts import paragraphs

SOUNDS = {
    "dog bark": ("a dog barking", "barking", "dog bark", "the bark of a dog"),
    "rain": ("rain", "rain falling", "the sound of rain", "raindrops"),
    "sea waves": ("sea waves", "waves breaking", "the sound of the sea", "surf at the shore"),
    "baby cry": ("a baby crying", "crying baby", "a baby cries", "the cry of an infant"),
    "clock tick": ("a clock ticking", "tick of a clock", "a ticking clock", "clock tick"),
    "person sneeze": ("a person sneezing", "sneeze", "somebody sneezes", "sneezing"),
    "helicopter": ("helicopter", "a helicopter flying over", "helicopter noise", "the sound of a helicopter"),
    "chainsaw": ("chainsaw", "a chainsaw cutting", "the noise of a chainsaw", "chainsaw engine"),
    "rooster": ("rooster", "a rooster crowing", "cock crow", "rooster crowing in the morning"),
    "fire crackling": ("fire crackling", "a crackling fire", "crackling flames", "the crackle of a fire"),
}
HEARD = {"dog bark": "dog animal", "baby cry": "baby", "rain": "rain", "sea waves": "sea ocean wave", "rooster": "bird",
         "fire crackling": "fire"}  # fmt: skip
"""Nouns that a sound shows as well as a photo."""
WNIDS = {"dog": [(2085620, 2113978)], "bird": [(1514668, 1622779), (1795545, 2058221)], "cat": [(2123045, 2124075)],
         "fish": [(1440764, 1498041), (2514041, 2655020)], "animal": [(1440764, 2510455)]}  # fmt: skip
"""Where an ImageNet class lies that is a kind of it."""

ENOUGH = 8
"""Photos of a folder that show a noun, for a question of both: a noun that people would ask for there."""


@dataclass(frozen=True)
class Question:
    text: str
    right: frozenset[str]
    part: str


Kind = Callable[["Place"], Iterator[Question]]


class Place:
    """The files of one arrangement; ``most``: questions of a kind that are asked of them."""

    def __init__(self, files: Sequence[File], recipe: Recipe, arrangement: str, most: int | None = None) -> None:
        self.files, self.recipe, self.arrangement, self.most = files, recipe, arrangement, most
        self.captioned = [file for file in files if file.photo is not None and file.photo.en and not file.copy_of]
        self.unseen = [file for file in self.captioned if file.photo.source.name in _val()]
        self._twins: dict[str, list[str]] = {}
        for file in files:
            if file.kind == "image":
                self._twins.setdefault(file.photo.source.name, []).append(self.path(file))

    def path(self, file: File) -> str:
        return file.path(self.arrangement)

    def same(self, file: File) -> frozenset[str]:
        """A file and its copies."""
        return frozenset(self._twins[file.photo.source.name]) if file.kind == "image" else frozenset([self.path(file)])

    def drawn(self, what: str, files: Iterable[File], count: int) -> list[File]:
        """So many files of each part."""
        by_key = {self.path(file): file for file in files}
        ordered = [
            by_key[key] for key in sorted(by_key, key=lambda key: share(self.recipe.name, what, by_key[key].name))
        ]
        chosen: Counter[str] = Counter()
        kept = []
        for file in ordered:
            part = part_of_file(file)
            if chosen[part] < count:
                chosen[part] += 1
                kept.append(file)
        return kept

    def named(self, files: Iterable[File], noun_words: frozenset[str], noun: str) -> frozenset[str]:
        return frozenset(self.path(file) for file in files if shows(file, noun_words, noun))


def _val() -> frozenset[str]:
    from bench.answers.data import flickr

    return frozenset(photo.source.name for photo in flickr("val"))


def shows(file: File, words: frozenset[str], noun: str) -> bool:
    """Whether a photo's captions or class, a film's stills, or a sound's class name a noun."""
    if file.kind == "audio":
        return noun in HEARD.get(file.sound, "").split()
    photos = file.stills or ((file.photo,) if file.photo is not None else ())
    for photo in photos:
        if photo.words & words or set(tokens(photo.label)) & words:
            return True
        name = photo.source.name
        if photo.label and any(low <= int(name[1:9]) <= high for low, high in WNIDS.get(noun, ())):
            return True
    return False


def other_caption(file: File, salt: str) -> str:
    """One of the captions that no sidecar has."""
    return file.photo.en[1 + int(4 * share("caption", salt, file.photo.source.name)) % (len(file.photo.en) - 1)]


def captions(place: Place) -> Iterator[Question]:
    """Captions as they come."""
    for file in place.unseen:
        yield Question(other_caption(file, place.recipe.name), place.same(file), part_of_file(file))


def sharing(place: Place) -> Iterator[Question]:
    """Captions that have a word of a folder's name."""
    words = {word for folder in place.recipe.folders for word in telling(folder)}
    for file in place.unseen:
        for caption in file.photo.en[1:]:
            if words & set(telling(caption)):
                yield Question(caption, place.same(file), part_of_file(file))
                break


def chinese(place: Place) -> Iterator[Question]:
    for file in place.drawn("chinese", [file for file in place.unseen if file.photo.zh], 250):
        zh = file.photo.zh
        text = zh[int(len(zh) * share("zh", place.recipe.name, file.photo.source.name))]
        yield Question(text, place.same(file), part_of_file(file))


def names(place: Place) -> Iterator[Question]:
    """A photo's or sound's name: whole, without suffix, the number alone, with a blank in it."""
    for kind, count in (("image", 30), ("audio", 10)):
        originals = [file for file in place.files if file.kind == kind and not file.copy_of]
        for file in place.drawn("names", originals, count):
            stem = file.name.rpartition(".")[0]
            word, _, number = stem.partition("_")
            for text in (file.name, stem, number, f"{word.lower()} {number}"):
                yield Question(text, place.same(file), part_of_file(file))


UNREAD = {"classes.json"}
"""What is no document: JSON without a record. It is there to be skipped."""


def text_names(place: Place) -> Iterator[Question]:
    """A text file's name, with and without suffix."""
    for file in place.files:
        if file.kind == "text" and file.name not in UNREAD:
            for text in (file.name, file.name.rpartition(".")[0]):
                yield Question(text, place.same(file), part_of_file(file))


def _written(place: Place) -> list[tuple[File, str]]:
    """Whatever stands somewhere by the letter: captions beside photos, paragraphs of texts."""
    sidecars = [(file, file.sidecar) for file in place.files if file.sidecar]
    return sidecars + [(file, text) for file in place.files if file.kind == "text" for text in paragraphs(file.text)]


def quoted(place: Place) -> Iterator[Question]:
    """Four words in quotation marks that stand so in one file only; from the beginning of a paragraph, as a phrase that
    is cut by the end of a chunk is not found."""
    written = _written(place)
    spread = [(file, f" {' '.join(text.lower().split())} ") for file, text in written]
    for file, text in written:
        if share("quoted", place.path(file), text) > (0.6 if file.sidecar else 0.1):
            continue
        words = text.split()
        runs = [" ".join(words[i : i + 4]) for i in range(min(3, len(words) - 3))]
        runs = [run for run in runs if re.fullmatch(r"[A-Za-z ]+", run) and len(telling(run)) >= 2]
        runs = [run for run in runs if {id(f) for f, t in spread if run.lower() in t} == {id(file)}]
        if runs:
            chosen = shuffled(runs, place.path(file))[0]
            yield Question(f'"{chosen}"', place.same(file), part_of_file(file))


def sidecar_words(place: Place) -> Iterator[Question]:
    """The three rarest words of a caption beside a photo."""
    bags = [(file, set(telling(text))) for file, text in _written(place)]
    often = Counter(word for _, bag in bags for word in bag)
    for file in place.files:
        words = sorted(set(telling(file.sidecar)), key=lambda word: (often[word], share(file.name, word)))[:3]
        if len(words) == 3 and sum(set(words) <= bag for _, bag in bags) == 1:
            yield Question(" ".join(words), place.same(file), part_of_file(file))


def chunk_words(place: Place) -> Iterator[Question]:
    """Four words of a paragraph's beginning, in any order, that no other file's paragraph has together.

    Of fourteen words in a row: what stands further apart may be in two chunks.
    """
    bags = [(file, set(telling(text)), set(telling(" ".join(text.split()[:14])))) for file, text in _written(place)]
    for file, _, start in bags:
        if (
            file.sidecar
            or file.name in UNREAD
            or share("chunk", file.name, sorted(start)) > (0.15 if "manual" in file.name else 1)
        ):
            continue
        words = shuffled([word for word in start if len(word) > 3], f"chunk {place.recipe.name}")[:4]
        if len(words) == 4 and {id(other) for other, bag, _ in bags if set(words) <= bag} == {id(file)}:
            yield Question(" ".join(words), place.same(file), part_of(" ".join(words)))


def single_nouns(place: Place) -> Iterator[Question]:
    """Everyday nouns; whatever names them is right. Only photos, films and sounds: a list of words shows nothing."""
    seen = [file for file in place.files if file.kind != "text"]
    for noun, words in nouns().items():
        right = place.named(seen, words, noun)
        if len([path for path in right if "IMG_" in path]) >= 10:
            yield Question(noun, right, noun_part(noun))


def sounds_by_name(place: Place) -> Iterator[Question]:
    for sound, texts in SOUNDS.items():
        right = frozenset(place.path(file) for file in place.files if file.sound == sound)
        for i, text in enumerate(shuffled(texts, place.recipe.name)):
            yield Question(text, right, PARTS[i % 2])


def mixed(place: Place) -> Iterator[Question]:
    """A folder's word and a noun: "christmas dog"."""
    photos = [file for file in place.files if file.kind == "image"]
    by_noun = {noun: place.named(photos, words, noun) for noun, words in nouns().items()}
    for word, (noun, having) in product(place.recipe.mixed, by_noun.items()):
        if share("mixed", place.recipe.name, word, noun) > 0.4:
            continue
        right = frozenset(path for path in having if word in path.lower())
        if len(right) >= ENOUGH and word not in nouns()[noun]:
            yield Question(f"{word} {noun}", right, noun_part(noun))


def caption_and_folder(place: Place) -> Iterator[Question]:
    """A caption, and the folder's name behind a comma."""
    words = {word.lower(): word for word in place.recipe.mixed if not word.isdigit() and word != "misc"}
    inside = [file for file in place.unseen if any(word in place.path(file).lower() for word in words)]
    for file in place.drawn("and folder", inside, 100):
        word = next(word for word in words if word in place.path(file).lower())
        text = f"{other_caption(file, place.recipe.name).rstrip(' .')}, {word.capitalize()}"
        yield Question(text, place.same(file), part_of_file(file))


def in_words(place: Place) -> Iterator[Question]:
    """Folders and years in words."""
    for i, text in enumerate(place.recipe.in_words):
        words = re.findall(r"\w+", text)
        right = frozenset(
            place.path(file) for file in place.files
            if all(word in place.path(file).lower() or file.taken[:4] == word for word in words)
        )  # fmt: skip
        yield Question(text, right, PARTS[i % 2])


KNOWN: dict[str, Kind] = {
    "captions as they come": captions,
    "captions that share a word with a folder": sharing,
    "exact photo or sound name": names,
    "text file's name": text_names,
    "quoted words": quoted,
    "three words of a sidecar": sidecar_words,
    "four words of a chunk": chunk_words,
    "Chinese captions": chinese,
    "caption and folder": caption_and_folder,
}
"""Kinds that look for one file: hit@1 and hit@10."""
SETS: dict[str, Kind] = {
    "single nouns": single_nouns,
    "sounds by name": sounds_by_name,
    "name and meaning mixed": mixed,
    "dates and folders in words": in_words,
}
"""Kinds that look for many: hit@1, hit@10, precision@10 and mean average precision as well."""
BY_FOLDER = {"captions as they come", "captions that share a word with a folder", "caption and folder",
             "name and meaning mixed", "dates and folders in words"}  # fmt: skip
"""Kinds that the arrangement of folders can change: asked in both."""


def of(kind: str, place: Place, part: str) -> list[Question]:
    asked = [question for question in {**KNOWN, **SETS}[kind](place) if question.part == part and question.right]
    drawn = sorted(asked, key=lambda question: share("of", question.text, *sorted(question.right)))[: place.most]
    return sorted(drawn, key=lambda question: question.text)
