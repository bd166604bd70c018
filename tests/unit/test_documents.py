"""Documents: which encodings, which spans, which limits; each chunk is one that the encoder reads whole."""

import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.errors import MediaError, Rejected, Unsupported
from mmsearch.media import sniff
from mmsearch.media.decode import decode, pieces
from mmsearch.media.files import read
from mmsearch.media.pieces import Ending, Piece
from mmsearch.media.text_chunks import cost, cut
from mmsearch.media.text_decode import encoding_of
from mmsearch.media.text_fit import fitted
from mmsearch.types import Detail, EncoderSpec, MediaFacts, Modality, Span

SPEC = EncoderSpec(name="reader", space="s", dim=8, modalities=frozenset({Modality.TEXT}), licence="", text_tokens=64)
CHINESE = "两只狗在雪地里跑。它们很开心，因为下雪了！"


@pytest.fixture
def chunks(tmp_path):
    def of(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return decode(read(os.fsencode(path), SPEC), SPEC)

    return of


def words(decoded):
    return [piece.content for piece in decoded.pieces]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        *((encoding, CHINESE) for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "utf-32")),
        *(
            (encoding, "Un café très agréable, été – hiver")
            for encoding in ("utf-8", "cp1252", "utf-16-be", "utf-16-le")
        ),
        *((encoding, "Two dogs run.\nThey bark.") for encoding in ("ascii", "utf-16", "utf-16-le", "utf-16-be")),
    ],
)
def test_encodings_are_told_apart(chunks, encoding, content):
    assert words(chunks("a.txt", (content + "\n").encode(encoding))) == [content]


def test_one_broken_byte_does_not_make_utf8_something_else(chunks):
    (found,) = words(chunks("a.txt", (CHINESE * 10).encode()[:300] + b"\xff" + CHINESE.encode()))[-1:]
    assert found.endswith(CHINESE[-10:])


def test_a_character_cut_by_the_end_of_what_is_read_is_forgiven():
    assert encoding_of(("é" * 100).encode()[:-1], whole=False) == "utf-8"
    assert encoding_of(CHINESE.encode("gb18030")[:-1], whole=False) == "gb18030"


@given(st.text(st.sampled_from("ab zé狗。.!?\n\f\t,-1🙂"), max_size=400), st.integers(1, 40))
@settings(max_examples=300, deadline=None)
def test_chunks_are_in_order_lose_no_word_and_keep_the_limit(content, limit):
    covered = [False] * len(content)
    last = 0
    for start, end in cut(content, limit):
        assert last <= start < end and not content[start].isspace()
        assert cost(content[start:end]) <= limit
        covered[start:end] = [True] * (end - start)
        last = end
    lost = [c for c, is_there in zip(content, covered, strict=True) if not is_there and c.isalnum()]
    assert lost == []


def test_sentences_and_paragraphs_stay_whole(chunks):
    one, two = "The dog runs over the snow. " * 8, "两只狗在雪地里跑。" * 9
    found = words(chunks("a.txt", f"Heading\n\n{one}\n\n{two}"))
    assert found[0].startswith("Heading\n\nThe dog") or found[0] == "Heading"
    assert all(chunk.endswith((".", "。", "Heading")) for chunk in found)
    assert not any("dog" in chunk and "狗" in chunk for chunk in found)


def test_spans_are_characters_of_the_decoded_file(chunks):
    content = "Dear Anna,\r\n\r\n" + "it was cold 🙂. 很冷。 " * 40
    found = chunks("a.txt", content.encode("utf-16"))
    assert len(found.pieces) > 5
    text_of = content.encode("utf-16").decode("utf-16")
    for piece in found.pieces:
        assert text_of[int(piece.span.start) : int(piece.span.end)] == piece.content == piece.detail.text


def test_html_without_scripts_and_with_places(chunks):
    page = (
        "<!DOCTYPE html><html><head><title>Rome &amp; back</title><style>b{}</style><script>var no = '<p>';</script>"
        "</head><body><!-- no --><p>We <b>loved</b> it&nbsp;all: caf&eacute;s, &#9731; yes <svg><text>no</text></svg>"
        "<ul><li>one dog<li>two dogs</ul>" + "<p>The longest day of the whole journey was this. " * 5
    )
    found = chunks("a.html", page)
    text_of = " ".join(" ".join(words(found)).split())
    assert text_of.startswith("Rome & back We loved it all: cafés, ☃ yes one dog two dogs The longest day")
    assert "no" not in text_of.split()
    for piece in found.pieces:
        first, last = piece.content.split()[0], piece.content.split()[-1]
        cut_out = page[int(piece.span.start) : int(piece.span.end)]
        assert cut_out.startswith(first) and cut_out.endswith(last)


def test_rows_and_objects_are_chunks_of_their_own(chunks):
    assert words(chunks("a.csv", 'id,note\n1,"likes cats,\nand dogs"\n2,3\n')) == ["id\nnote", "likes cats,\nand dogs"]
    assert words(chunks("a.tsv", "a dog\t1\nCats\t2\n")) == ["a dog", "Cats"]
    value = {"items": [{"name": "x", "about": "A dog runs in the snow"}, {"about": 'It "barks" at me: 狗 \ud800'}]}
    assert words(chunks("a.json", json.dumps(value))) == ["A dog runs in the snow", 'It "barks" at me: 狗 \ufffd']
    lines = '{"a": "A dog runs in the snow"}\n"Two cats are on the sofa"\n'
    found = chunks("a.jsonl", lines)
    assert [lines[int(p.span.start) : int(p.span.end)] for p in found.pieces] == words(found)
    with pytest.raises(Unsupported, match="JSON without sentences"):
        chunks("package.json", '{"name": "x", "version": "1.0", "scripts": {"test": "run all"}}')


@pytest.mark.parametrize(
    ("name", "content", "outcome"),
    [
        ("a.txt", b" \n\t" * 2_000_000, "Rejected: holds no words"),
        ("a.txt", b"." * 4_000_000, "Rejected: holds no words"),
        ("a.txt", b"a" * 5_000_000, "longer than 4 MiB: the rest is left out"),
        ("a.txt", b"", "Rejected: empty file"),
        ("a.txt", b"\0" * 5000, "Rejected: holds only zero bytes"),
        ("a.txt", b"abc\0def " * 100, "Unsupported: not a known kind of file"),
        ("a.txt", bytes(range(256)) * 40, "Unsupported: not a known kind of file"),
        ("a.txt", b"words " * 20_000 + b"\0\x01 more", "ok"),
        ("a.py", b"print('hello')", "Unsupported: texts whose names are not those of documents are not indexed"),
        ("a.csv", b"a word," * 1_000_000, "longer than 4 MiB: the rest is left out"),
        ("a.csv", b'"' + b"a," * 1_000_000, "Rejected: broken CSV: field larger than field limit (1048576)"),
        ("a.json", b"{" * 1_000_000, "Unsupported: JSON without sentences"),
        ("a.json", b'"' + b'\\"' * 1_000_000 + b"\\", "Unsupported: JSON without sentences"),
        ("a.json", b'{"a": "A sentence of a file that breaks', "ok"),
        ("a.html", b"<a " * 500_000, "Rejected: holds no words"),
        ("a.html", b"<!--" * 500_000, "Rejected: holds no words"),
        ("a.html", b"<script>" * 300_000, "Rejected: holds no words"),
        ("a.html", b"&" * 1_000_000, "Rejected: holds no words"),
        ("a.html", b"<p>words" * 100_000, "ok"),
    ],
)
def test_malformed_documents_have_one_outcome_each_and_soon(chunks, name, content, outcome):
    started = time.process_time()
    try:
        ended = chunks(name, content).partial or "ok"
    except MediaError as error:
        ended = f"{type(error).__name__}: {error}"
    assert ended == outcome
    assert time.process_time() - started < 30  # far from it: quadratic time would take hours


def test_of_a_huge_file_only_the_beginning_is_held(tmp_path):
    path = tmp_path / "log.txt"
    with path.open("wb") as file:
        file.write(b"Something happened here.\n" * 10_000)
        file.truncate(400 << 20)  # more than a picture may have
    source = read(os.fsencode(path), SPEC)
    assert source.size == 400 << 20 and len(source.data) <= sniff.HEAD
    found = decode(source, SPEC)
    assert found.partial == "longer than 4 MiB: the rest is left out"
    assert sum(len(piece.content) for piece in found.pieces) < 300_000


def test_what_the_tokenizer_finds_too_long_is_cut_again():
    class Letters:
        spec = EncoderSpec(**{**{f: getattr(SPEC, f) for f in SPEC.__slots__}, "text_tokens": 20})

        @staticmethod
        def count_tokens(words):
            return 2 + len(words)

    def one():
        content = "four word sentence here. And one more; 一只狗。" * 3
        yield Piece(content, Modality.TEXT, Span(100, 100 + len(content), "char"), Detail(None, content))
        yield Piece("x", Modality.TEXT, Span(900, 901, "char"))
        return Ending(Modality.TEXT, MediaFacts(), "partly")

    stream, found = fitted(one(), Letters()), []
    try:
        while True:
            found.append(next(stream))
    except StopIteration as stop:
        assert stop.value.partial == "partly"
    content = "four word sentence here. And one more; 一只狗。" * 3
    assert all(len(piece.content) <= 18 for piece in found)
    assert all(
        content[int(p.span.start) - 100 : int(p.span.end) - 100] == p.content == p.detail.text for p in found[:-1]
    )
    kept = "".join("".join(piece.content.split()) for piece in found[:-1])
    assert kept == "".join(content.split()) and len({piece.span for piece in found}) == len(found)


def test_mini_reads_every_chunk_whole(tmp_path):
    encoder = registry.load("mini", "cpu")
    path = tmp_path / "a.txt"
    path.write_text(
        "Pneumonoultramicroscopicsilicovolcanoconiosis, antidisestablishmentarianism? xqzjkvwpt " * 60 + CHINESE * 30
    )
    found = list(fitted(pieces(read(os.fsencode(path), encoder.spec), encoder.spec), encoder))
    assert len(found) > 10
    assert max(encoder.count_tokens(piece.content) for piece in found) <= encoder.spec.text_tokens == 64


def pdf(*pages):
    """A PDF with a line of text on each page, written by hand."""
    bodies = [f"BT /F1 12 Tf 20 700 Td ({page}) Tj ET" for page in pages]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, body in enumerate(bodies):
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(body)} >>\nstream\n{body}\nendstream")
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer << /Root 1 0 R /Size {len(objects) + 1} >>\nstartxref\n{len(out)}\n%%EOF\n"
    return out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def test_pdf_pages_and_their_damage(chunks):
    pytest.importorskip("pypdfium2", reason="the extra [pdf] is not installed")
    whole = pdf("The first page speaks of dogs.", "", "The third one of cats.")
    found = chunks("a.pdf", whole)
    assert [(piece.content, piece.detail.page) for piece in found.pieces] == [
        ("The first page speaks of dogs.", 1),
        ("The third one of cats.", 3),
    ]
    assert len({piece.span for piece in found.pieces}) == 2
    assert words(chunks("named.txt", whole)) == words(found)
    with pytest.raises(Unsupported, match="a PDF without text"):
        chunks("scan.pdf", pdf("", ""))
    for length in (20, len(whole) // 3, len(whole) // 2, len(whole) - 40):
        try:
            assert set(words(chunks("cut.pdf", whole[:length]))) <= set(words(found))
        except MediaError as error:
            assert isinstance(error, Rejected | Unsupported) and "PDF" in str(error)


def test_without_the_extra_pdfs_are_skipped_once_and_looked_at_again_with_it(tmp_path, monkeypatch):
    pytest.importorskip("pypdfium2", reason="the extra [pdf] is not installed")
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.pdf").write_bytes(pdf(f"Page of document {number}."))
    with Library(str(tmp_path / "library")) as library:
        with monkeypatch.context() as context:
            context.setattr(sniff, "_installed", lambda package: package != "pypdfium2")
            for _ in range(2):
                summary = library.index([str(folder)], model="fake")
                assert summary.failures == []
                (reason,) = summary.skip_reasons
                assert "mmsearch[pdf]" in reason and summary.skip_reasons[reason] == 3
        assert library.index([str(folder)]).searchable == 3
        hit = library.search('"document 2"', mode="lexical").hits[0]
        assert (hit.path.endswith(b"2.pdf"), hit.page, hit.modality) == (True, 1, Modality.TEXT)


def test_documents_and_photos_find_each_other(tmp_path):
    from PIL import Image

    folder = tmp_path / "files"
    folder.mkdir()
    Image.new("RGB", (20, 20), "red").save(folder / "photo.png")
    (folder / "red.txt").write_text("red")
    (folder / "letter.md").write_text("# To Anna\n\n" + "Nothing of interest. " * 30 + "\n\nThe kingfisher dived.")
    with Library(str(tmp_path / "library")) as library:
        assert library.index([str(folder)], model="fake").added == 3
        (hit,) = library.search("kingfisher", mode="lexical").hits
        letter = (folder / "letter.md").read_text()
        assert letter[int(hit.span.start) : int(hit.span.end)] == hit.text == "The kingfisher dived."
        best = library.similar(str(folder / "photo.png")).hits[0]
        assert best.modality is Modality.TEXT and best.path.endswith(b"red.txt")
        assert library.search("red", modalities=[Modality.IMAGE], k=1).hits[0].path.endswith(b"photo.png")
        assert library.index([str(folder)]).unchanged == 3
        (folder / "copy.md").write_text(letter)
        assert library.index([str(folder)]).reused == 1
        assert len(library.search("kingfisher", mode="lexical").hits) == 2


@pytest.mark.parametrize(
    ("name", "row"), [("a.csv", "a,b\n"), ("a.tsv", "a\tb\n"), ("a.jsonl", '{"a":"one two three"}\n')]
)
def test_of_a_table_the_first_ten_thousand_rows_are_indexed(chunks, name, row):
    """4 MB of small rows were a million vectors."""
    found = chunks(name, row * 10_001)
    assert len(found.pieces) == 10_000 and found.partial == "more than 10,000 rows: the rest is left out"
    assert chunks(name, row * 10_000).partial is None


def test_prose_is_indexed_whole(chunks):
    found = chunks("a.txt", "Two dogs run in the snow today.\n\n" * 12_000)
    assert len(found.pieces) > 10_000 and found.partial is None
