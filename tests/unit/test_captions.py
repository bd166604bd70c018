"""Captions beside media: found by the letter, read again when they change, never documents of their own."""

import json
import os
from dataclasses import replace

import pytest
from PIL import Image, PngImagePlugin

from mmsearch import Library
from mmsearch.media.text_captions import REASON, beside

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description><dc:description><rdf:Alt>'
    '<rdf:li xml:lang="x-default">a kingfisher &amp; its catch</rdf:li></rdf:Alt></dc:description>'
    "<dc:subject><rdf:Bag><rdf:li>river</rdf:li><rdf:li>spring</rdf:li></rdf:Bag></dc:subject>"
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "photos"
    home.mkdir()
    for name, colour in (("red.jpg", "red"), ("green.png", "green"), ("blue.jpg", "blue")):
        Image.new("RGB", (20, 20), colour).save(home / name)
    return home


@pytest.fixture
def library(tmp_path):
    with Library(str(tmp_path / "library")) as opened:
        yield opened


def index(library, folder):
    summary = library.index([str(folder)], model="fake")
    library.close()
    return summary


def found(library, words):
    """The names of what has all of these words."""
    return sorted(os.path.basename(hit.path).decode() for hit in library.search(f'"{words}"', mode="lexical"))


SIDECARS = {
    "a.jpg.txt": "a kingfisher dives",
    "b.txt": "ein kingfisher",
    "c.jpg.json": json.dumps({"title": "c.jpg", "description": "the kingfisher again"}),
    "d.json": json.dumps({"captions": ["one", "a kingfisher and two"]}),
    "e.jpg.supplemental-metadata.json": json.dumps({"description": "kingfisher"}),
    "f.xmp": XMP,
    "captions.csv": "file,caption\ng.jpg,kingfisher\nred.jpg,nothing\n",
    "captions.jsonl": '{"image": "h.jpg", "en": ["kingfisher"]}\nnonsense\n',
}
DESCRIBED = [f"{letter}.jpg" for letter in "abcdefgh"]


@pytest.fixture
def eight(folder):
    for shade, name in enumerate(DESCRIBED):
        Image.new("RGB", (20, 20), (20 * shade, 0, 0)).save(folder / name)
    return folder


def test_every_form_of_caption_is_found_and_is_no_document(library, eight):
    for name, content in SIDECARS.items():
        (eight / name).write_text(content)
    summary = index(library, eight)
    assert (summary.added, summary.skip_reasons) == (11, {REASON: 8})
    assert found(library, "kingfisher") == DESCRIBED


def test_captions_are_read_again_although_the_photos_did_not_change(library, eight):
    index(library, eight)
    for name, content in SIDECARS.items():
        (eight / name).write_text(content)
    assert index(library, eight).unchanged == 11 and found(library, "kingfisher") == DESCRIBED
    for name, content in SIDECARS.items():
        (eight / name).write_text(content.replace("kingfisher", "heron"))
    assert index(library, eight).unchanged == 11
    assert (found(library, "kingfisher"), found(library, "heron")) == ([], DESCRIBED)
    for name in SIDECARS:
        (eight / name).unlink()
    index(library, eight)
    assert found(library, "heron") == []


def test_what_a_picture_itself_says(library, folder):
    exif = Image.Exif()
    exif[0x010E] = "a kingfisher in EXIF"
    Image.new("RGB", (20, 20), "red").save(folder / "exif.jpg", exif=exif)
    Image.new("RGB", (20, 20), "red").save(folder / "xmp.jpg", xmp=XMP.encode())
    text = PngImagePlugin.PngInfo()
    text.add_text("Description", "a kingfisher in PNG")
    Image.new("RGB", (20, 20), "red").save(folder / "text.png", pnginfo=text)
    exif[0x010E] = "OLYMPUS DIGITAL CAMERA"
    Image.new("RGB", (20, 20), "red").save(folder / "camera.jpg", exif=exif)
    index(library, folder)
    assert found(library, "kingfisher") == ["exif.jpg", "text.png", "xmp.jpg"]
    assert found(library, "olympus") == []


def test_what_stands_beside_counts_before_what_is_inside_until_it_is_gone(library, folder):
    exif = Image.Exif()
    exif[0x010E] = "inside"
    Image.new("RGB", (20, 20), "red").save(folder / "red.jpg", exif=exif)
    (folder / "red.jpg.txt").write_text("beside")
    index(library, folder)
    assert (found(library, "beside"), found(library, "inside")) == (["red.jpg"], [])
    (folder / "red.jpg.txt").unlink()
    index(library, folder)
    assert (found(library, "beside"), found(library, "inside")) == ([], ["red.jpg"])


def test_a_caption_whose_photo_is_gone_becomes_a_document(library, folder):
    (folder / "red.txt").write_text("words about a kingfisher")
    index(library, folder)
    (folder / "red.jpg").unlink()
    assert index(library, folder).searchable == 3
    assert found(library, "kingfisher") == ["red.txt"]


def test_a_document_becomes_a_caption_when_its_photo_comes(library, folder):
    (folder / "new.txt").write_text("words about a kingfisher")
    index(library, folder)
    assert found(library, "kingfisher") == ["new.txt"]
    Image.new("RGB", (20, 20), "white").save(folder / "new.jpg")
    index(library, folder)
    assert found(library, "kingfisher") == ["new.jpg"]


def test_a_table_speaks_of_the_folders_in_its_folder(library, folder):
    (folder.parent / "photos" / "in").mkdir()
    Image.new("RGB", (20, 20), "white").save(folder / "in" / "snow.jpg")
    (folder / "captions.csv").write_text("in/snow.jpg,a kingfisher\n")  # no header: file, caption
    index(library, folder)
    assert found(library, "kingfisher") == ["snow.jpg"]
    (folder / "captions.csv").write_text("in/snow.jpg,a heron\n")
    index(library, folder)
    assert found(library, "heron") == ["snow.jpg"] and found(library, "kingfisher") == []


def test_a_new_caption_leaves_ids_and_vectors_alone(library, folder):
    index(library, folder)
    before = library.search("red", k=3).hits
    (folder / "red.jpg.txt").write_text("a kingfisher")
    index(library, folder)
    assert [replace(hit) for hit in library.search("red", k=3).hits] == list(before)


BROKEN = [
    *(b"", b"\0\1\2" * 50, b"[" * 100_000, b'{"description": ' * 20_000, b"\xff" * 9),
    b'{"description": {"a": 1}, "title": 7}',
]


def test_broken_captions_cost_nothing_but_themselves(library, folder):
    for number, content in enumerate(BROKEN):
        Image.new("RGB", (20, 20), (number, 0, 0)).save(folder / f"{number}.jpg")
        for suffix in ("jpg.json", "jpg.xmp", "jpg.txt"):
            (folder / f"{number}.{suffix}").write_bytes(content)
        (folder / f"in{number}").mkdir()
        for name in ("captions.csv", "captions.jsonl"):
            (folder / f"in{number}" / name).write_bytes(content)
        Image.new("RGB", (20, 20), (number, 9, 0)).save(folder / f"in{number}" / "photo.jpg")
    summary = index(library, folder)
    assert (summary.added, summary.skip_reasons) == (15, {REASON: 30})


def test_what_is_no_regular_file_is_no_caption(folder, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (folder / "red.jpg.txt").symlink_to(tmp_path / "secret")
    os.mkfifo(folder / "red.txt")
    assert beside(os.fsencode(folder / "red.jpg")) is None


def test_a_character_with_a_number_of_a_thousand_digits_is_left_as_it_is(tmp_path):
    """It ended the run: Python refuses to read such a number."""
    number = "&#" + "9" * 5_000 + ";"
    (tmp_path / "a.xmp").write_text(f"<dc:subject>river</dc:subject><dc:title>{number}</dc:title>")
    found = beside(os.fsencode(tmp_path / "a.jpg"))
    assert found is not None and found.startswith("river\n&#999")


def test_tables_are_read_once_by_all_threads_and_again_when_they_change(tmp_path, monkeypatch):
    from concurrent.futures import ThreadPoolExecutor

    from mmsearch.media import text_captions

    table, read = tmp_path / "captions.csv", []
    table.write_text("a.jpg,a heron\n" * 2)
    real = text_captions._table
    monkeypatch.setattr(text_captions, "_table", lambda path: read.append(path) or real(path))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(beside, [os.fsencode(tmp_path / "a.jpg")] * 32))
    assert found == ["a heron"] * 32 and read == [os.fsencode(table)]
    table.write_text("a.jpg,an egret\n" * 3)
    assert beside(os.fsencode(tmp_path / "a.jpg")) == "an egret"


def test_of_a_table_so_many_rows_count(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsearch.media.text_captions._TABLE_ROWS", 10)
    (tmp_path / "captions.csv").write_text("".join(f"{n}.jpg,number {n}\n" for n in range(20)))
    assert [beside(os.fsencode(tmp_path / f"{n}.jpg")) for n in (0, 9, 10)] == ["number 0", "number 9", None]
