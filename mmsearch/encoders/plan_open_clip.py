"""The text tower of an open_clip model, taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmsearch.encoders.clip_bpe import LEFT
from mmsearch.encoders.open_clip import OpenClipEncoder
from mmsearch.encoders.text_plan import Plan, as_numpy
from mmsearch.errors import EncoderError


def plan(encoder: OpenClipEncoder) -> Plan:
    """Raises ``EncoderError`` for a tokenizer that runs in transformers alone."""
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    class Text(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model

        def forward(self, ids: Any) -> Any:
            return torch.nn.functional.normalize(self.model.encode_text(ids), dim=-1)

    tokenizer, length = encoder.tokenizer, int(encoder.tokenizer.context_length)
    shared = {"clean": _clean(tokenizer), "longest": length, "length": length}
    if isinstance(tokenizer, SimpleTokenizer) and tokenizer.reduction_fn is None:
        tables, marks = _tables(tokenizer)
        tower, tensors = _clip_tensors(encoder.model)
        words = {"kind": "clip", "marks": marks, "pad": 0, **shared}
        return Plan({"tokenizer": words, "tower": tower}, Text(), tensors, tables)
    inner: Any = getattr(tokenizer, "tokenizer", None)
    if not hasattr(inner, "backend_tokenizer") or tokenizer.tokenizer_mode or tokenizer.strip_sep_token:
        raise EncoderError(f"{encoder.spec.name}: its tokenizer runs in transformers alone")
    words = {"kind": "tokenizers", "pad": int(inner.pad_token_id), **shared}
    return Plan({"tokenizer": words, "tower": {}}, Text(), tokenizer=inner.backend_tokenizer)


def _clean(tokenizer: Any) -> str:
    from open_clip.tokenizer import get_clean_fn

    known = ("lower", "whitespace", "canonicalize")
    named = [name for name in known if getattr(tokenizer, "clean_fn", None) is get_clean_fn(name)]
    if not named:
        raise EncoderError(f"a {type(tokenizer).__name__} cleans texts in a way of its own")
    return named[0]


def _tables(tokenizer: Any) -> tuple[dict[str, Any], dict[str, int]]:
    """CLIP's vocabulary as the tables of `clip_bpe`, and its marks, start and end first."""
    ids = tokenizer.encoder
    if len(ids) > LEFT:
        raise EncoderError(f"a vocabulary of {len(ids)} pieces is no CLIP's")
    letters = [tokenizer.byte_encoder[byte] for byte in range(256)]
    ranked = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.get)
    keys = np.array([ids[left] * int(LEFT) + ids[right] for left, right in ranked], np.uint32)
    order = np.argsort(keys)
    tables = {
        "singles": np.array([ids[letter + end] for end in ("", "</w>") for letter in letters], np.uint32),
        "merges": keys[order],
        "ranks": order.astype(np.uint32),
        "results": np.array([ids[left + right] for left, right in ranked], np.uint32),
    }
    return tables, {tokenizer.decoder[i]: i for i in tokenizer.all_special_ids}


def _clip_tensors(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and tensors for numpy, both empty for a tower of another build."""
    from open_clip.transformer import LayerNorm, LayerNormFp32, QuickGELU, ResidualAttentionBlock
    from torch import nn

    text = getattr(model, "text", model)
    blocks = list(getattr(getattr(text, "transformer", None), "resblocks", []))
    kind = getattr(text, "text_pool_type", getattr(text, "pool_type", ""))
    if not blocks or kind != "argmax" or text.attn_mask is None or getattr(text, "cls_emb", None) is not None:
        return {}, {}
    names = {nn.GELU: "gelu", QuickGELU: "quick_gelu"}
    for block in blocks:
        plain = type(block) is ResidualAttentionBlock and type(block.ls_1) is type(block.ls_2) is nn.Identity
        known = plain and type(block.mlp.gelu) in names and type(block.ln_1) in (LayerNorm, LayerNormFp32)
        if not known or getattr(block.mlp.gelu, "approximate", "none") != "none":
            return {}, {}
    head, extra = text.text_projection, {}
    if isinstance(head, nn.Linear):
        extra = {"head.bias": head.bias} if head.bias is not None else {}
        head = head.weight
    elif head is not None:
        head = head.T
    else:
        return {}, {}
    found = {
        "tokens": text.token_embedding.weight,
        "positions": text.positional_embedding,
        "head.weight": head,
        **extra,
    }
    found |= {"norm.weight": text.ln_final.weight, "norm.bias": text.ln_final.bias}
    for i, block in enumerate(blocks):
        dense = {"out": block.attn.out_proj, "up": block.mlp.c_fc, "down": block.mlp.c_proj}
        parts = {**dense, "norm1": block.ln_1, "norm2": block.ln_2}
        found |= {f"layers.{i}.{name}.weight": part.weight for name, part in parts.items()}
        found |= {f"layers.{i}.{name}.bias": part.bias for name, part in parts.items()}
        found |= {f"layers.{i}.qkv.weight": block.attn.in_proj_weight, f"layers.{i}.qkv.bias": block.attn.in_proj_bias}
    settings = {
        "heads": blocks[0].attn.num_heads,
        "activation": names[type(blocks[0].mlp.gelu)],
        "epsilon": blocks[0].ln_1.eps,
    }
    return settings, as_numpy(found)
