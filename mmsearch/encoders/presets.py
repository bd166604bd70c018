"""Short names for public models that are worth having, with what their publishers say about them.

``mmsearch models pull fast`` fetches one, ``mmsearch index --model fast`` uses it. Nothing here was measured by us:
``mmsearch models bench`` does that.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A public model. ``recall``: name of a published measure -> its value in percent, from ``source``."""

    name: str
    model: str
    repo: str
    licence: str
    bytes: int
    """Size of the weights to fetch, as the repository's file list rounds it."""
    languages: str
    modalities: tuple[str, ...]
    recall: MappingProxyType[str, float]
    source: str
    """Where ``recall`` was published; empty where no figure for this very checkpoint was found."""


_OPEN_CLIP = "https://github.com/mlfoundations/open_clip/blob/main/docs/openclip_retrieval_results.csv"


def _image_recall(flickr: tuple[float, float, float], coco: tuple[float, float, float]) -> MappingProxyType[str, float]:
    """Text to image, right if the one photo of the caption is among the first k (1,000 and 5,000 photos)."""
    names = [f"{data} text-to-image R@{k}" for data in ("Flickr30k", "COCO") for k in (1, 5, 10)]
    return MappingProxyType(dict(zip(names, (*flickr, *coco), strict=True)))


PRESETS = (
    Preset(
        name="fast",
        model="open_clip:ViT-B-32-256/datacomp_s34b_b86k",
        repo="laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        licence="MIT",
        bytes=605_000_000,
        languages="English",
        modalities=("image", "text"),
        recall=_image_recall((64.92, 87.22, 92.16), (39.93, 65.43, 75.24)),
        source=_OPEN_CLIP,
    ),
    Preset(
        name="balanced",
        model="open_clip:ViT-B-16-SigLIP/webli",
        repo="timm/ViT-B-16-SigLIP",
        licence="Apache-2.0",
        bytes=813_000_000,
        languages="English",
        modalities=("image", "text"),
        recall=_image_recall((74.68, 92.30, 95.62), (47.78, 72.44, 81.00)),
        source=_OPEN_CLIP,
    ),
    Preset(
        name="best",
        model="open_clip:ViT-SO400M-14-SigLIP-384/webli",
        repo="timm/ViT-SO400M-14-SigLIP-384",
        licence="Apache-2.0",
        bytes=3_510_000_000,
        languages="English",
        modalities=("image", "text"),
        recall=_image_recall((82.96, 96.10, 98.04), (54.21, 76.78, 84.24)),
        source=_OPEN_CLIP,
    ),
    Preset(
        name="multilingual",
        model="open_clip:ViT-B-16-SigLIP-i18n-256/webli",
        repo="timm/ViT-B-16-SigLIP-i18n-256",
        licence="Apache-2.0",
        bytes=1_480_000_000,
        languages="many, Chinese among them; the figures are for English",
        modalities=("image", "text"),
        recall=_image_recall((72.16, 90.36, 94.70), (44.92, 69.48, 78.37)),
        source=_OPEN_CLIP,
    ),
    Preset(
        name="audio",
        model="hf:laion/clap-htsat-fused",
        repo="laion/clap-htsat-fused",
        licence="Apache-2.0",
        bytes=614_000_000,
        languages="English",
        modalities=("audio", "text"),
        recall=MappingProxyType({}),
        source="",
    ),
)


def names() -> list[str]:
    """The short names."""
    return [preset.name for preset in PRESETS]


def resolve(name: str) -> str:
    """The model that a preset stands for; any other name as it is."""
    return next((preset.model for preset in PRESETS if preset.name == name), name)


def of(model: str) -> Preset | None:
    """The preset of this short or whole name."""
    return next((preset for preset in PRESETS if model in (preset.name, preset.model)), None)
