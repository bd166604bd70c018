"""The text tower of a transformers model, taken apart."""

from __future__ import annotations

from typing import Any

from mmsearch.encoders.clip_text import ACTIVATIONS
from mmsearch.encoders.hf import HfEncoder, methods
from mmsearch.encoders.text_plan import Plan, as_numpy
from mmsearch.errors import EncoderError
from mmsearch.types import Modality


def plan(encoder: HfEncoder) -> Plan:
    """Raises ``EncoderError`` for a tokenizer that runs in transformers alone."""
    import inspect

    import torch

    method = encoder.method(Modality.TEXT)
    masked = "attention_mask" in inspect.signature(method).parameters and not encoder.words.fixed

    class Text(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = encoder.model

        def forward(self, ids: Any, mask: Any = None) -> Any:
            features = methods(self.model, encoder.inputs)[Modality.TEXT]
            found = features(input_ids=ids, attention_mask=mask) if masked else features(input_ids=ids)
            return torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)

    tokenizer, longest = encoder.words.tokenizer, encoder.words.longest
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise EncoderError(f"{encoder.spec.name}: its tokenizer runs in transformers alone")
    words: dict[str, Any] = {"kind": "tokenizers", "longest": longest, "pad": int(tokenizer.pad_token_id or 0)}
    words["length"] = longest if encoder.words.fixed else None
    words["masked"] = masked
    tower, tensors = transformers_clip(encoder.model)
    if tensors:
        words["end"] = int(tokenizer.eos_token_id)
    return Plan({"tokenizer": words, "tower": tower}, Text(), tensors, tokenizer=tokenizer.backend_tokenizer)


def transformers_clip(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
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
    return settings, as_numpy(found)
