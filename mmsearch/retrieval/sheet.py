"""The questions that went wrong, as one HTML page: what was asked, what came, what was right.

Photos are linked, not copied: the page is small, and works where the files are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from mmsearch.retrieval import page
from mmsearch.retrieval.measured import Direction, Report
from mmsearch.types import Modality

WORST = 100
SHOWN = 5

_STYLE = """
.row { display: flex; flex-wrap: wrap; gap: 8px; align-items: flex-start; border-top: 1px solid var(--line) }
.row { padding: 8px 0 }
.asked { width: 22em; max-width: 100%; flex: none }
figure { margin: 0; width: 150px }
figcaption { font-size: 11px; overflow-wrap: anywhere }
img { width: 150px; height: 110px; object-fit: cover }
.right { outline: 3px solid #2a2 }
"""


def write(report: Report, path: str) -> int:
    """Write the page, of each direction the ``WORST`` questions that were not right at once; says how many."""
    questions = _Questions(report)
    rows = [row for direction in report.directions for row in questions.section(direction)]
    title = f"{report.facts['dataset']}: what {report.facts['model']} got wrong"
    page.write(path, page.document(title, rows, _STYLE))
    return sum(row.startswith('<div class="row">') for row in rows)


class _Questions:
    """What the set's names stand for: texts, and files."""

    def __init__(self, report: Report) -> None:
        documents = report.dataset.documents
        self._texts = {text.id: text.text for text in report.dataset.texts}
        self._texts |= {document.id: document.text for document in documents if document.text is not None}
        self._paths = {document.id: document.path for document in documents if document.path is not None}

    def section(self, direction: Direction) -> Iterator[str]:
        failed = np.flatnonzero(direction.values["hit@1"] == 0)
        worst = failed[np.argsort(-direction.ranks[failed], kind="stable")][:WORST]
        yield f"<h2>{page.shown(direction.name)}: {len(failed)} of {len(direction.queries)} not right at once</h2>"
        for query in worst.tolist():
            starts = direction.qrels.starts
            right = direction.qrels.document[starts[query] : starts[query + 1]].tolist()
            came = [number for number in direction.run[query, :SHOWN].tolist() if number >= 0]
            asked = self._shown(direction.source, direction.asked[query])
            cells = [
                self._shown(direction.target, direction.documents[number], f"{rank}", number in right)
                for rank, number in enumerate(came, 1)
            ]
            cells.append("<b>right:</b>")
            cells += [self._shown(direction.target, direction.documents[number], "", True) for number in right[:SHOWN]]
            rank = f"rank {direction.ranks[query]:.0f}"
            yield f'<div class="row"><div class="asked">{asked}<br>{rank}</div>{"".join(cells)}</div>'

    def _shown(self, kind: Modality, name: str, note: str = "", right: bool = False) -> str:
        caption = page.shown(f"{note} {self._texts.get(name, name)}")
        if kind is Modality.TEXT:
            return f"<figure><figcaption>{f'<b>{caption}</b>' if right else caption}</figcaption></figure>"
        link = page.address(self._paths.get(name, os.fsencode(name)))
        mark = ' class="right"' if right else ""
        image = kind is Modality.IMAGE
        content = f'<img src="{link}" loading="lazy"{mark}>' if image else f'<audio controls src="{link}"></audio>'
        return f'<figure><a href="{link}">{content}</a><figcaption>{caption}</figcaption></figure>'
