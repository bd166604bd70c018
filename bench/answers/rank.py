"""Rows on ranking: each kind of question in each mode, beside the bare vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.answers import questions
from bench.answers.ask import BASE, MODES, Asker, Found
from bench.answers.data import nouns, tokens
from bench.answers.make import File, Recipe
from bench.answers.questions import Place, Question
from bench.answers.score import average_precision, hit, interval, precision
from bench.common import row

DEEP = 100
"""Hits that are looked at where many files are right."""
Figures = dict[str, list[float]]
Results = dict[tuple[str, str], dict[str, list[float]]]
"""By case and mode: each measure's mean with its interval; ``hit@1 over cosine`` is the paired difference."""


def measured(asked: Sequence[Question], answers: Sequence[Sequence[Found]], many: bool) -> dict[str, list[float]]:
    """The values of each question, by measure."""
    values: dict[str, list[float]] = {}
    for question, found in zip(asked, answers, strict=True):
        paths = [one.path for one in found]
        of_one = {"hit@1": hit(paths, question.right, 1), "hit@10": hit(paths, question.right, 10)}
        if many:
            of_one |= {
                "precision@10": precision(paths, question.right, 10),
                "map": average_precision(paths, question.right),
            }
        for name, value in of_one.items():
            values.setdefault(name, []).append(value)
    return values


def report(
    case: str, part: str, mode: str, values: dict[str, list[float]], base: dict[str, list[float]], **more: object
) -> Figures:
    """Print a row; its figures, the differences to ``base`` too."""
    figures = {name: interval(of_each) for name, of_each in values.items()}
    over = {
        f"{name} over {BASE}": interval([one - other for one, other in zip(of_each, base[name], strict=True)])
        for name, of_each in values.items()
        if mode != BASE and name in base
    }
    count = len(next(iter(values.values())))
    row("answers", case, part=part, mode=mode, questions=count, **figures, **over, **more)
    return {**figures, **over, "questions": [count]}


def rows(case: str, part: str, asked: Sequence[Question], asker: Asker, many: bool, modes: Iterable[str]) -> Results:
    """Ask in each mode and print what came."""
    results: Results = {}
    if not asked:
        return results
    texts = [question.text for question in asked]
    base = measured(asked, asker(texts, BASE, DEEP if many else 10), many)
    results[case, BASE] = report(case, part, BASE, base, base)
    for mode in modes:
        values = measured(asked, asker(texts, mode, DEEP if many else 10), many)
        results[case, mode] = report(case, part, mode, values, base)
    return results


def wrong_text_first(
    place: Place, part: str, asker: Asker, modes: Iterable[str], where: str = "", notes: dict[str, str] | None = None
) -> Results:
    """In how many questions of one noun a text without the word comes before the first photo that is right."""
    case, asked = f"wrong text before the first right photo{where}", questions.of("single nouns", place, part)
    said = {place.path(file): set(tokens(file.text)) for file in place.files if file.kind == "text"}
    said |= {path: set(tokens(text)) for path, text in (notes or {}).items()}
    results: Results = {}
    for mode in (BASE, *modes):
        answers = asker([question.text for question in asked], mode, DEEP)
        wrong = [_wrong_first(question, found, said) for question, found in zip(asked, answers, strict=True)]
        results[case, mode] = report(case, part, mode, {"wrong text first": wrong}, {})
    return results


def _wrong_first(question: Question, found: Sequence[Found], said: dict[str, set[str]]) -> float:
    for one in found:
        if one.kind == "text":
            if not said.get(one.path, set()) & nouns()[question.text]:
                return 1.0
        elif one.kind == "image" and one.path in question.right:
            return 0.0
    return 0.0


def of_library(
    files: Sequence[File], recipe, askers: dict[str, Asker], part: str, modes: Sequence[str] = MODES
) -> Results:
    """All kinds, those that folders can change in both arrangements."""
    results: Results = {}
    for arrangement, asker in askers.items():
        place = Place(files, recipe, arrangement)
        for kind in (*questions.KNOWN, *questions.SETS):
            if arrangement == "number" or kind in questions.BY_FOLDER:
                asked = questions.of(kind, place, part)
                results |= rows(f"{kind}, by {arrangement}", part, asked, asker, kind in questions.SETS, modes)
        if arrangement == "number":
            results |= wrong_text_first(place, part, asker, modes)
    return results


def narrow(files: Sequence[File], recipe: Recipe, asker: Asker, part: str) -> Results:
    """The same questions of an encoder whose cosines lie as CLIP's do."""
    place = Place(files, recipe, "number")
    results: Results = {}
    for kind in NARROW_KINDS:
        asked = questions.of(kind, place, part)
        results |= rows(f"narrow cosines: {kind}", part, asked, asker, kind in questions.SETS, ["hybrid"])
    return results | wrong_text_first(place, part, asker, ["hybrid"], ", narrow cosines")


NARROW_KINDS = ("captions as they come", "single nouns", "sounds by name")
