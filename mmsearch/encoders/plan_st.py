"""The way of a question through a sentence-transformers model, taken apart: its prompt, its tokens, all its modules."""

from __future__ import annotations

from typing import Any

from mmsearch.encoders.plan_hf import transformers_clip
from mmsearch.encoders.st import SentenceEncoder
from mmsearch.encoders.text_plan import Plan
from mmsearch.errors import EncoderError

_LONG = "word " * 20_000
"""Longer than any model reads: how many tokens are left of it is where the model's own way cuts."""


def plan(encoder: SentenceEncoder) -> Plan:
    """Raises ``EncoderError`` for a model whose words take a way that only the package knows."""
    import torch

    model = encoder.model
    tokenizer: Any = getattr(model, "tokenizer", None)
    if "message" in model.modalities or not hasattr(tokenizer, "backend_tokenizer"):
        raise EncoderError(f"{encoder.spec.name}: words reach it through a chat template or a tokenizer of its own")
    prompt = encoder.question_prompt()
    if prompt and any(getattr(module, "include_prompt", True) is False for module in model):
        raise EncoderError(f"{encoder.spec.name}: its mean leaves the prompt out, in a way that ONNX lacks")
    asked, cut = (model.preprocess([text], prompt=prompt, task="query") for text in ("a", _LONG))
    masked, typed = "attention_mask" in asked, "token_type_ids" in asked

    class Text(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any = None) -> Any:
            words = {"input_ids": ids, "modality": "text"}
            words |= {"attention_mask": mask} if masked else {}
            words |= {"token_type_ids": torch.zeros_like(ids)} if typed else {}
            rows = self.model(words, task="query")["sentence_embedding"]
            return torch.nn.functional.normalize(rows[:, : model.truncate_dim], dim=-1)

    short, longest = (int(found["input_ids"].shape[1]) for found in (asked, cut))
    words: dict[str, Any] = {"kind": "tokenizers", "longest": longest, "pad": int(tokenizer.pad_token_id or 0)}
    words |= {"length": longest if short == longest else None, "masked": masked, "prefix": prompt}
    tower, tensors = _clip(model)
    if tensors:
        words["end"] = int(tokenizer.eos_token_id)
    return Plan({"tokenizer": words, "tower": tower}, Text(), tensors, tokenizer=tokenizer.backend_tokenizer)


def _clip(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and tensors of CLIP's own class, both empty for any other, or where another layer follows."""
    first, *rest = model
    alone = all(type(module).__name__ == "Normalize" for module in rest) and model.truncate_dim is None
    return transformers_clip(first.model) if alone and hasattr(first, "model") else ({}, {})
