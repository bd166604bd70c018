"""The fastest way of running an image tower: close to float32, measured once, then kept and opened without torch."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.encoders import pictures as ways
from mmsearch.encoders import probe, registry
from mmsearch.encoders.probe import Way
from mmsearch.encoders.torch_base import TorchEncoder
from mmsearch.errors import EncoderError
from mmsearch.types import EncoderSpec, ImageInput, Modality

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")

from tests.unit.encoders.clips import photo, photos  # noqa: E402

PROGRAM = """
import sys
from mmsearch import Library
library = Library(sys.argv[1])
summary = library.index([sys.argv[2]], model=sys.argv[3])
found = [hit.path.decode() for hit in library.search("a cat", k=3)]
print(summary.added, summary.device, sorted({"torch", "open_clip"} & set(sys.modules)), len(found), summary.notes)
"""


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    """Where there is a GPU, `auto` is that: these tests are about machines without one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(probe, "may_have_cuda", lambda: False)


@pytest.fixture(scope="module")
def exported(encoder, tmp_path_factory):
    """The encoder's pictures as ONNX."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    folder = tmp_path_factory.mktemp("exported")
    ways.write(encoder, str(folder))
    return folder


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


def test_the_fastest_that_is_close_wins():
    def broken():
        raise RuntimeError("no such processor")

    made = {"slow": Slow(0.1), "close": Slow(0.02), "wrong": Slow(0, seed=1), "again": Slow(0.1)}
    candidates = [Way(name, lambda name=name: made[name]) for name in made] + [Way("broken", broken)]
    assert probe.fastest(candidates, Slow(0.2), [None] * 8) == ("close", made["close"])
    assert probe.fastest(candidates, Slow(0), [None] * 8) == (probe.OWN, None)


@pytest.mark.parametrize("name", ways.RUNTIMES)
def test_every_runtime_is_close_to_float32(encoder, exported, tmp_path, name):
    if name.startswith("openvino"):
        pytest.importorskip("openvino", reason="openvino is not installed")
    batch = photos(encoder, ways.AT_ONCE + 3)
    runtime = ways.RUNTIMES[name]
    runtime.convert(str(exported), str(tmp_path))
    found, expected = runtime.open(str(tmp_path))(batch), encoder.encode(batch, Modality.IMAGE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    closest = (found * expected).sum(axis=1).min()
    if name == "onnx int8" and not adds_in_32_bits():
        # Sums of two products saturate in 16 bits there: `probe.fastest` measures that, and takes another way.
        way = Way("int8", lambda: lambda batch: found)
        assert closest >= 0.999 or probe.fastest([way], lambda batch: expected, batch)[0] == probe.OWN
        return
    assert closest >= (0.9999 if name == "onnx float32" else 0.999)


def adds_in_32_bits() -> bool:
    """Whether this processor multiplies bytes without saturation (VNNI); True where it does not say."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return "vnni" in flags or "flags" not in flags


def test_a_model_that_does_more_than_normalise_stays_on_torch(encoder, tmp_path, monkeypatch):
    prepared = encoder.prepared
    monkeypatch.setattr(encoder, "prepared", lambda batch: prepared(batch).square())
    with pytest.raises(EncoderError, match="in a way of its own"):
        ways.write(encoder, str(tmp_path))
    assert not os.listdir(tmp_path)


def test_bf16_leaves_the_model_as_it_is(encoder):
    batch = photos(encoder, 5)
    expected = encoder.encode(batch, Modality.IMAGE)
    assert (probe.torch_bf16(encoder)(batch) * expected).sum(axis=1).min() >= 0.999
    np.testing.assert_array_equal(encoder.encode(batch, Modality.IMAGE), expected)


@pytest.mark.parametrize(("name", "most"), [("onnx float32", 1e-5), ("onnx int8", 1e-5), ("openvino bf16", 1e-2)])
def test_what_runs_at_once_changes_no_row(encoder, exported, tmp_path, name, most):
    """Nor does 8 bits: scales that are drawn from a whole batch would let a row feel its neighbours."""
    if name.startswith("openvino"):
        pytest.importorskip("openvino", reason="openvino is not installed")
    runtime = ways.RUNTIMES[name]
    runtime.convert(str(exported), str(tmp_path))
    tower, batch = runtime.open(str(tmp_path)), photos(encoder, 9)
    alone = np.concatenate([tower([one]) for one in batch])
    np.testing.assert_allclose(alone, tower(batch), atol=most)


def test_a_choice_is_made_after_many_pictures_and_then_known(folder, encoder, monkeypatch):
    made = []

    def mine():
        made.append(1)
        return lambda batch: encoder.encode(batch, Modality.IMAGE)[:, ::-1]

    monkeypatch.setattr(probe, "ways", lambda model, folder: [Way("torch bf16", mine)])
    monkeypatch.setattr(probe, "fastest", lambda ways, own, sample: (ways[0].name, ways[0].make()))
    batch = photos(encoder, 16)
    plain = encoder.encode(batch, Modality.IMAGE)
    first = registry.load(f"open_clip:local-dir:{folder}", "auto")
    for _ in range(probe.WAIT // len(batch)):
        np.testing.assert_array_equal(first.encode(batch, Modality.IMAGE), plain)
    assert not made
    np.testing.assert_array_equal(first.encode(batch, Modality.IMAGE), plain[:, ::-1])
    assert (len(made), first.device) == (1, "cpu (torch bf16)")
    again = registry.load(f"open_clip:local-dir:{folder}", "auto")
    again.encode(batch[:1], Modality.IMAGE)
    assert again.device == "cpu (torch bf16)"


@pytest.fixture
def settled(folder, encoder, exported, monkeypatch):
    """A machine on which ONNX Runtime was found the fastest; the folder where its files are kept."""
    monkeypatch.setattr(probe, "_gain", lambda *_: 2.0)
    monkeypatch.setattr(ways, "RUNTIMES", {"onnx float32": ways.RUNTIMES["onnx float32"]})
    name, tower = probe.choose(encoder, lambda batch: encoder.encode(batch, Modality.IMAGE), photos(encoder, 8))
    assert name == "onnx float32" and tower is not None
    (place,) = (os.path.join(here, name) for here, names, _ in os.walk(os.environ["MMSEARCH_CACHE"]) for name in names
                if os.path.basename(os.path.dirname(here)) == "towers")  # fmt: skip
    assert sorted(os.listdir(place)) == ["model.onnx", "way.json"]
    return place


def test_a_kept_way_indexes_a_new_library_without_torch(settled, folder, tmp_path):
    """Words too: the text tower of the first library is copied from the machine's cache."""
    (tmp_path / "photos").mkdir()
    for i in range(3):
        photo(seed=i).save(tmp_path / "photos" / f"{i}.png")
    name = f"open_clip:local-dir:{folder}"
    said = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / library), str(tmp_path / "photos"), name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for library in ("first", "second")
    ]
    if os.path.exists("/dev/nvidiactl"):
        pytest.skip("a CUDA device is here: `auto` is that")
    assert said[0] == "3 cpu (onnx float32) ['open_clip', 'torch'] 3 []"
    assert said[1] == "3 cpu (onnx float32) [] 3 []"
    shared, own = Library(str(tmp_path / "first")), Library(str(tmp_path / "second"))
    for one, other in zip(shared.search("a cat", k=3), own.search("a cat", k=3), strict=True):
        assert (one.path, one.score) == (other.path, pytest.approx(other.score, abs=1e-6))


@pytest.mark.parametrize("damage", ["gone", "cut", "garbage", "note", "packages"])
def test_a_damaged_way_is_no_way(settled, folder, encoder, damage, monkeypatch):
    weights = os.path.join(settled, "model.onnx")
    if damage == "gone":
        os.remove(weights)
    elif damage == "cut":
        os.truncate(weights, os.path.getsize(weights) // 2)
    elif damage == "packages":
        monkeypatch.setattr(probe, "_packages", lambda: ["torch 99"])
    else:
        path = weights if damage == "garbage" else os.path.join(settled, "way.json")
        with open(path, "r+b") as file:
            file.write(os.urandom(os.path.getsize(path)))
    assert probe.chosen(encoder.spec.space) is None
    batch = photos(encoder, 2)
    found = registry.load(f"open_clip:local-dir:{folder}", "auto")
    np.testing.assert_array_equal(found.encode(batch, Modality.IMAGE), encoder.encode(batch, Modality.IMAGE))
    assert found.device == "cpu"


def test_a_cache_without_room_is_no_failure(folder, encoder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(probe, "_keep", full)
    own = lambda batch: encoder.encode(batch, Modality.IMAGE)  # noqa: E731
    monkeypatch.setattr(ways, "RUNTIMES", {})
    assert probe.choose(encoder, own, photos(encoder, 8)) == (probe.OWN, None)


def test_the_plain_cpu_is_float32_and_never_probed(folder, encoder, monkeypatch):
    monkeypatch.setattr(probe, "choose", lambda *_: sys.exit("probed"))
    batch = photos(encoder, 16)
    plain = registry.load(f"open_clip:local-dir:{folder}")
    for _ in range(probe.WAIT // 16 + 2):
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
