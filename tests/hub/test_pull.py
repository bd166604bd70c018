"""`models pull`: says what it costs, takes up where it stopped, and lets no wrong byte be used."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from .conftest import MODEL


def repo_folder(home):
    return home / "hub" / "models--tiny--clip"


def incomplete(home):
    return list(repo_folder(home).glob("blobs/*.incomplete"))


def ready(home) -> bool:
    """Whether an encoder would find the model: the client's own look into the cache."""
    program = (
        "from huggingface_hub import try_to_load_from_cache as look;"
        "print(look('tiny/clip', 'open_clip_model.safetensors'))"
    )
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return found.stdout.strip() != "None"


def test_it_states_size_licence_and_source_then_fetches_what_is_needed(mmsearch, hub, home):
    result = mmsearch("models", "pull", MODEL, "--yes")
    assert result.returncode == 0
    assert f"{hub.url}/tiny/clip: 200.0 kB, licence mit" in result.stderr
    assert "200.0 kB to fetch of 200.0 kB" in result.stderr
    fetched = {name for name, _ in hub.downloads()}
    assert fetched == {"open_clip_config.json", "open_clip_model.safetensors", "tokenizer.json"}
    assert not [path for path, _ in hub.requests if "agent" in path], "who runs the program is nobody's business"
    assert not [head for _, head in hub.requests if "torch/" in head.get("user-agent", "")]
    assert ready(home)
    assert mmsearch("models", "verify", MODEL).returncode == 0


def test_nothing_is_fetched_before_somebody_agrees(mmsearch, hub, home):
    result = mmsearch("models", "pull", MODEL)
    assert result.returncode == 2 and "--yes" in result.stderr
    assert "licence mit" in result.stderr, "the cost is said first"
    assert [name for name, _ in hub.downloads()] == ["open_clip_config.json"], "it names the tokenizer's repository"
    assert not ready(home)


def test_a_second_pull_fetches_nothing(pulled, hub):
    before = len(hub.downloads())
    result = pulled("models", "pull", MODEL)
    assert result.returncode == 0 and "0 B to fetch" in result.stderr
    assert len(hub.downloads()) == before


def test_a_broken_connection_is_taken_up_where_it_broke(mmsearch, hub, home):
    hub.cut_after = [70_000, 50_000]
    result = mmsearch("models", "pull", MODEL, "--yes")
    assert result.returncode == 0, result.stderr
    ranges = [wanted for name, wanted in hub.downloads() if name.endswith(".safetensors")]
    assert ranges == ["", "bytes=70000-", "bytes=120000-"]
    assert ready(home) and not incomplete(home)


def test_a_server_that_knows_no_ranges_starts_again(mmsearch, hub, home):
    hub.cut_after, hub.ranges = [70_000], False
    assert mmsearch("models", "pull", MODEL, "--yes").returncode == 0
    assert mmsearch("models", "verify", MODEL).returncode == 0


def test_a_server_that_stays_silent_is_given_up_with_all_bytes_kept(mmsearch, hub, home):
    hub.cut_after = [70_000] + [0] * 20
    result = mmsearch("models", "pull", MODEL, "--yes")
    assert result.returncode == 14 and "70000 of 200000" in result.stderr
    assert incomplete(home)[0].stat().st_size == 70_000 and not ready(home)
    assert "half here: 70.0 kB" in mmsearch("models", "show", MODEL).stdout
    hub.cut_after = []
    assert mmsearch("models", "pull", MODEL, "--yes").returncode == 0
    assert hub.downloads()[-2] == ("open_clip_model.safetensors", "bytes=70000-")


def test_a_kill_in_the_middle_costs_nothing(mmsearch, environment, hub, home):
    hub.stall = threading.Event()
    command = [sys.executable, "-m", "mmsearch", "models", "pull", MODEL, "--yes"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (half := incomplete(home)) or half[0].stat().st_size < 50_000:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hub.stall.set()
    hub.stall = None
    assert not ready(home)
    here = half[0].stat().st_size
    assert mmsearch("models", "pull", MODEL, "--yes").returncode == 0
    assert ("open_clip_model.safetensors", f"bytes={here}-") in hub.downloads()
    assert ready(home)


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "tokenizer.json"])
def test_wrong_bytes_are_deleted_and_never_found(mmsearch, hub, home, name):
    hub.spoil = {name}
    result = mmsearch("models", "pull", MODEL, "--yes")
    assert result.returncode == 14 and f"{name} arrived with a wrong checksum" in result.stderr
    assert not ready(home) and not incomplete(home)
    hub.spoil = set()
    assert mmsearch("models", "pull", MODEL, "--yes").returncode == 0 and ready(home)


def test_a_file_that_changes_later_is_found_and_fetched_again(pulled, hub, home):
    (weights,) = repo_folder(home).glob("snapshots/*/open_clip_model.safetensors")
    with open(weights, "r+b") as file:
        file.write(b"oops")
    result = pulled("models", "verify", MODEL)
    assert result.returncode == 14 and "open_clip_model.safetensors: wrong checksum" in result.stderr
    assert pulled("models", "pull", MODEL, "--yes").returncode == 0
    assert pulled("models", "verify", MODEL).returncode == 0


def test_a_new_version_replaces_the_old_one_only_when_it_is_whole(pulled, hub, home):
    old = (repo_folder(home) / "refs" / "main").read_text()
    hub.repos["tiny/clip"] |= {"open_clip_model.safetensors": b"new" * 50_000}
    hub.cut_after = [1000] + [0] * 20
    assert pulled("models", "pull", MODEL, "--yes").returncode == 14
    assert (repo_folder(home) / "refs" / "main").read_text() == old and ready(home)
    hub.cut_after = []
    assert pulled("models", "pull", MODEL, "--yes").returncode == 0
    assert (repo_folder(home) / "refs" / "main").read_text() == hub.commit("tiny/clip") != old


def test_two_pulls_at_once_do_not_mix(mmsearch, environment, hub, home):
    hub.stall = threading.Event()
    command = [sys.executable, "-m", "mmsearch", "models", "pull", MODEL, "--yes"]
    first = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    while not (half := incomplete(home)) or half[0].stat().st_size < 50_000:
        assert first.poll() is None
        time.sleep(0.05)
    second = mmsearch("models", "pull", MODEL, "--yes")
    assert second.returncode == 11 and "another process" in second.stderr
    stalled, hub.stall = hub.stall, None
    stalled.set()
    assert first.wait(60) == 0 and ready(home)


def test_pickled_weights_need_a_flag(mmsearch, hub, home):
    del hub.repos["tiny/clip"]["open_clip_model.safetensors"]
    refused = mmsearch("models", "pull", MODEL, "--yes")
    assert refused.returncode == 14 and "--allow-pickle" in refused.stderr
    assert mmsearch("models", "pull", MODEL, "--yes", "--allow-pickle").returncode == 0
    assert ("open_clip_pytorch_model.bin", "") in hub.downloads()


def test_the_tokenizer_of_another_repository_comes_along(mmsearch, hub, home):
    hub.repos["tiny/clip"]["open_clip_config.json"] = json.dumps(
        {"model_cfg": {"text_cfg": {"hf_tokenizer_name": "tiny/words"}}}
    ).encode()
    hub.repos["tiny/words"] = {"tokenizer.json": b"{}", "model.safetensors": b"x" * 20_000}
    assert mmsearch("models", "pull", MODEL, "--yes").returncode == 0
    assert (home / "hub" / "models--tiny--words" / "refs" / "main").exists()
    assert "model.safetensors" not in {name for name, _ in hub.downloads()}


def test_shards_and_modules_of_sentence_transformers(mmsearch, hub):
    hub.repos["tiny/st"] = {
        "modules.json": b"[]",
        "model-00001-of-00002.safetensors": b"1" * 20_000,
        "model-00002-of-00002.safetensors": b"2" * 20_000,
        "1_Dense/config.json": b"{}",
        "onnx/model.onnx": b"3" * 20_000,
        "onnx/config.json": b"{}",
    }
    assert mmsearch("models", "pull", "st:tiny/st", "--yes").returncode == 0
    fetched = {path.split("/cdn/tiny/st/")[1] for path, _ in hub.requests if "/cdn/" in path}
    assert fetched == {name for name in hub.repos["tiny/st"] if not name.startswith("onnx/")}


# -- settings of the user's --------------------------------------------------------------------------------------------


def test_offline_opens_no_connection(mmsearch, hub):
    result = mmsearch("models", "pull", MODEL, "--yes", HF_HUB_OFFLINE="1")
    assert result.returncode == 14 and "HF_HUB_OFFLINE" in result.stderr and "models import" in result.stderr
    assert hub.requests == []


def test_the_token_is_sent_to_the_hub(mmsearch, hub):
    hub.token = "hf_secret"
    refused = mmsearch("models", "pull", MODEL, "--yes")
    assert refused.returncode == 2 and "HF_TOKEN" in refused.stderr
    assert mmsearch("models", "pull", MODEL, "--yes", HF_TOKEN="hf_secret").returncode == 0


def test_a_proxy_is_used(mmsearch, hub):
    """No name server knows the endpoint: only a proxy can answer for it."""
    result = mmsearch("models", "pull", MODEL, "--yes", HF_ENDPOINT="http://hub.invalid", HTTP_PROXY=hub.url)
    assert result.returncode == 0, result.stderr
    assert all(path.startswith("http://hub.invalid/") for path, _ in hub.requests)


@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ({"status": 503}, 14, "answered 503"),
        ({"gated": True}, 14, "accept its terms"),
        ({"repos": {}}, 2, "no repository tiny/clip"),
    ],
)
def test_a_hub_that_refuses(mmsearch, hub, home, fault, code, said):
    for name, value in fault.items():
        setattr(hub, name, value)
    result = mmsearch("models", "pull", MODEL, "--yes")
    assert result.returncode == code and said in result.stderr
    assert not home.exists()


@pytest.mark.parametrize("settings", [{"HF_ENDPOINT": "http://127.0.0.1:9"}, {"HTTP_PROXY": "http://127.0.0.1:9"}])
def test_no_way_to_the_hub(mmsearch, settings):
    result = mmsearch("models", "pull", MODEL, "--yes", **{"HF_ENDPOINT": "http://hub.invalid"} | settings)
    assert result.returncode == 14 and "can't be reached" in result.stderr


@pytest.mark.parametrize("name", ["a/../../../../evil.json", "{tmp_path}/evil.json"])
def test_a_server_can_not_write_elsewhere(mmsearch, hub, home, tmp_path, name):
    hub.repos["tiny/evil"] = {"model.safetensors": b"x" * 20_000, name.format(tmp_path=tmp_path): b"{}"}
    result = mmsearch("models", "pull", "st:tiny/evil", "--yes")
    assert result.returncode == 14 and "is no file name" in result.stderr
    assert hub.downloads() == []
    assert not list(tmp_path.rglob("evil.json"))


def test_the_hubs_own_client_finds_what_was_pulled(pulled, environment, hub):
    """The other programs that use the cache fetch nothing again."""
    before = len(hub.downloads())
    program = "import huggingface_hub as h; print(h.hf_hub_download('tiny/clip', 'open_clip_model.safetensors'))"
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    with open(found.stdout.strip(), "rb") as file:
        assert file.read() == hub.repos["tiny/clip"]["open_clip_model.safetensors"]
    assert len(hub.downloads()) == before


# -- carrying, deleting ------------------------------------------------------------------------------------------------


def test_a_bundle_brings_a_model_to_a_machine_without_a_connection(pulled, tmp_path, home):
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    assert pulled("models", "export", MODEL, bundle, "--as-is").returncode == 0
    there = {"HF_HOME": str(other), "HF_HUB_OFFLINE": "1"}
    assert pulled("models", "import", bundle, **there).returncode == 0
    assert ready(other) and pulled("models", "verify", MODEL, **there).returncode == 0


def test_a_spoilt_bundle_changes_nothing(pulled, tmp_path):
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    assert pulled("models", "export", MODEL, bundle, "--as-is").returncode == 0
    (weights,) = bundle.rglob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1])
    result = pulled("models", "import", bundle, HF_HOME=str(other))
    assert result.returncode == 14 and "wrong checksum" in result.stderr
    assert not other.exists()
    assert pulled("models", "import", tmp_path, HF_HOME=str(other)).returncode == 14


def test_rm_asks_and_then_deletes(pulled, home):
    refused = pulled("models", "rm", MODEL)
    assert refused.returncode == 2 and repo_folder(home).exists()
    assert pulled("models", "rm", MODEL, "--yes").returncode == 0
    assert not repo_folder(home).exists()
    assert pulled("models", "rm", MODEL, "--yes").returncode == 14


def test_list_and_show_open_no_connection(pulled, hub):
    before = len(hub.requests)
    document = json.loads(pulled("models", "list", "--json").stdout)
    assert [preset["name"] for preset in document["presets"]] == ["fast", "balanced", "best", "multilingual", "audio"]
    assert all(preset["state"] == f"mmsearch models pull {preset['model']}" for preset in document["presets"])
    shown = json.loads(pulled("models", "show", MODEL, "--json").stdout)
    assert shown["state"] == "here" and shown["repositories"][0]["bytes"] > 200_000
    assert len(hub.requests) == before


def test_a_bundle_brings_neither_code_nor_pickles_unasked(pulled, tmp_path):
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    assert pulled("models", "export", MODEL, bundle, "--as-is").returncode == 0
    listed = json.loads((bundle / "mmsearch-model.json").read_text())
    for name, flags, taken in (
        ("modeling.py", (), False),
        ("modeling.py", ("--allow-pickle",), False),
        ("pytorch_model.bin", (), False),
        ("pytorch_model.bin", ("--allow-pickle",), True),
    ):
        data = b"import os"
        (bundle / "tiny--clip" / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        more = {**listed["files"][0], "name": name, "bytes": len(data), "sha256": digest, "blob": digest}
        changed = {**listed, "files": [*listed["files"], more]}
        (bundle / "mmsearch-model.json").write_text(json.dumps(changed))
        result = pulled("models", "import", bundle, *flags, HF_HOME=str(other))
        assert (result.returncode == 0) is taken, result.stderr
        assert taken or (result.returncode == 14 and name in result.stderr)
        assert bool(list(other.rglob(name))) is taken


NUL = {"commit": "0" * 40, "blob": "0" * 40, "bytes": 1, "name": "a\0.json"}


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        "{}",
        "[]",
        "7",
        '{"model": 7, "files": []}',
        '{"model": "a", "files": [7]}',
        '{"model": "a\\u001b[31m", "files": [{}]}',
        '{"model": "a", "files": [{"repo": 1, "commit": 2, "name": 3, "bytes": "x", "sha256": 5, "blob": 6}]}',
        json.dumps({"model": "a", "files": [{**dict.fromkeys(("repo", "sha256"), "a"), **NUL}]}),
    ],
)
def test_a_list_of_anything_is_refused_clearly(mmsearch, tmp_path, text):
    (tmp_path / "mmsearch-model.json").write_text(text)
    result = mmsearch("models", "import", tmp_path)
    assert result.returncode == 14 and "internal" not in result.stderr and "\x1b" not in result.stderr, result.stderr
