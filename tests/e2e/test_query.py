"""Questions from the shell: the grammar, filters, forms of output, batches, and the commands beside `query`."""

from __future__ import annotations

import csv
import io
import json
import os

import pytest
from PIL import Image

from tests.e2e.test_cli import COLOURS, indexed, lines, mmsearch, photos  # noqa: F401


def paths(result) -> list[str]:
    return [os.path.basename(line) for line in lines(result)]


def test_the_grammar_from_the_shell(indexed, photos, tmp_path):  # noqa: F811
    asked = indexed("query", "2:red", "+", photos / "blue.png", "-", "green", "--paths")
    assert paths(asked) == ["red.png", "blue.png", "green.png"]
    assert paths(indexed("query", "-", "--paths", "-k", "1", input=b"red\n- 3:green\n")) == ["red.png"]
    assert paths(indexed("query", "--text", "green", "--dense", "--paths", "-k", "1")) == ["green.png"]
    assert indexed("query", "./nothing.jpg").returncode == 2


def test_filters_from_the_shell(indexed, photos):  # noqa: F811
    Image.new("RGB", (90, 30), COLOURS["blue"]).save(photos / "wide.png")
    indexed("index", photos)
    assert paths(indexed("query", "red", "--where", "width > 50 and ext = png", "--paths")) == ["wide.png"]
    assert indexed("query", "red", "--since", "tomorrow").returncode == 2
    assert len(lines(indexed("query", "red", "--since", "yesterday"))) == 4
    assert indexed("query", "red", "--until", "1999").returncode == 1
    assert indexed("query", "red", "--modality", "audio").returncode == 1
    wrong = indexed("query", "red", "--where", "widht > 50")
    assert wrong.returncode == 2 and wrong.stderr.decode().splitlines()[-2:] == ["  widht > 50", "  ^"]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--modality smell", "--modality"),
        ("--sort size", "--sort"),
        ("--near 91,0,1", "--near"),
        ("--lexical --dense", "exclude"),
    ],
)
def test_options_that_make_no_sense_exit_with_2(indexed, option, says):  # noqa: F811
    result = indexed("query", "red", *option.split())
    assert result.returncode == 2 and says in result.stderr.decode()


def test_every_form_of_output_says_the_same(indexed, photos):  # noqa: F811
    document = json.loads(indexed("query", "red", "--json").stdout)
    rows = [json.loads(line) for line in lines(indexed("query", "red", "--jsonl"))]
    assert rows == document["hits"]
    table = list(csv.DictReader(io.StringIO(indexed("query", "red", "--csv").stdout.decode())))
    assert [row["path"] for row in table] == [hit["path"] for hit in rows] == lines(indexed("query", "red", "--paths"))
    assert [float(row["score"]) for row in table] == [hit["score"] for hit in rows]
    assert indexed("query", "red", "--json", "--csv").returncode == 2


@pytest.fixture
def dated(indexed, photos):  # noqa: F811
    """Red from 2021, green from 2022, blue from 2023."""
    from datetime import datetime

    for name, year in (("red", 2021), ("green", 2022), ("blue", 2023)):
        when = datetime(year, 6, 1).timestamp()
        os.utime(photos / f"{name}.png", (when, when))
    indexed("index", photos)
    return indexed


def test_filters_without_words_list_files(dated, photos, tmp_path):  # noqa: F811
    assert lines(dated("query", "--since", "June 2022")) == [
        f"1\t2023-06-01T00:00:00\t{photos}/blue.png",
        f"2\t2022-06-01T00:00:00\t{photos}/green.png",
    ]
    assert paths(dated("query", "--in", photos, "--sort", "date:asc", "-k", "2", "--paths")) == ["red.png", "green.png"]
    document = json.loads(dated("query", "--where", "date = 2021", "--json").stdout)
    assert document["query"] == {"text": "", "parts": [], "mode": "listing"} and document["spaces"] == []
    (hit,) = document["hits"]
    assert (hit["rank"], hit["score"], hit["confidence"], hit["date"]) == (1, 0, None, "2021-06-01T00:00:00")
    result = dated("query", "--until", "2022", "--html", tmp_path / "out.html", "--copy-to", tmp_path / "there", "-v")
    assert b"listing: " in result.stderr and b"2 files copied" in result.stderr
    page = (tmp_path / "out.html").read_text()
    assert "<h1>until 2022</h1>" in page and "score" not in page and "2022-06-01T00:00:00" in page
    assert dated("query", "--since", "2024").returncode == 1
    assert dated("query", "-k", "3").returncode == 2


def test_what_was_found_is_sorted_by_date(dated):
    assert paths(dated("query", "red", "--sort", "date", "--paths")) == ["blue.png", "green.png", "red.png"]


def test_ls_takes_filters_and_an_order(dated, photos):  # noqa: F811
    def listed(*options) -> list[str]:
        return [os.path.basename(line.split("\t")[2]) for line in lines(dated("ls", *options))]

    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    dated("index", photos)
    assert listed() == ["blue.png", "broken.png", "green.png", "red.png"]
    assert listed("--until", "2022") == ["green.png", "red.png"]
    assert listed("--sort", "date:asc", "-k", "2") == ["red.png", "green.png"]
    assert listed("--where", "size < 10", "--state", "rejected") == ["broken.png"]
    assert listed("--modality", "image", "--named", "red") == ["red.png"]
    assert listed(photos / "red.png", "--sort", "added") == ["red.png"]
    assert dated("ls", "--near", "0,0,1").returncode == 1
    assert dated("ls", "--sort", "score").returncode == 2


def test_facets_count_what_is_found(dated, photos):  # noqa: F811
    Image.new("RGB", (90, 30), COLOURS["blue"]).save(photos / "wide.png")
    os.utime(photos / "wide.png", (1, 1))
    dated("index", photos)
    shown = lines(dated("query", "red", "-k", "1", "--facets", "year,modality"))
    assert shown[0].endswith("red.png") and shown[1:] == [
        "",
        "files\t\t4\t",
        *(f"year\t{year}\t1\t--where 'date = {year}'" for year in ("2023", "2022", "2021", "1970")),
        "modality\timage\t4\t--modality image",
    ]
    document = json.loads(dated("query", "--since", "2022", "--facets", "folder,camera", "--json").stdout)
    assert len(document["hits"]) == 2 and document["counted"] == {"files": 2, "more": False}
    assert document["facets"] == [
        {"field": "folder", "value": str(photos), "count": 2, "filter": f"--in {photos}"},
        {"field": "camera", "value": None, "count": 2, "filter": "--where 'camera is not known'"},
    ]
    both = dated("query", "--where", "date >= 2022 or size < 0", "--where", "date < 2023", "--paths")
    assert paths(both) == ["green.png"], "a filter that is pasted narrows the question down"
    assert "facets" not in json.loads(dated("query", "red", "--json").stdout)
    for wrong in (["--facets", "colour"], ["--facets", "year", "--csv"], ["--facets", "year", "--batch", "-"]):
        assert dated("query", "red", *wrong).returncode == 2


def test_letters_and_meaning(indexed, photos):  # noqa: F811
    os.rename(photos / "blue.png", photos / "sunset.png")
    indexed("index", photos)
    (hit,) = json.loads(indexed("query", "sunset", "--lexical", "--json").stdout)["hits"]
    assert os.path.basename(hit["path"]) == "sunset.png" and hit["found_by"] == ["words"]
    assert paths(indexed("query", "a sunset", "--paths"))[0] == "sunset.png"
    assert paths(indexed("query", 'red "sunset"', "--paths")) == ["sunset.png"]
    assert indexed("query", "nowhere", "--lexical").returncode == 1


def test_a_batch_answers_line_by_line(indexed, tmp_path):  # noqa: F811
    (tmp_path / "questions").write_text("red\n\n'2:green' - red\n")
    rows = [json.loads(line) for line in lines(indexed("query", "--batch", tmp_path / "questions", "-k", "1"))]
    assert [(row["question"], row["query"], os.path.basename(row["path"])) for row in rows] == [
        (1, "red", "red.png"),
        (2, "'2:green' - red", "green.png"),
    ]
    assert indexed("query", "red", "--batch", tmp_path / "questions").returncode == 2


def test_a_bad_line_of_a_batch_is_that_lines_error(indexed, photos, tmp_path):  # noqa: F811
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    bad = ["it's odd", "./nothing.png", "red - red", "red + -", "''", str(photos / "broken.jpg"), "0:red"]
    (tmp_path / "questions").write_bytes("\n".join(["\ufeffred", *bad, "", "green"]).encode() + b"\n\xff\r\nblue")
    result = indexed("query", "--batch", tmp_path / "questions", "-k", "1")
    rows = [json.loads(line) for line in lines(result)]
    assert result.returncode == 3
    assert {row["question"]: os.path.basename(row["path"]) for row in rows if "path" in row} == {
        1: "red.png",
        9: "green.png",
        11: "blue.png",
    }
    errors = {row["question"]: row for row in rows if "error" in row}
    assert sorted(errors) == [2, 3, 4, 5, 6, 7, 8, 10] and [row["question"] for row in rows] == list(range(1, 12))
    assert (errors[2]["query"], errors[2]["error"]) == ("it's odd", "No closing quotation")
    for question, says in (
        (3, "no such file"),
        (4, "cancel"),
        (5, "a last -"),
        (6, "nothing was asked"),
        (10, "UTF-8"),
    ):
        assert says in errors[question]["error"]
    notes = result.stderr.decode().splitlines()
    assert len(notes) == 8 and "line 2: No closing quotation" in notes[0] and "line 11: " in notes[-1]


def test_a_batch_from_stdin_and_a_mistake_in_its_options(indexed):  # noqa: F811
    result = indexed("query", "--batch", "-", "-k", "1", input=b"red\ngreen -\nblue\n")
    assert [json.loads(line).get("error", "")[:6] for line in lines(result)] == ["", "a last", ""]
    wrong = indexed("query", "--batch", "-", "--where", "widht > 3", input=b"red\n")
    assert wrong.returncode == 2 and wrong.stdout == b""
    assert indexed("query", "--batch", "/no/such/file").returncode == 2


def test_similar(indexed, photos):  # noqa: F811
    Image.new("RGB", (40, 30), (200, 40, 40)).save(photos / "reddish.png")
    indexed("index", photos)
    assert paths(indexed("similar", photos / "red.png", "--paths", "-k", "1")) == ["reddish.png"]
    assert indexed("similar", photos / "nothing.png").returncode == 2


def test_classify(indexed, photos, tmp_path):  # noqa: F811
    result = indexed("classify", "red,green,blue", photos)
    assert [line.split("\t")[0] for line in lines(result)] == ["blue", "green", "red"]
    document = json.loads(indexed("classify", "red,green", photos / "red.png", "-k", "2", "--json").stdout)
    assert [label["label"] for label in document["files"][0]["labels"]] == ["red", "green"]
    (photos / "empty.jpg").touch()
    assert indexed("classify", "red,green", photos).returncode == 3
    assert indexed("classify", "red", photos).returncode == 2


def test_dedup(indexed, photos):  # noqa: F811
    assert indexed("dedup").returncode == 1
    (photos / "copy.png").write_bytes((photos / "red.png").read_bytes())
    indexed("index", photos)
    (group,) = json.loads(indexed("dedup", "--json").stdout)["groups"]
    assert sorted(map(os.path.basename, group["paths"])) == ["copy.png", "red.png"]
