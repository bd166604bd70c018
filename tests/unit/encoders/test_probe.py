"""The fastest way of running an image tower: close to float32, measured once, then known."""

import sys
import time

import numpy as np
import pytest

from mmsearch.encoders import probe, registry
from mmsearch.encoders.torch_base import TorchEncoder
from mmsearch.types import EncoderSpec, ImageInput, Modality

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")

from tests.unit.encoders.clips import photos  # noqa: E402


def rows(count, seed=0):
    found = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


class Slow:
    """Takes ``seconds`` a batch, and gives rows that are right or wrong."""

    def __init__(self, seconds, seed=0):
        self.seconds, self.seed = seconds, seed

    def __call__(self, batch):
        time.sleep(self.seconds)
        return rows(len(batch), self.seed)


def test_the_fastest_that_is_close_wins(monkeypatch):
    def broken(model):
        raise RuntimeError("no such processor")

    ways = {"close": lambda m: Slow(0.02), "wrong": lambda m: Slow(0, seed=1), "broken": broken}
    monkeypatch.setattr(probe, "WAYS", ways)
    assert probe.fastest(None, Slow(0.2), [None] * 8)[0] == "close"
    assert probe.fastest(None, Slow(0), [None] * 8)[0] == "torch float32"


@pytest.mark.parametrize("way", probe.WAYS)
@pytest.mark.filterwarnings("ignore")
def test_every_way_is_close_to_float32(encoder, way):
    if way.startswith("openvino"):
        pytest.importorskip("openvino", reason="openvino is not installed")
    batch = photos(encoder, 5)
    tower = probe.WAYS[way](encoder)
    found, expected = tower(batch), encoder.encode(batch, Modality.IMAGE)
    assert found.dtype == np.float32
    assert (found * expected).sum(axis=1).min() >= 0.999
    assert encoder.encode(["a cat"], Modality.TEXT).shape == (1, 48)  # the model itself is left as it was


def test_a_choice_is_made_after_many_pictures_and_then_known(folder, encoder, monkeypatch):
    made = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def way(model):
        made.append(model)
        return lambda batch: encoder.encode(batch, Modality.IMAGE)

    monkeypatch.setattr(probe, "WAYS", {"mine": way})
    monkeypatch.setattr(probe, "fastest", lambda model, own, sample: ("mine", way(model)))
    batch = photos(encoder, 8)
    first = registry.load(f"open_clip:local-dir:{folder}", "auto")
    for _ in range(probe.WAIT // 8):
        first.encode(batch, Modality.IMAGE)
    assert not made
    np.testing.assert_array_equal(first.encode(batch, Modality.IMAGE), encoder.encode(batch, Modality.IMAGE))
    assert (len(made), first.device) == (1, "cpu (mine)")
    again = registry.load(f"open_clip:local-dir:{folder}", "auto")
    again.encode(batch[:1], Modality.IMAGE)
    assert (len(made), again.device) == (2, "cpu (mine)")


def test_the_plain_cpu_is_float32_and_never_probed(folder, encoder, monkeypatch):
    monkeypatch.setattr(probe, "fastest", lambda *_: sys.exit("probed"))
    batch = photos(encoder, 8)
    plain = registry.load(f"open_clip:local-dir:{folder}")
    for _ in range(probe.WAIT // 8 + 2):
        np.testing.assert_array_equal(plain.encode(batch, Modality.IMAGE), encoder.encode(batch, Modality.IMAGE))


class Tight(TorchEncoder):
    """Memory for ``room`` inputs at once."""

    device = "cpu"
    spec = EncoderSpec(
        name="tight",
        space="tight",
        dim=3,
        modalities=frozenset({Modality.IMAGE}),
        licence="-",
        image=ImageInput(size=2),
    )

    def __init__(self, room, error=None):
        super().__init__()
        self.room, self.calls = room, []
        self.error = error or RuntimeError("CUDA out of memory. Tried to allocate")

    def features(self, batch, modality):
        self.calls.append(len(batch))
        if len(batch) > self.room:
            raise self.error
        return torch.stack([torch.tensor([1.0, float(p[0, 0, 0]), 2.0]) for p in batch])


def pictures(count):
    return [np.full((2, 2, 3), i, np.uint8) for i in range(count)]


@pytest.mark.parametrize("room", [1, 3, 16, 64])
def test_out_of_memory_halves_the_batch_and_gives_the_same_rows(room):
    expected = Tight(64).encode(pictures(64), Modality.IMAGE)
    tight = Tight(room)
    np.testing.assert_array_equal(tight.encode(pictures(64), Modality.IMAGE), expected)
    tight.calls.clear()
    tight.encode(pictures(64), Modality.IMAGE)  # what did not fit is not tried again
    assert max(tight.calls) <= room


def test_one_that_does_not_fit_is_out_of_memory_and_other_errors_pass():
    with pytest.raises(MemoryError, match="one image does not fit"):
        Tight(0).encode(pictures(4), Modality.IMAGE)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        Tight(0, RuntimeError("shape mismatch")).encode(pictures(4), Modality.IMAGE)
