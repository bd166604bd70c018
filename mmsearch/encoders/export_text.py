"""From a torch encoder to a text tower that runs without torch: numpy for CLIP's own, ONNX for any other.

What is written is opened again and compared with the encoder before anyone relies on it.
"""

from __future__ import annotations

import json
import os
import warnings
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from mmsearch.encoders import textual
from mmsearch.encoders.clip_bpe import LEFT
from mmsearch.encoders.clip_text import ACTIVATIONS
from mmsearch.encoders.hf import HfEncoder
from mmsearch.encoders.open_clip import OpenClipEncoder
from mmsearch.encoders.torch_base import TorchEncoder, line
from mmsearch.errors import EncoderError, MissingExtra
from mmsearch.types import Modality

CLOSE = 0.9999
"""The least cosine between what was exported and the model."""
PROBE = (
    "a cat on a sofa",
    "Two DOGS run; it's raining & 20°C",
    "一只猫坐在沙发上",
    "naïve café 🐈 don’t",
    "x",
    "word, " * 300,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a text tower is written: numpy tensors, or a torch module over ids ``(1, length)`` and their mask."""

    settings: dict[str, Any]
    module: Any
    tensors: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    tokenizer: Any = None
    """What the `tokenizers` package saves, None for CLIP's own."""


def write(encoder: TorchEncoder, folder: str) -> None:
    """Write ``folder``/textual. Raises ``EncoderError`` if it can't be done, or if the result is not the model's.

    A bf16 encoder rounds by more than the export differs: it is held to 0.999.
    """
    place = os.path.join(folder, textual.FOLDER)
    os.makedirs(place, exist_ok=True)
    plan = _plan(encoder)
    with open(os.path.join(place, textual.SETTINGS), "w", encoding="utf-8") as file:
        json.dump(plan.settings, file, indent=1, ensure_ascii=False)
    if plan.tokenizer is not None:
        plan.tokenizer.save(os.path.join(place, textual.TOKENIZER))
    if plan.tensors or plan.tables:
        from safetensors.numpy import save_file

        kept = {name: np.ascontiguousarray(value) for name, value in {**plan.tensors, **plan.tables}.items()}
        save_file(kept, os.path.join(place, textual.NUMPY))
    if not plan.tensors:
        _write_onnx(plan, os.path.join(place, textual.ONNX))
    _compare(encoder, folder)


def _plan(encoder: TorchEncoder) -> Plan:
    if isinstance(encoder, OpenClipEncoder):
        return _of_open_clip(encoder)
    if isinstance(encoder, HfEncoder):
        return _of_transformers(encoder)
    raise EncoderError(f"{encoder.spec.name}: no text tower can be taken out of a {type(encoder).__name__}")


def _compare(encoder: TorchEncoder, folder: str) -> None:
    """Raise ``EncoderError`` unless the tower in ``folder`` gives the encoder's own vectors."""
    rows = textual.open_tower(folder)(PROBE)
    least = float((rows * encoder.encode(PROBE, Modality.TEXT)).sum(axis=1).min())
    if not least >= (CLOSE if _is_float32(encoder) else 0.999):
        raise EncoderError(f"{encoder.spec.name}: the exported text tower is not the model's (cosine {least:.6f})")


def _is_float32(encoder: TorchEncoder) -> bool:
    return str(next(cast(Any, encoder).model.parameters()).dtype) == "torch.float32"


# -- open_clip --------------------------------------------------------------------------------------------------------


def _of_open_clip(encoder: OpenClipEncoder) -> Plan:
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
    return settings, _as_numpy(found)


# -- transformers -----------------------------------------------------------------------------------------------------


def _of_transformers(encoder: HfEncoder) -> Plan:
    import inspect

    import torch

    method = encoder.method(Modality.TEXT)
    name = method.__name__
    masked = "attention_mask" in inspect.signature(method).parameters and not encoder.words.fixed

    class Text(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model

        def forward(self, ids: Any, mask: Any = None) -> Any:
            features = getattr(self.model, name)
            found = features(input_ids=ids, attention_mask=mask) if masked else features(input_ids=ids)
            return torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)

    tokenizer, longest = encoder.words.tokenizer, encoder.words.longest
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise EncoderError(f"{encoder.spec.name}: its tokenizer runs in transformers alone")
    words: dict[str, Any] = {"kind": "tokenizers", "longest": longest, "pad": int(tokenizer.pad_token_id or 0)}
    words["length"] = longest if encoder.words.fixed else None
    words["masked"] = masked
    tower, tensors = _transformers_clip(encoder.model)
    if tensors:
        words["end"] = int(tokenizer.eos_token_id)
    return Plan({"tokenizer": words, "tower": tower}, Text(), tensors, tokenizer=tokenizer.backend_tokenizer)


def _transformers_clip(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and tensors of CLIP's own class, both empty for any other."""
    if type(model).__name__ != "CLIPModel" or model.config.text_config.hidden_act not in ACTIVATIONS:
        return {}, {}
    import torch

    text, config = model.text_model, model.config.text_config
    inner = text.embeddings
    found = {"tokens": inner.token_embedding.weight, "positions": inner.position_embedding.weight}
    found |= {"head.weight": model.text_projection.weight}
    found |= {"norm.weight": text.final_layer_norm.weight, "norm.bias": text.final_layer_norm.bias}
    for i, layer in enumerate(text.encoder.layers):
        attention = layer.self_attn
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        parts = {"out": attention.out_proj, "up": layer.mlp.fc1, "down": layer.mlp.fc2}
        parts |= {"norm1": layer.layer_norm1, "norm2": layer.layer_norm2}
        for kind in ("weight", "bias"):
            found |= {f"layers.{i}.{name}.{kind}": getattr(part, kind) for name, part in parts.items()}
            found[f"layers.{i}.qkv.{kind}"] = torch.cat([getattr(part, kind) for part in three])
    settings = {
        "heads": config.num_attention_heads,
        "activation": config.hidden_act,
        "epsilon": config.layer_norm_eps,
    }
    return settings, _as_numpy(found)


def _as_numpy(found: dict[str, Any]) -> dict[str, Any]:
    tensors = {name: value.detach().float().cpu().numpy() for name, value in found.items()}
    # A third of CLIP B/32's tower is this table, of which a question reads a dozen rows; rounding costs 1e-7 of cosine.
    tensors["tokens"] = tensors["tokens"].astype(np.float16)
    return tensors


def _write_onnx(plan: Plan, path: str) -> None:
    words = plan.settings["tokenizer"]
    import torch

    length = words["length"] or min(8, words["longest"])
    ids = torch.full((1, length), int(words["pad"]), dtype=torch.int64)
    inputs = {"input_ids": ids, **({"attention_mask": torch.ones_like(ids)} if words.get("masked") else {})}
    dynamic = None if words["length"] else tuple({1: torch.export.Dim.DYNAMIC} for _ in inputs)
    write_onnx(plan.module, tuple(inputs.values()), path, list(inputs), dynamic)


def write_onnx(module: Any, inputs: tuple[Any, ...], path: str, names: list[str], dynamic: Any) -> None:
    """A torch module as one ONNX file. Raises ``MissingExtra`` without the exporter, ``EncoderError`` if it fails."""
    import torch

    try:
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"writing ONNX ({error})", "hf") from error
    first = next(module.parameters())
    if first.dtype != torch.float32 or first.device.type != "cpu":
        module = deepcopy(module).to("cpu", torch.float32)  # the encoder's own goes on as it is
    module.eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module,
                inputs,
                path,
                input_names=names,
                output_names=["embedding"],
                dynamic_shapes=dynamic,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter meets third-party code: anything may come
            raise EncoderError(f"torch can't export this model ({line(error)})") from error
