"""BEIR's folders and TREC's qrels: questions, what they ask for, and judgements, each in a file of its own.

corpus.jsonl     {"_id": "d1", "title": "...", "text": "..."}     or {"_id": "d1", "image": "1.jpg"}
queries.jsonl    {"_id": "q1", "text": "..."}
qrels/test.tsv   query-id<TAB>corpus-id<TAB>score

qrels.txt        q1 0 photos/1.jpg 1      beside queries.tsv (q1<TAB>a dog) and --images, whose other files distract
"""

from __future__ import annotations

import os
from urllib.parse import unquote

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request, choose_split
from mmsearch.retrieval.datasets.files import first_line, json_lines, lines, table


def read_beir(request: Request, draft: Draft) -> None:
    root = request.path
    folder = os.path.join(root, "qrels")
    splits = [name.removesuffix(".tsv") for name in os.listdir(folder) if name.endswith(".tsv")]
    if not splits:
        raise UsageError(f"{folder}: no judgements like test.tsv in it")
    draft.split = choose_split(request.split, splits)
    corpus = os.path.join(root, "corpus.jsonl")
    documents: dict[str, int] = {}
    for line, row in json_lines(corpus, draft):
        name = str(row.get("_id"))
        if isinstance(row.get("image"), str):
            documents[name] = draft.document(row["image"], corpus, line)
        else:
            text = " ".join(str(row.get(key) or "") for key in ("title", "text")).strip()
            documents[name] = draft.text_document(name, text, corpus, line)
    path = os.path.join(root, "queries.jsonl")
    queries = {str(row.get("_id")): (str(row.get("text")), line) for line, row in json_lines(path, draft)}
    judged = os.path.join(folder, f"{draft.split}.tsv")
    asked: dict[str, int] = {}
    for line, row in table(judged, draft, "\t", needs=("query-id", "corpus-id", "score")):
        query, name, gain = row.get("query-id", ""), row.get("corpus-id", ""), row.get("score", "")
        if query not in queries:
            draft.problem(judged, line, f"query {query} is not in queries.jsonl")
            continue
        if name not in documents:
            draft.problem(judged, line, f"document {name} is not in corpus.jsonl")
            documents[name] = draft.text_document(name, "", judged, line)
        if query not in asked:
            asked[query] = draft.question(query, queries[query][0])
        draft.pair(asked[query], documents[name], _gain(gain, judged, line, draft))


def read_qrels(request: Request, draft: Draft) -> None:
    if request.split:
        raise UsageError(f"{request.path} has no splits: leave --split out")
    questions = os.path.join(os.path.dirname(os.path.abspath(request.path)), "queries.tsv")
    texts: dict[str, str] = {}
    for number, line in lines(questions, draft):
        name, tab, text = line.partition("\t")
        if not tab:
            draft.problem(questions, number, "not a line like `id<TAB>question`")
        elif name in texts:
            draft.problem(questions, number, f"{name} was there before: duplicate id")
        texts.setdefault(name, text)
    asked: dict[str, int] = {}
    for number, line in lines(request.path, draft):
        fields = line.split()
        if len(fields) != 4:
            draft.problem(request.path, number, f"{len(fields)} fields, not 4: query 0 document gain")
            continue
        query, _, name, gain = fields
        if query not in texts:
            draft.problem(request.path, number, f"query {query} is not in queries.tsv")
            continue
        if query not in asked:
            asked[query] = draft.question(query, texts[query])
        document = draft.document(unquote(name), request.path, number, again=True)
        draft.pair(asked[query], document, _gain(gain, request.path, number, draft))
    _distract(request, draft)


def _distract(request: Request, draft: Draft) -> None:
    """Files below ``--images`` that no judgement names are searched too."""
    for folder, _, names in os.walk(request.images or ""):
        for name in sorted(names):
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, request.images)
            if draft.number(relative) is None and not name.startswith("."):
                draft.document(relative, path, 0, path=path)


def _gain(text: str, file: str, line: int, draft: Draft) -> float:
    try:
        return float(text)
    except ValueError:
        draft.problem(file, line, f"{text!r} is no gain: taken for 0")
        return 0.0


def _is_beir(path: str) -> bool:
    return all(os.path.exists(os.path.join(path, name)) for name in ("corpus.jsonl", "queries.jsonl", "qrels"))


def _is_qrels(path: str) -> bool:
    fields = first_line(path).split()
    return len(fields) == 4 and fields[1] in ("0", "Q0") and fields[3].lstrip("-").isdecimal()


BEIR = Format(
    name="beir",
    layout="a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv",
    recognises=_is_beir,
    read=read_beir,
    known=(
        Known(
            "beir",
            "github.com/beir-cellar/beir",
            "each set's own",
            "18 sets of texts, from 3,633 (NFCorpus) to 15 million documents",
        ),
    ),
)
QRELS = Format(
    name="qrels",
    layout="a TREC qrels file beside queries.tsv; documents are file names below --images",
    recognises=_is_qrels,
    read=read_qrels,
)
