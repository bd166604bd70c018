"""From a torch encoder to a text tower that runs without torch: numpy for CLIP's own, ONNX for any other.

What is written is opened again and compared with the encoder before anyone relies on it.
"""

from __future__ import annotations

import json
import os
import warnings
from copy import deepcopy
from typing import Any, cast

import numpy as np

from mmsearch.encoders import textual
from mmsearch.encoders.text_plan import Plan
from mmsearch.encoders.torch_base import TorchEncoder, line
from mmsearch.errors import EncoderError, MissingExtra, MMSearchError
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
    # Each of these imports its own package, which need not be installed for the other.
    if type(encoder).__name__ == "OpenClipEncoder":
        from mmsearch.encoders import plan_open_clip

        return plan_open_clip.plan(cast(Any, encoder))
    if type(encoder).__name__ == "HfEncoder":
        from mmsearch.encoders import plan_hf

        return plan_hf.plan(cast(Any, encoder))
    if type(encoder).__name__ == "SentenceEncoder":
        from mmsearch.encoders import plan_st

        return plan_st.plan(cast(Any, encoder))
    raise EncoderError(f"{encoder.spec.name}: no text tower can be taken out of a {type(encoder).__name__}")


def _compare(encoder: TorchEncoder, folder: str) -> None:
    """Raise ``EncoderError`` unless the tower in ``folder`` gives the encoder's own vectors."""
    try:
        rows = textual.open_tower(folder)(PROBE)
    except MMSearchError:
        raise
    except Exception as error:  # a runtime that can't run what torch wrote
        raise EncoderError(f"{encoder.spec.name}: the exported text tower does not run ({line(error)})") from error
    own = getattr(encoder, "encode_query", encoder.encode)(PROBE, Modality.TEXT)
    least = float((rows * own).sum(axis=1).min())
    if not least >= (CLOSE if _is_float32(encoder) else 0.999):
        raise EncoderError(f"{encoder.spec.name}: the exported text tower is not the model's (cosine {least:.6f})")


def _is_float32(encoder: TorchEncoder) -> bool:
    return str(next(cast(Any, encoder).model.parameters()).dtype) == "torch.float32"


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
                output_names=["mmsearch_rows"],  # a name that no node of a model has
                dynamic_shapes=dynamic,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # the exporter meets third-party code: anything may come
            raise EncoderError(f"torch can't export this model ({line(error)})") from error
