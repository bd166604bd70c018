"""The questions that went wrong, as one HTML page: what was asked, what came, what was right.

Photos are linked, not copied: the page is small, and works where the files are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from urllib.parse import quote

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.retrieval.evaluate import Direction, Report
from mmsearch.types import Modality

WORST = 100
SHOWN = 5

_STYLE = """
body { font: 14px sans-serif; margin: 2em } h2 { margin-top: 2em }
.row { display: flex; gap: 8px; align-items: flex-start; border-top: 1px solid #ccc; padding: 8px 0 }
.asked { width: 22em; flex: none }
figure { margin: 0; width: 150px }
figcaption { font-size: 11px; overflow-wrap: anywhere }
img { width: 150px; height: 110px; object-fit: cover }
.right { outline: 3px solid #2a2 }
"""


def write(report: Report, path: str) -> int:
    """Write the page, of each direction the ``WORST`` questions that were not right at once; says how many."""
    rows = [row for direction in report.directions for row in _section(report, direction)]
    facts = report.facts
    title = escape(f"{facts['dataset']}: what {facts['model']} got wrong")
    page = f'<!doctype html><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>'
    try:
        with open(path, "w", encoding="utf-8", errors="xmlcharrefreplace") as file:
            file.write("\n".join([page, *rows]) + "\n")
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be written').lower()}") from None
    return sum(row.startswith('<div class="row">') for row in rows)


def _section(report: Report, direction: Direction) -> Iterator[str]:
    failed = np.flatnonzero(direction.values["hit@1"] == 0)
    worst = failed[np.argsort(-direction.exact.ranks[failed], kind="stable")][:WORST]
    yield f"<h2>{escape(direction.name)}: {len(failed)} of {len(direction.queries)} not right at once</h2>"
    for query in worst.tolist():
        right = direction.qrels.document[direction.qrels.starts[query] : direction.qrels.starts[query + 1]].tolist()
        came = [number for number in direction.run[query, :SHOWN].tolist() if number >= 0]
        asked = _shown(report, direction, direction.source, direction.asked[query], "", False)
        cells = [
            _document(report, direction, number, f"{rank}", number in right) for rank, number in enumerate(came, 1)
        ]
        cells += ["<b>right:</b>", *(_document(report, direction, number, "", True) for number in right[:SHOWN])]
        rank = f"rank {direction.exact.ranks[query]:.0f}"
        yield f'<div class="row"><div class="asked">{asked}<br>{rank}</div>{"".join(cells)}</div>'


def _document(report: Report, direction: Direction, number: int, note: str, right: bool) -> str:
    return _shown(report, direction, direction.target, direction.documents[number], note, right)


def _shown(report: Report, direction: Direction, kind: Modality, name: str, note: str, right: bool) -> str:
    caption = escape(f"{note} {_texts(report).get(name, name)}".encode("utf-8", "replace").decode())
    if kind is Modality.TEXT:
        return f"<figure><figcaption>{'<b>' if right else ''}{caption}{'</b>' if right else ''}</figcaption></figure>"
    path = _paths(report).get(name, os.fsencode(name))
    link = "file://" + quote(os.path.realpath(path))
    mark = ' class="right"' if right else ""
    picture = f'<img src="{link}" loading="lazy"{mark}>' if kind is Modality.IMAGE else f'<audio controls src="{link}">'
    return f'<figure><a href="{link}">{picture}</a><figcaption>{caption}</figcaption></figure>'


def _texts(report: Report) -> dict[str, str]:
    return {text.id: text.text for text in report.dataset.texts}


def _paths(report: Report) -> dict[str, bytes]:
    return {document.id: document.path for document in report.dataset.documents if document.path is not None}
