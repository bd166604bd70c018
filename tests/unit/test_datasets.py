"""Every format in its real layout, and everything that can be wrong with a set, named by file and line."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from mmsearch.errors import UsageError
from mmsearch.retrieval import datasets
from mmsearch.retrieval.datasets import GROUP, Request
from mmsearch.retrieval.datasets.base import Format
from mmsearch.types import Modality
from tests.conftest import REPOSITORY


@pytest.fixture
def read(tmp_path):
    def read(name, **more):
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        return datasets.read(Request(path=str(tmp_path / name), scratch=str(scratch), **more))

    return read


@pytest.fixture
def put(tmp_path):
    def put(name, content=b""):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return put


def asked(dataset):
    """{document: [texts]}"""
    found = {document.id: [] for document in dataset.documents}
    for text, document, _ in dataset.pairs:
        found[dataset.documents[document].id].append(dataset.texts[text].text)
    return found


def problems(dataset):
    return [(problem.file.rpartition("/")[2], problem.line, problem.what) for problem in dataset.problems]


def test_plain_jsonl_in_two_languages(read, put):
    for name in ("1.jpg", "2.jpg"):
        put(f"images/{name}")
    rows = [
        {"image": "1.jpg", "en": ["a dog", "the  dog"], "zh": ["一只狗"], "source": "somewhere"},
        {"image": "2.jpg", "en": ["a cat"], "zh": []},
    ]
    put("val.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    english = read("val.jsonl")
    assert asked(english) == {"1.jpg": ["a dog", "the dog"], "2.jpg": ["a cat"]}
    assert (english.format, english.captions, english.problems) == ("plain", "en", [])
    assert [text.id for text in english.texts] == ["1.jpg#0", "1.jpg#1", "2.jpg#0"]
    chinese = read("val.jsonl", captions="zh")
    assert asked(chinese) == {"1.jpg": ["一只狗"], "2.jpg": []}
    assert problems(chinese) == [("val.jsonl", 2, "2.jpg: no caption, only a distractor")]
    assert english.revision == chinese.revision != ""
    with pytest.raises(UsageError, match="no captions 'de': there are en, zh"):
        read("val.jsonl", captions="de")


def test_plain_csv_with_commas_quotes_and_a_byte_order_mark(read, put):
    put("photos/a b.jpg")
    put("set.csv", b'\xef\xbb\xbfpath,caption\r\na b.jpg,"a dog, ""Rex"""\r\na b.jpg,two\r\n')
    dataset = read("set.csv", images=str(put("photos/x").parent))
    assert asked(dataset) == {"a b.jpg": ['a dog, "Rex"', "two"]} and not dataset.problems


def test_plain_labels_make_a_set_of_classes(read, put):
    put("1.jpg"), put("2.jpg"), put("3.ogg")
    put("set.csv", "path,label\n1.jpg,dog\n2.jpg,dog\n3.ogg,dog\n")
    dataset = read("set.csv")
    assert dataset.labelled
    assert [text.text for text in dataset.texts] == ["a photo of a dog", "the sound of dog"]
    assert dataset.pairs == [(0, 0, 1.0), (0, 1, 1.0), (1, 2, 1.0)]


def test_splits_of_plain_rows(read, put):
    put("1.jpg"), put("2.jpg")
    put("set.jsonl", '{"image":"1.jpg","en":"a","split":"train"}\n{"image":"2.jpg","en":"b","split":"test"}\n')
    assert asked(read("set.jsonl")) == {"2.jpg": ["b"]}  # test, if nothing else was said
    assert asked(read("set.jsonl", split="train")) == {"1.jpg": ["a"]}
    with pytest.raises(UsageError, match="no split 'tset': there are test, train"):
        read("set.jsonl", split="tset")


def test_karpathy(read, put):
    put("val2014/1.jpg"), put("val2014/2.jpg")
    images = [
        {
            "filepath": "val2014",
            "filename": "1.jpg",
            "split": "test",
            "sentences": [{"raw": "A dog.", "tokens": ["a"]}],
        },
        {"filepath": "val2014", "filename": "2.jpg", "split": "restval", "sentences": [{"raw": "A cat."}]},
    ]
    put("dataset_coco.json", json.dumps({"dataset": "coco", "images": images}))
    dataset = read("dataset_coco.json")
    assert (dataset.format, dataset.split, asked(dataset)) == ("karpathy", "test", {"val2014/1.jpg": ["A dog."]})
    with pytest.raises(UsageError, match="there are restval, test"):
        read("dataset_coco.json", split="val")


def test_coco_captions(read, put):
    put("val2017/1.jpg")
    whole = {
        "images": [{"id": 7, "file_name": "1.jpg"}],
        "annotations": [{"image_id": 7, "caption": "A dog.\n"}, {"image_id": 8, "caption": "Lost."}],
    }
    put("captions_val2017.json", json.dumps(whole))
    dataset = read("captions_val2017.json", images=str(put("val2017/x").parent))
    assert (dataset.format, dataset.split) == ("coco", "val2017")
    # The caption without its photo is still asked: it will be a miss.
    assert asked(dataset) == {"1.jpg": ["A dog."], "image_id 8": ["Lost."]}
    assert [what for _, _, what in problems(dataset)] == [
        f"image_id 8: no such file in {dataset.documents[0].path.decode().removesuffix('/1.jpg')}"
    ]


def test_flickr8k_token_and_split_files(read, put):
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        put(f"Flicker8k_Dataset/{name}")
    put("Flickr8k.token.txt", "1.jpg#0\tA dog .\n1.jpg#1\tThe dog .\n2.jpg#0\tA cat .\nnonsense\n")
    put("Flickr_8k.testImages.txt", "1.jpg\n3.jpg\n1.jpg\n")
    put("Flickr_8k.devImages.txt", "2.jpg\n")
    dataset = read("Flickr8k.token.txt")
    assert (dataset.format, dataset.split) == ("flickr8k", "test")
    assert asked(dataset) == {"1.jpg": ["A dog .", "The dog ."], "3.jpg": []}
    assert problems(dataset) == [
        ("Flickr_8k.testImages.txt", 3, "1.jpg was there before: duplicate id"),
        ("Flickr8k.token.txt", 4, "not a line like `photo.jpg#0<TAB>caption`"),
        ("Flickr_8k.testImages.txt", 2, "3.jpg: no caption, only a distractor"),
    ]
    assert asked(read("Flickr8k.token.txt", split="val")) == {"2.jpg": ["A cat ."]}
    assert read(".").texts == dataset.texts  # the folder will do


def test_flickr8k_cn(read, put):
    put("images/1.jpg")
    put("flickr8kzhc.caption.txt", "1.jpg#zhc#0 一只 狗。\n1.jpg#zhc#1 狗。\n")
    dataset = read("flickr8kzhc.caption.txt", captions="zh")
    assert asked(dataset) == {"1.jpg": ["一只 狗。", "狗。"]} and dataset.captions == "zhc"
    with pytest.raises(UsageError, match="not in en"):
        read("flickr8kzhc.caption.txt", captions="en")


def test_crossmodal_3600(read, put):
    put("images/00a.jpg")
    row = {
        "image/key": "00a", "image/locale": "bn",
        "en": {"caption": ["A dog"], "caption/tokenized": ["A dog"]}, "zh": {"caption": ["狗", "一只狗"]},
    }  # fmt: skip
    put("captions.jsonl", json.dumps(row) + "\n")
    assert asked(read("captions.jsonl")) == {"00a.jpg": ["A dog"]}
    assert asked(read("captions.jsonl", captions="zh")) == {"00a.jpg": ["狗", "一只狗"]}
    with pytest.raises(UsageError, match="there are en, zh"):
        read("captions.jsonl", captions="xx")


def tar(members):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_webdataset_captions_and_paths_that_lead_out(read, put, tmp_path):
    put("test/0.tar", tar([("s0.jpg", b"one"), ("s0.txt", "A dog.\n狗。".encode()), ("../../s1.png", b"two")]))
    put("test/1.tar", tar([("s2.jpg", b"three"), ("s2.txt", b"caf\xe9")]))
    put("test/nshards.txt", "2")
    dataset = read(".")
    assert (dataset.format, dataset.split) == ("webdataset", "test")
    assert asked(dataset) == {"0.tar/s0.jpg": ["A dog.", "狗。"], "0.tar/s1.png": [], "1.tar/s2.jpg": ["caf\ufffd"]}
    for document, content in zip(dataset.documents, (b"one", b"two", b"three"), strict=True):
        path = document.path.decode()
        assert path.startswith(str(tmp_path / "scratch")) and Path(path).read_bytes() == content
    assert ("1.tar", 0, "s2.txt: not UTF-8: the wrong letters are read as U+FFFD") in problems(dataset)


def test_a_tar_takes_no_more_room_than_it_has(read, put, monkeypatch):
    """3 MB of gzip that was named .tar took 3 GB of memory: a member was read whole."""
    from mmsearch.retrieval.datasets import webdataset

    monkeypatch.setattr(webdataset, "MAX_BYTES", 2**20)
    bomb = tar(
        [
            ("s0.jpg", bytes(2**20 + 1)),
            ("s0.txt", b"A dog."),
            ("s1.jpg", b"x"),
            ("s1.txt", bytes(2**20 + 1)),
            ("s2.jpg", b"y"),
            ("s2.txt", b"A cat."),
        ]
    )
    put("0.tar", bomb)
    dataset = read("0.tar")
    assert asked(dataset) == {"0.tar/s1.jpg": [], "0.tar/s2.jpg": ["A cat."]}
    said = [what for _, _, what in problems(dataset)]
    assert "s0.jpg: left out: larger than 1 MiB, or with holes" in said
    assert "s1.txt: left out: larger than 1 MiB, or with holes" in said
    put("1.tar", gzip.compress(bomb))
    with pytest.raises(UsageError, match="damaged after its start"):
        read("1.tar")


def test_webdataset_classes(read, put):
    put("test/0.tar", tar([("a.jpg", b"x"), ("a.cls", b"1"), ("b.jpg", b"y"), ("b.cls", b"9")]))
    put("classnames.txt", "cat\nguide dog\n")
    dataset = read(".")
    assert dataset.labelled and [text.text for text in dataset.texts] == ["a photo of a guide dog", "a photo of a 9"]
    assert ("0.tar", 0, "b: class 9 has no name in classnames.txt") in problems(dataset)


def test_a_damaged_tar_is_a_problem_and_what_came_before_counts(read, put):
    whole = tar([("a.jpg", b"x" * 2000), ("a.txt", b"A dog."), ("b.jpg", b"y" * 5000)])
    put("0.tar", whole[:4500])
    dataset = read("0.tar")
    assert asked(dataset)["0.tar/a.jpg"] == ["A dog."] and "damaged after" in problems(dataset)[0][2]


def test_clotho_and_audiocaps(read, put):
    put("sounds/Rain 1.wav"), put("sounds/Yabc.wav"), put("sounds/12.flac")
    folder = str(put("sounds/x").parent)
    put("clotho_captions_evaluation.csv", "file_name,caption_1,caption_2\nRain 1.wav,It rains,Rain falls\n")
    clotho = read("clotho_captions_evaluation.csv", images=folder)
    assert (clotho.format, clotho.split) == ("clotho", "evaluation")
    assert asked(clotho) == {"Rain 1.wav": ["It rains", "Rain falls"]}
    assert clotho.documents[0].modality is Modality.AUDIO
    put(
        "test.csv",
        "audiocap_id,youtube_id,start_time,caption\n11,abc,30,A bell\n11,abc,30,Bells\n12,xyz,0,Wind\n13,no,0,?\n",
    )
    caps = read("test.csv", images=folder)
    assert asked(caps) == {"Yabc.wav": ["A bell", "Bells"], "12.flac": ["Wind"], "no_0.wav": ["?"]}
    assert [(line, what.partition(":")[0]) for _, line, what in problems(caps)] == [(5, "no_0.wav")]


def test_esc50_by_fold_and_esc10(read, put):
    for name in ("1-1-A-0.wav", "2-1-A-1.wav"):
        put(f"audio/{name}")
    put(
        "meta/esc50.csv",
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-1-A-0.wav,1,0,dog,True,1,A\n2-1-A-1.wav,2,14,chirping_birds,False,2,A\n",
    )
    assert [text.text for text in read(".").texts] == ["the sound of dog", "the sound of chirping birds"]
    assert [document.id for document in read(".", split="2").documents] == ["2-1-A-1.wav"]
    assert [document.label for document in read(".", split="esc10").documents] == ["dog"]
    with pytest.raises(UsageError, match="there are 1, 2, esc10"):
        read(".", split="6")


def test_folders_of_classes_esc10_and_wordnet(read, put):
    put("set/001 - Dog bark/1-1-A.ogg"), put("set/001 - Dog bark/2-1-A.ogg"), put("set/002 - Rain/2-2-A.ogg")
    dataset = read("set")
    assert [text.text for text in dataset.texts] == ["the sound of dog bark", "the sound of rain"]
    assert [document.id for document in read("set", split="1").documents] == ["001 - Dog bark/1-1-A.ogg"]
    with pytest.raises(UsageError, match="no split '9'"):
        read("set", split="9")
    put("imagenet/val/n01440764/1.JPEG"), put("imagenet/LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\n")
    named = read("imagenet", split="val")
    assert [text.text for text in named.texts] == ["a photo of a tench"]
    put("sample/n01440764_great_white_shark.JPEG", b"1"), put("sample/n01514668_cock.JPEG"), put("sample/README.md")
    sample = read("sample")
    assert [text.text for text in sample.texts] == ["a photo of a great white shark", "a photo of a cock"]
    put("sample/n01514668_cock.JPEG", b"other")
    assert len({named.revision, sample.revision, read("sample").revision}) == 3


def test_beir(read, put):
    put("s/corpus.jsonl", '{"_id":"d1","title":"Dogs","text":"They bark."}\n{"_id":"d2","text":"Cats"}\n')
    put("s/queries.jsonl", '{"_id":"q1","text":"what barks"}\n{"_id":"q2","text":"never judged"}\n')
    put("s/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td9\t1\nq7\td1\t1\n")
    dataset = read("s")
    assert (dataset.format, dataset.split) == ("beir", "test")
    assert [text.text for text in dataset.texts] == ["what barks"]
    assert [(document.id, document.text) for document in dataset.documents] == [
        ("d1", "Dogs They bark."), ("d2", "Cats"), ("d9", ""),
    ]  # fmt: skip
    assert dataset.pairs == [(0, 0, 2.0), (0, 2, 1.0)]
    assert problems(dataset) == [
        ("test.tsv", 3, "document d9 is not in corpus.jsonl"),
        ("test.tsv", 4, "query q7 is not in queries.jsonl"),
    ]


def test_trec_qrels_with_distractors(read, put):
    put("photos/a/1 2.jpg"), put("photos/b.jpg")
    put("queries.tsv", "q1\ta dog\nq2\ta cat\n")
    put("qrels.txt", "q1 0 a/1%202.jpg 1\nq2 0 gone.jpg 1\nq2 0 b.jpg x\n")
    dataset = read("qrels.txt", images=str(put("photos/c.jpg").parent))
    assert sorted(document.id for document in dataset.documents) == ["a/1 2.jpg", "b.jpg", "c.jpg", "gone.jpg"]
    assert [(line, what.partition(":")[0]) for _, line, what in problems(dataset)][:2] == [
        (2, "gone.jpg"), (3, "'x' is no gain"),
    ]  # fmt: skip


def test_everything_wrong_with_a_set_is_named(read, put):
    put("1.jpg"), put("2.jpg")
    put(
        "set.jsonl",
        b'{"image":"1.jpg","en":["a dog"]}\n'
        b'{"image":"1.jpg","en":["again"]}\n'
        b'{"image":"lost.jpg","en":["nowhere"]}\n'
        b'{"image":"2.jpg","en":["", "caf\xe9"]}\n'
        b"not json\n"
        b'{"en":["no photo"]}\n',
    )
    dataset = read("set.jsonl")
    assert [(line, what.split(":")[0]) for _, line, what in problems(dataset)] == [
        (4, "not UTF-8"),
        (5, "not JSON"),
        (2, "1.jpg was there before"),
        (3, "lost.jpg"),
        (4, "2.jpg"),
        (6, "names no file (looked for image, audio, video, file, file_name, filename, path, filepath)"),
    ]
    # Nothing fell out of the mean: the lost photo's caption is asked, and so is the one with the wrong letter.
    assert asked(dataset) == {"1.jpg": ["a dog", "again"], "lost.jpg": ["nowhere"], "2.jpg": ["caf\ufffd"]}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jsonl", b"", "no files in it"),
        ("blank.csv", b"path,caption\n", "no files in it"),
        ("dataset_x.json", b"{", "dataset_x.json:1: not JSON"),
        ("dataset_x.json", b'{"images": [\xff]}', "not UTF-8 at byte 12"),
        ("captions_x.json", b"{}", "no list `images` in it"),
        ("captions_x.json", b'{"images": [1], "annotations": []}', "captions_x.json:1: images holds something"),
        ("dataset_x.json", b'{"images": []}', "nothing in it to choose a split of"),
        ("dataset_x.json", b"{" + b'"a":[' * 99_999, "not JSON"),
        ("notes.pdf", b"%PDF", "no known set"),
        ("set.csv", b"", "set.csv: empty"),
        ("set.csv", b"picture,words\n1.jpg,a dog\n", "line 1 names no column like `path` or `image`: 'picture,words'"),
        ("set.csv", b'path,caption\n1.jpg,a dog\n1.jpg,"a dog\n1.jpg,a cat\n', "set.csv:3: a quotation mark"),
        ("set.csv", b"path,caption\n2.jpg,a dog\n", "none of its 1 files is there .*set.csv:2: 2.jpg"),
        ("set.jsonl", b'{"image":"\\ud800","en":["a"]}', r"set.jsonl:1: \?: no such file"),
        ("set.jsonl", b'{"image":"1.jpg","en":{"a":"b"}}', "set.jsonl:1: 1.jpg: an empty caption, or none"),
        ("set.tar", b"no tar", "damaged after its start: truncated header\\)"),
        ("meta/esc50.csv", b"name\n1.jpg\n", "esc50.csv:1: no column 'filename' or 'fold' or 'category' among name"),
    ],
)
def test_empty_and_unknown_sets(read, put, name, content, says):
    put("1.jpg")
    put(name, content)
    with pytest.raises(UsageError, match=says):
        read(name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("set.csv", "path,caption\n1.jpg,a dog\n".encode("utf-16")),  # "Unicode text" of a spreadsheet
        ("set.csv", b"Path;Caption\r1.jpg;a dog\r"),
        ("set.tsv", b"image\tcaption\n1.jpg\ta dog\n"),
        ("set.json", b'[\n{"file_name": "1.jpg", "text": "a dog"}]'),
        ("dataset_x.json", b'{"images": [7, {"filename": "1.jpg", "split": "test", "sentences": ["a dog"]}]}'),
    ],
)
def test_plain_sets_as_programs_save_them(read, put, name, content):
    put("1.jpg"), put(name, content)
    assert asked(read(name)) == {"1.jpg": ["a dog"]}


def test_csv_and_labels_that_are_wrong_in_places(read, put):
    put("1.jpg"), put("2.jpg")
    put("set.csv", 'path,caption\n1.jpg,a dog, running\n2.jpg,"a" cat\n2.jpg,a cat\n')
    dataset = read("set.csv")
    assert asked(dataset) == {"1.jpg": ["a dog"], "2.jpg": ["a cat"]}
    assert [(line, what.partition(":")[0]) for _, line, what in problems(dataset)] == [
        (2, "3 fields, not 2"), (3, "not CSV"),
    ]  # fmt: skip
    put("labels.csv", "path,label\n1.jpg,\n2.jpg,dog\n")
    assert problems(read("labels.csv")) == [("labels.csv", 2, "1.jpg: no label, only a distractor")]


def test_what_is_asked_for_must_be_there(read, put):
    put("1.jpg"), put("1.jpg")
    put("dataset_x.json", '{"images": [{"filename": "1.jpg", "split": "test", "sentences": [{"raw": "a dog"}]}]}')
    with pytest.raises(UsageError, match="no choice of captions in karpathy"):
        read("dataset_x.json", captions="zh")
    (
        put("s/corpus.jsonl", '{"_id":"d1","text":"a"}'),
        put("s/queries.jsonl", '{"_id":"q1","text":"a"}'),
        put("s/qrels/x"),
    )
    with pytest.raises(UsageError, match=r"no judgements like test\.tsv"):
        read("s")


def test_missing_places(read, put, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        read("pipe.csv")
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match="--mine"):
        read("photos")
    with pytest.raises(UsageError, match="nothing is downloaded"):
        read("none.jsonl")
    put("set.jsonl", '{"image":"1.jpg","en":"a"}\n')
    with pytest.raises(UsageError, match="no such folder"):
        read("set.jsonl", images="/no/such")


def test_a_format_can_be_named(read, put, tmp_path):
    put("1.jpg"), put("odd.name", '{"image":"1.jpg","en":"a"}')
    scratch = tmp_path / "s"
    scratch.mkdir()
    with pytest.raises(UsageError, match="no known set"):
        read("odd.name")
    dataset = datasets.read(Request(path=f"flickr8k:{put('f.txt', '1.jpg#0	A dog')}", scratch=str(scratch)))
    assert asked(dataset) == {"1.jpg": ["A dog"]}


def test_a_plug_in_brings_its_format(monkeypatch, read, put):
    mine = Format(
        name="mine",
        layout="anything that ends in .mine",
        recognises=lambda path: path.endswith(".mine"),
        read=lambda request, draft: draft.caption(draft.document("1.jpg", request.path, 1), "hello", request.path, 1),
    )
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [Point("mine", mine)] * (group == GROUP))
    put("1.jpg"), put("x.mine")
    assert (read("x.mine").format, asked(read("x.mine"))) == ("mine", {"1.jpg": ["hello"]})


class Point(NamedTuple):
    """An entry point, as importlib.metadata gives them."""

    name: str
    format: Format

    def load(self):
        return self.format


def test_the_table_of_formats_is_the_entry_points():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][datasets.GROUP] == datasets.BUILTIN
    for one in datasets.formats():
        assert one.layout and all(all(known) for known in one.known)
    assert [one.name for one in datasets.formats()] == list(datasets.BUILTIN)
