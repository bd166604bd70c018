"""Nothing leaves the machine, and nothing is left outside the library and the cache: seen by the kernel's own calls.

The programs run as a user's would, not as a test or on a build server, where some packages keep quiet. strace sees the
calls of native threads too, which patching Python's `socket` would not.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmsearch

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="no strace: apt-get install strace")

PHOTOS = 600
_CALLS = "socket,connect,openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat"
_WRITES = re.compile(r'^\d+\s+(?:(?:open|openat)\((?:AT_FDCWD, )?"([^"]*)", [^)]*O_(?:WRONLY|RDWR|CREAT)|'
                     r'(?:creat|mkdir|mkdirat)\((?:AT_FDCWD, )?"([^"]*)"|'
                     r'(?:rename|link|symlink)\w*\((?:AT_FDCWD, )?"[^"]*", (?:AT_FDCWD, )?"([^"]*)")')  # fmt: skip
_INET = re.compile(r"socket\(AF_INET|sin6?_port|nscd/socket|resolved")


@pytest.fixture
def home(tmp_path):
    """A fresh home, with a folder for each purpose."""
    for name in ("home", "tmp", "here", "photos"):
        (tmp_path / name).mkdir()
    return tmp_path


def watched(home: Path, command: list[str]) -> tuple[str, list[str], list[str]]:
    """What a command printed, its calls to the network, and what it made outside the library and the cache."""
    place = str(Path(mmsearch.__file__).parent.parent)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home / "home"),
        "TMPDIR": str(home / "tmp"),
        "PYTHONPATH": place,
        "PYTHONDONTWRITEBYTECODE": "1",
        "MMSEARCH_LIBRARY": str(home / "library"),
        "MMSEARCH_CACHE": str(home / "cache"),
    }
    trace = home / "trace"
    watch = ["strace", "-f", "--seccomp-bpf", "-s", "4096", "-qq", "-e", f"trace={_CALLS}", "-o", str(trace)]
    done = subprocess.run(
        [*watch, sys.executable, *command],
        env=environment,
        cwd=home / "here",
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = trace.read_text(errors="replace").splitlines()
    assert lines, "strace saw nothing"
    allowed = (str(home / "library"), str(home / "cache"), str(home / "out"), "/dev/", "/proc/")
    made = [
        next(filter(None, found.groups())) for line in lines if (found := _WRITES.search(line)) and "= -1" not in line
    ]
    here = [str(path) for folder in ("home", "tmp", "here") for path in (home / folder).rglob("*")]
    temporary = str(home / "tmp")  # what is gone at the end
    foreign = [path for path in made if not path.startswith((*allowed, temporary)) and "__pycache__" not in path]
    return done.stdout, [line for line in lines if _INET.search(line)], foreign + here


def test_the_watch_sees_a_connection_of_a_native_thread_and_a_file(home):
    program = (
        "import socket, threading, pathlib\n"
        "pathlib.Path('~/left').expanduser().write_text('')\n"
        "t = threading.Thread(target=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close())\n"
        "t.start(); t.join()"
    )
    _, calls, foreign = watched(home, ["-c", program])
    assert len(calls) == 1 and str(home / "home" / "left") in foreign


def test_index_query_evaluate_tune(home):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    rng = np.random.default_rng(0)
    for i in range(PHOTOS):
        coarse = rng.integers(0, 256, (4, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((240, 160)).save(home / "photos" / f"{i}.jpg")
    lines = [json.dumps({"image": f"{i}.jpg", "en": [f"photo {i}", "a colour"]}) for i in range(30)]
    (home / "photos" / "set.jsonl").write_text("\n".join(lines))
    plots = ["--plots", str(home / "out.png")] if find_spec("matplotlib") else []
    for arguments in (
        ["--json", "index", str(home / "photos")],
        ["query", "a red house"],
        ["query", "--image", str(home / "photos" / "1.jpg")],
        ["evaluate", str(home / "photos" / "set.jsonl"), *plots],
        ["tune"],
        ["--json", "doctor"],
    ):
        printed, calls, foreign = watched(home, ["-m", "mmsearch", *arguments])
        assert not calls, (arguments, calls[:3])
        assert not foreign, (arguments, foreign[:5])
        if "index" in arguments:
            assert json.loads(printed)["added"] >= PHOTOS
    assert json.loads(printed)["silenced"] == {"onnxruntime": True, "huggingface_hub": True, "openvino": True}


PACKAGES = {
    "sentence_transformers": "from mmsearch.encoders import st, hf, open_clip; import onnxscript\n"
    "import open_clip, transformers; from sentence_transformers import SentenceTransformer",
    "openvino": "from mmsearch.encoders import runtimes; runtimes.openvino().Core()",
    "matplotlib": "from mmsearch.retrieval import plots; plots.figure(1, 1)",
    "av": "import mmsearch, av",
    "faiss": "import mmsearch, faiss",
    "pypdfium2": "import mmsearch, pypdfium2",
    "huggingface_hub": "import mmsearch; from huggingface_hub.utils import build_hf_headers; build_hf_headers()",
}
"""Of every extra: what is imported, and in what way we come to it."""


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_of_an_extra(home, package):
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    _, calls, foreign = watched(home, ["-c", PACKAGES[package]])
    assert not calls and not foreign
