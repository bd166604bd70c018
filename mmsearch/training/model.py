"""The image and text towers side by side with what only training needs, and the label loss that joins them."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsearch.training import data, losses
from mmsearch.training.minilm import pad, student_trunk
from mmsearch.training.tflite import Layer, read_layers
from mmsearch.training.towers import Head, MobileNetV2, Root, Tower

CLASSES = 1000
_LARGEST_SCALE = 60.0


def image_teacher() -> list[Layer]:
    return read_layers(str(data.data_folder() / "teachers" / "mobilenet_v2_1.0_224_ptq.tflite"))


class Model(nn.Module):
    """``image`` and ``text`` are towers; ``classifier`` is the teacher's own last layer, kept beside the features."""

    def __init__(self, vocabulary: list[bytes]) -> None:
        super().__init__()
        layers = image_teacher()
        trunk = MobileNetV2(layers).to(memory_format=torch.channels_last)
        self.image = Tower(trunk, Head(MobileNetV2.width, Root(), dropout=0.3))
        self.text = Tower(student_trunk(vocabulary), Head(384, nn.LayerNorm(384)))
        self.classifier = nn.Linear(MobileNetV2.width, CLASSES)
        # The teacher's first class is "background".
        self.classifier.weight.data.copy_(torch.from_numpy(layers[-1].weight).flatten(1)[1:])
        self.classifier.bias.data.copy_(torch.from_numpy(layers[-1].bias)[1:])
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.unknown = vocabulary.index(b"[UNK]")

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=_LARGEST_SCALE)

    def image_features(self, pixels: Tensor) -> Tensor:
        """Pixels ``(n, 3, h, w)`` to features ``(n, 1280)``, in bf16 where that is faster."""
        pixels = pixels.float().contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, torch.bfloat16):
            features: Tensor = self.image.trunk(pixels)
        return features.float()

    def text_features(self, rows: list[list[int]], at_once: int = 250) -> Tensor:
        """Token rows to mean states ``(n, 384)``; sorted by length inside, so that little is padding.

        While training, one word in ten is hidden.
        """
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        parts = []
        for start in range(0, len(order), at_once):
            ids = pad([rows[i] for i in order[start : start + at_once]])
            if self.training:
                hidden = (torch.rand(ids.shape) < 0.1) & (ids != 0)
                hidden[:, 0] = False
                ids = ids.masked_fill(hidden, self.unknown)
            ids = ids.to(self.log_scale.device)
            with torch.autocast(ids.device.type, torch.bfloat16):
                parts.append(self.text.trunk(ids))
        return torch.cat(parts).float()[torch.from_numpy(np.argsort(order)).to(self.log_scale.device)]

    def image_vectors(self, features: Tensor) -> Tensor:
        return F.normalize(self.image.head(features), dim=-1)

    def text_vectors(self, features: Tensor) -> Tensor:
        return F.normalize(self.text.head(features), dim=-1)


def synthetic_features(features: Tensor, classifier: nn.Linear, classes: Tensor) -> Tensor:
    """Features that the classifier takes for ``classes``: real ones, faded and pushed along the class's row.

    Flickr8k shows few of the thousand classes. A row is centred first, because what all rows share moves no class;
    the trunk's last activation keeps features within 0..6.
    """
    rows = classifier.weight.detach()
    rows = F.normalize(rows - rows.mean(0), dim=1)[classes]
    base = features.detach()[torch.randint(len(features), (len(classes),))]
    faded = base * torch.rand(len(classes), 1)
    return (faded + (5 + 25 * torch.rand(len(classes), 1)) * rows).clamp(0, 6)


def label_loss(model: Model, features: Tensor, logits: Tensor, texts: Tensor, classes: Tensor) -> Tensor:
    """Similarities of photos to class names follow the classifier's softmax, over the sampled ``classes``.

    ``features`` ``(n, 1280)`` of real photos with the teacher's ``logits`` ``(n, 1000)``; ``texts`` unit rows of the
    class names. Synthetic photos of the classes are added.
    """
    synthetic = synthetic_features(features, model.classifier, classes)
    with torch.no_grad():
        wanted = model.classifier(synthetic)[:, classes]
    pushed = losses.label_distillation(model.scale * model.image_vectors(synthetic) @ texts.T, wanted)
    real = losses.label_distillation(model.scale * model.image_vectors(features) @ texts.T, logits[:, classes])
    return pushed + 0.5 * real
