"""What is known about a model spares loading it, and is never believed once a file has changed."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mmsearch.encoders import known, registry
from mmsearch.encoders.lazy import LazyEncoder
from mmsearch.errors import EncoderError, MissingModel, UsageError
from mmsearch.types import Modality

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")

from tests.unit.encoders.clips import photos, save

PROGRAM = """
import hashlib, sys
from mmsearch.encoders import registry
hashlib.file_digest = lambda *_: sys.exit("hashed")
encoder = registry.load(sys.argv[1], "auto")
print(encoder.spec.space, encoder.spec.dim, {"torch", "open_clip", "huggingface_hub"} & set(sys.modules))
"""


def test_an_unchanged_model_is_neither_loaded_nor_hashed_again(folder):
    first = registry.load(f"open_clip:local-dir:{folder}")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, f"open_clip:local-dir:{folder}"], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == (f"{first.spec.space} 48 set()", "")


def test_the_first_vector_loads_it_and_is_the_same(folder, encoder):
    registry.load(f"open_clip:local-dir:{folder}")
    again = registry.load(f"open_clip:local-dir:{folder}")
    assert isinstance(again, LazyEncoder)
    assert again.spec == encoder.spec
    batch = photos(encoder, 2)
    np.testing.assert_array_equal(again.encode(batch, Modality.IMAGE), encoder.encode(batch, Modality.IMAGE))
    assert again.device == "cpu"
    with pytest.raises(EncoderError, match="can't encode audio"):
        again.encode([np.zeros(9, np.float32)], Modality.AUDIO)


def test_the_null_control_another_file_is_hashed(folder, tmp_path):
    program = [sys.executable, "-c", PROGRAM, f"open_clip:local-dir:{save(tmp_path / 'm')}"]
    assert subprocess.run(program, capture_output=True, text=True, check=False).stderr == "hashed\n"


@pytest.mark.parametrize("change", ["weights", "configuration", "another file"])
def test_any_change_is_seen(tmp_path, change):
    folder = save(tmp_path / "m")
    first = registry.load(f"open_clip:local-dir:{folder}").spec
    if change == "weights":
        save(folder, seed=1)
    elif change == "configuration":
        config = json.loads((folder / "open_clip_config.json").read_text())
        config["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5]}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    else:
        save(folder, seed=1, file="open_clip_a.safetensors")  # comes first among several
    assert registry.load(f"open_clip:local-dir:{folder}").spec.space != first.space


def test_a_model_that_is_gone_is_missed_at_once(tmp_path):
    folder = save(tmp_path / "m")
    registry.load(f"open_clip:local-dir:{folder}")
    os.remove(folder / "open_clip_model.safetensors")
    with pytest.raises(MissingModel, match="no weights"):
        registry.load(f"open_clip:local-dir:{folder}")


def test_a_model_that_changes_between_the_name_and_the_first_vector_is_refused(tmp_path):
    folder = save(tmp_path / "m")
    registry.load(f"open_clip:local-dir:{folder}")
    known_encoder = registry.load(f"open_clip:local-dir:{folder}")
    save(folder, seed=1)
    with pytest.raises(MissingModel, match="has changed on the disk"):
        known_encoder.encode(["a cat"], Modality.TEXT)


def test_versions_are_those_that_the_packages_say():
    from importlib.metadata import version

    names = ("torch", "open-clip-torch", "safetensors", "no-such-package")
    expected = [f"{name.replace('-', '_')} {version(name)}" for name in names[:3]]
    assert known.versions(*names) == [*expected, "no_such_package -"]


def test_a_device_that_is_not_here_is_refused_although_the_model_is_known(folder):
    registry.load(f"open_clip:local-dir:{folder}")
    with pytest.raises(UsageError, match="use --device auto or cpu"):
        registry.load(f"open_clip:local-dir:{folder}", "cuda:99")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec": {}, "files": {}}', '{"spec": 1, "files": {}}'])
def test_a_damaged_note_is_no_note(folder, cache, text):
    spec = registry.load(f"open_clip:local-dir:{folder}").spec
    for note in (cache / "specs").iterdir():
        note.write_text(text)
    assert registry.load(f"open_clip:local-dir:{folder}").spec == spec


def test_a_cache_that_can_not_be_written_costs_nothing_but_time(folder, encoder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "file" / "below"))
    for _ in range(2):
        assert registry.load(f"open_clip:local-dir:{folder}").spec == encoder.spec


def test_a_digest_is_kept_as_long_as_the_file_is_as_it_was(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(b"one")
    first = known.sha256(str(path))
    assert first == known.sha256(str(path)) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    path.write_bytes(b"two")
    assert known.sha256(str(path)) != first
    with pytest.raises(OSError, match="none"):
        known.sha256(str(tmp_path / "none"))
