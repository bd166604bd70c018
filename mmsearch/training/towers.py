"""The three towers as torch modules: what is trained, and what `export` writes for the runtime.

Sources: MobileNetV2 (Sandler et al., CVPR 2018), YAMNet = MobileNetV1 on log-mel patches (AudioSet, Google 2019),
BERT encoder layers (Devlin et al., NAACL 2019) as cut down from all-MiniLM-L6-v2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsearch.training.tflite import Layer

DIM = 256
"""Width of the shared space."""


class SameConv(nn.Module):
    """Convolution with TensorFlow's SAME padding (stride 2 pads right and bottom only) and a clipped ReLU."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(layer.weight.copy()))
        self.bias = nn.Parameter(torch.from_numpy(layer.bias.copy()))
        self.stride, self.groups, self.top = layer.stride, layer.groups, layer.top

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[-1]
        # Plain integers: the exported graph then has constant padding, which `export` folds into the convolution.
        sizes = [int(n) for n in x.shape[-2:]]
        pads = [max((-(-n // self.stride) - 1) * self.stride + kernel - n, 0) for n in sizes]
        top, left = pads[0] // 2, pads[1] // 2
        if pads[0] % 2 or pads[1] % 2:
            x = F.pad(x, (left, pads[1] - left, top, pads[0] - top))
            top = left = 0
        # oneDNN runs the backward pass of a strided depthwise convolution six times slower in bf16 than in float32
        # (measured): left in bf16, the four of MobileNetV2 take half of a training step.
        slow = self.stride > 1 and self.groups > 1
        with torch.autocast(x.device.type, enabled=torch.is_autocast_enabled(x.device.type) and not slow):
            x = F.conv2d(x.float() if slow else x, self.weight, self.bias, self.stride, (top, left), 1, self.groups)
        if self.top is None:
            return x
        return F.relu(x) if self.top == float("inf") else F.hardtanh(x, 0.0, self.top)


class MobileNetV2(nn.Module):
    """uint8 or float pixels ``(n, 3, h, w)`` in 0..255 to features ``(n, 1280)``."""

    width = 1280
    frozen = 3
    """Blocks that are never trained, with the stem: edges and textures, which photos of everyday life do not change.
    They hold 0.7 % of the weights, and their activations are the widest: no backward pass goes through them."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        convs = [SameConv(layer) for layer in layers if layer.weight.ndim == 4 and layer.weight.shape[0] != 1001]
        self.stem, self.last = convs[0], convs[-1]
        first, rest = convs[1:3], convs[3:-1]
        self.blocks = nn.ModuleList([nn.Sequential(*first)])
        self.blocks.extend(nn.Sequential(*rest[i : i + 3]) for i in range(0, len(rest), 3))
        self.stem.requires_grad_(False)
        self.blocks[: self.frozen].requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels / 127.5 - 1.0)
        for block in self.blocks:
            y = block(x)
            x = x + y if y.shape == x.shape else y
        features: Tensor = self.last(x).mean((2, 3))
        return features


class YamNet(nn.Module):
    """Log-mel patches ``(n, 96, 64)`` to features ``(n, 1024)``."""

    width = 1024

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.convs = nn.Sequential(*(SameConv(layer) for layer in layers if layer.weight.ndim == 4))

    def forward(self, patches: Tensor) -> Tensor:
        return self.convs(patches[:, None]).mean((2, 3))


def pool(features: Tensor, patches: Tensor) -> Tensor:
    """Mean feature of a clip ``(1, width)``, each patch weighted by its loudest frame's (geometric mean) amplitude.

    A bark is short: in the plain mean, the silence around it wins. On ESC-10 the teacher's own classifier names 77 %
    of the clips from the plain mean, 95 % from this one (measured).
    """
    weights = patches.mean(2).amax(1).softmax(0)
    return weights[None] @ features


class Root(nn.Module):
    """The square root of non-negative features (power normalisation: Perronnin et al., ECCV 2010).

    A few channels of a CNN are large and most are near zero; this evens them out. With the dropout of `Head` it is
    worth ten points of hit@10 over layer norm: six thousand photos are soon learnt by heart.
    """

    def forward(self, features: Tensor) -> Tensor:
        return (features + 0.01).sqrt()


class Head(nn.Module):
    """Features to the shared space: a linear map plus a residual MLP, over features made alike by ``norm``."""

    def __init__(self, width: int, norm: nn.Module, hidden: int = 512, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = norm
        self.linear = nn.Linear(width, DIM)
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, DIM)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        x = self.norm(features)
        hidden = F.gelu(self.up(self.dropout(x)), approximate="tanh")
        return self.linear(self.dropout(x)) + self.down(self.dropout(hidden))


class Tower(nn.Module):
    """A feature extractor and its head; ``forward`` gives unit rows ``(n, DIM)``."""

    def __init__(self, trunk: nn.Module, head: Head) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, *inputs: Tensor) -> Tensor:
        return F.normalize(self.head(self.trunk(*inputs)), dim=-1)


class BertLayer(nn.Module):
    """One post-norm transformer layer, BERT's order of operations, GELU by its tanh form (numpy has no erf)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-12), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        # Written out: torch's fused attention is four times slower backwards on the CPU at these lengths (measured).
        scores = (q @ k.transpose(-1, -2)).float() * (width / self.heads) ** -0.5
        attended = scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1).to(v.dtype) @ v
        x = self.norm1(x + self.out(attended.transpose(1, 2).reshape(n, length, width)))
        return self.norm2(x + self.down(F.gelu(self.up(x), approximate="tanh")))


class TextTrunk(nn.Module):
    """Token ids ``(n, length)`` with 0 as padding to the mean token state ``(n, width)``."""

    def __init__(
        self,
        vocabulary: int,
        width: int = 384,
        layers: int = 3,
        heads: int = 12,
        inner: int = 1536,
        positions: int = 64,
    ) -> None:
        super().__init__()
        self.width = width
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.zeros(positions, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(width, heads, inner) for _ in range(layers))

    def forward(self, ids: Tensor) -> Tensor:
        mask = ids != 0
        x = self.norm(self.tokens(ids) + self.positions[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, mask)
        weight = mask[..., None].to(x.dtype)
        return (x * weight).sum(1) / weight.sum(1)
