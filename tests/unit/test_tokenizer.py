"""The runtime's tokenizer: by hand on a small table, and against the trainer's library on the real one."""

import json

import numpy as np
import pytest

from mmsearch.encoders import safetensors
from mmsearch.encoders.mini.tokenizer import PieceTable, Tokenizer, words

PIECES = sorted([b"", b"[CLS]", b"[SEP]", b"[UNK]", b"dog", b"##s", b"d", b"##o", "狗".encode(), "黑".encode(), b"two"])
CORPUS = [
    "Two dogs, running!",
    "a cat on a sofa",
    "Über-naïve CAFÉ: ½ ﬁsh don't",
    "两只黑狗在草地上奔跑。",
    "mixed 中文 and English，全角ＡＢＣ",
    "snake_case_name 3D 2024-11-22 x86_64",
    "東京タワー 한국어 Ελλάδα привет",
    "antidisestablishmentarianism " + "x" * 120,
    "emoji 🐕 and \u200b zero\u00a0width\ttab\nline",
    "a\u0301ccents and İstanbul",
    "",
    "   ",
    "!!!",
    "word " * 100,
]


def small() -> Tokenizer:
    ends = np.cumsum([len(piece) for piece in PIECES]).astype(np.uint32)
    return Tokenizer(PieceTable(np.frombuffer(b"".join(PIECES), np.uint8), ends), longest=6)


def pieces(ids: list[int]) -> list[bytes]:
    return [PIECES[i] for i in ids]


def test_longest_pieces_are_taken_first_and_marks_are_added():
    assert pieces(small().encode("Two DOGS")) == [b"[CLS]", b"two", b"dog", b"##s", b"[SEP]"]


def test_every_chinese_character_is_a_word():
    assert pieces(small().encode("黑狗")) == [b"[CLS]", "黑".encode(), "狗".encode(), b"[SEP]"]


def test_a_word_without_pieces_is_unknown_as_a_whole():
    assert pieces(small().encode("dogz two")) == [b"[CLS]", b"[UNK]", b"two", b"[SEP]"]


def test_long_text_is_cut_but_keeps_its_end_mark():
    ids = small().encode("two two two two two two two")
    assert len(ids) == 6
    assert pieces(ids)[-1] == b"[SEP]"


def test_words_drop_punctuation_case_accents_and_width():
    assert words("Ｔwo Dögs, 两只狗!") == ["two", "dogs", "两", "只", "狗"]


def real_vocabulary() -> list[bytes]:
    from importlib.resources import files

    from mmsearch.encoders import mini

    folder = files(mini)
    name = json.loads((folder / "manifest.json").read_text("utf-8"))["text"]["file"]
    tensors = safetensors.read(str(folder / name))
    table = PieceTable(tensors["pieces"], tensors["ends"])
    return [table[i] for i in range(len(table))]


def real() -> Tokenizer:
    from mmsearch.encoders import mini

    return mini.load()._text()._tokenizer


def test_the_shipped_table_is_sorted_and_starts_with_padding():
    vocabulary = real_vocabulary()
    assert vocabulary == sorted(set(vocabulary))
    assert vocabulary[0] == b""


@pytest.mark.parametrize("text", CORPUS)
def test_equal_to_the_trainers_library(text):
    pytest.importorskip("tokenizers", reason="comes with open_clip_torch")
    pytest.importorskip("torch", reason="the training package needs torch")
    from mmsearch.training.minilm import StudentTokenizer

    assert real().encode(text) == StudentTokenizer(real_vocabulary()).encode([text])[0]


@pytest.mark.data
def test_equal_to_the_trainers_library_on_every_caption():
    pytest.importorskip("tokenizers", reason="comes with open_clip_torch")
    from mmsearch.training import data
    from mmsearch.training.minilm import StudentTokenizer

    if not (data.data_folder() / "flickr8k").exists():
        pytest.skip(f"no folder {data.data_folder() / 'flickr8k'}: set MMSEARCH_DATA")
    captions = [text for photo in data.flickr8k("val") for text in (*photo.en, *photo.zh)]
    tokenizer = real()
    assert [tokenizer.encode(text) for text in captions] == StudentTokenizer(real_vocabulary()).encode(captions)
