"""Libraries of every released format open, answer, check clean and go on being indexed."""

from __future__ import annotations

import os
import shutil

import pytest

from mmsearch import Library, Modality, Query
from tests.golden.make import COLOURS, FOLDER, paint

FORMATS = sorted(FOLDER.parent.glob("format-*"))


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
def library(request, tmp_path):
    shutil.copytree(request.param, tmp_path / "library")
    with Library(str(tmp_path / "library")) as opened:
        yield opened


def test_there_is_a_golden_library_of_this_format():
    assert FOLDER in FORMATS


@pytest.mark.parametrize("colour", COLOURS)
def test_it_answers_as_it_did(library, colour):
    answer = library.search(colour, k=2)
    assert answer.index == "exact" and answer.notes == ()
    assert answer.hits[0].path == os.fsencode(f"/golden/photos/{colour}.png")
    assert answer.hits[0].cosine > 0.7 > answer.hits[1].cosine


def test_it_lists_and_counts(library):
    answer = library.search(modalities=[Modality.IMAGE], sort="path")
    assert [hit.path for hit in answer] == [os.fsencode(f"/golden/photos/{colour}.png") for colour in sorted(COLOURS)]
    assert all(hit.date for hit in answer)
    counted = library.facets(Query(modalities=frozenset({Modality.IMAGE})), ["modality", "folder"])
    assert [facet[:3] for facet in counted] == [("modality", "image", 3), ("folder", "/golden/photos", 3)]


def test_it_checks_clean_and_is_indexed_on(library, tmp_path):
    assert library.check("deep") == []
    paint(tmp_path / "photos")
    library.relocate("/golden/photos", tmp_path / "photos")
    summary = library.index([tmp_path / "photos"])
    assert summary.unchanged == 3 and summary.rejected == 1
    assert library.check("deep") == []
