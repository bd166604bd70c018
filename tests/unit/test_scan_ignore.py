"""``.mmsearchignore``: worked examples, and agreement with git itself on made-up rules and paths."""

import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.indexer import ignore
from mmsearch.indexer.scan import walk


def make(root, paths, rules):
    for path, content in [*((path, "x") for path in paths), *rules.items()]:
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w") as file:
            file.write(content)


PATHS = ["a.jpg", "b.png", "2023/a.jpg", "2023/raw/a.jpg", "2023/raw/keep.jpg", "raw", "trash/x.jpg", "trash/y/z.jpg"]


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        ("", PATHS),
        ("# a comment\n\n   \n", PATHS),
        ("a.jpg", ["b.png", "2023/raw/keep.jpg", "raw", "trash/x.jpg", "trash/y/z.jpg"]),
        ("/a.jpg", [p for p in PATHS if p != "a.jpg"]),
        ("raw", ["a.jpg", "b.png", "2023/a.jpg", "trash/x.jpg", "trash/y/z.jpg"]),
        ("raw/", ["a.jpg", "b.png", "2023/a.jpg", "raw", "trash/x.jpg", "trash/y/z.jpg"]),
        ("2023/raw", ["a.jpg", "b.png", "2023/a.jpg", "raw", "trash/x.jpg", "trash/y/z.jpg"]),
        ("2023/raw/*\n!keep.jpg", [p for p in PATHS if p != "2023/raw/a.jpg"]),
        ("2023/raw/\n!keep.jpg", [p for p in PATHS if not p.startswith("2023/raw/")]),
        ("*\n!*.png", ["b.png"]),
        ("trash/**", [p for p in PATHS if not p.startswith("trash")]),
        ("**\n!/**", PATHS),
        ("**", []),
        ("a.jpg\r\n*.png\r\n", ["2023/raw/keep.jpg", "raw", "trash/x.jpg", "trash/y/z.jpg"]),
        ("[--b]*.jpg", ["2023/raw/keep.jpg", "b.png", "raw", "trash/x.jpg", "trash/y/z.jpg"]),
        ("**/y", [p for p in PATHS if "/y/" not in p]),
        ("[ab].*", ["2023/raw/keep.jpg", "raw", "trash/x.jpg", "trash/y/z.jpg"]),
        ("*.JPG", PATHS),
        ("a.jpg   ", ["b.png", "2023/raw/keep.jpg", "raw", "trash/x.jpg", "trash/y/z.jpg"]),
        ("!a.jpg", PATHS),
    ],
)
def test_worked_examples(tmp_path, rules, left):
    make(tmp_path, PATHS, {".mmsearchignore": rules})
    assert sorted(os.fsdecode(e.path) for e in walk(os.fsencode(tmp_path))) == sorted(left)


def test_the_inner_file_decides_and_is_tied_to_its_folder(tmp_path):
    make(tmp_path, PATHS, {".mmsearchignore": "*.jpg\n", "2023/.mmsearchignore": "!a.jpg\n/raw/a.jpg\n"})
    left = ["2023/a.jpg", "b.png", "raw"]
    assert sorted(os.fsdecode(e.path) for e in walk(os.fsencode(tmp_path))) == left


def test_rules_above_the_start_hold(tmp_path):
    make(tmp_path, PATHS, {".mmsearchignore": "keep.jpg\n"})
    assert [e.path for e in walk(os.fsencode(tmp_path), b"2023/raw")] == [b"2023/raw/a.jpg"]


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling link"])
def test_an_ignore_file_that_is_no_file_is_none(tmp_path, kind):
    make(tmp_path, PATHS, {})
    path = tmp_path / ".mmsearchignore"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere")
    reported = []
    assert len(list(walk(os.fsencode(tmp_path), on_error=lambda *args: reported.append(args)))) == len(PATHS)
    assert not reported


def test_an_ignore_file_that_cannot_be_read_closes_its_folder(tmp_path, monkeypatch):
    """Better nothing than what somebody wanted left out."""
    make(tmp_path, PATHS, {"2023/.mmsearchignore": "raw"})
    real = os.open

    def refuse(path, *args, **kwargs):
        if os.fsencode(path).endswith(b"2023/.mmsearchignore"):
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    reported = []
    left = [e.path for e in walk(os.fsencode(tmp_path), on_error=lambda path, error: reported.append(path))]
    assert reported == [b"2023"] and not any(path.startswith(b"2023/") for path in left) and len(left) == 5


def test_an_ignore_file_above_the_start_that_cannot_be_read_closes_it(tmp_path, monkeypatch):
    """It ended the run with an internal error."""
    make(tmp_path, PATHS, {".mmsearchignore": "x" * (ignore.MAX_BYTES + 1)})
    reported = []
    assert not list(walk(os.fsencode(tmp_path), b"2023", on_error=lambda *args: reported.append(args)))
    assert [path for path, _ in reported] == [b"2023"]


@pytest.mark.parametrize(
    "rules", ["x" * (ignore.MAX_BYTES + 1), "\n".join(f"*{n:x}*" for n in range(10_000)), "*" + "a" * ignore.LONGEST]
)
def test_an_ignore_file_of_too_many_patterns_closes_its_folder(tmp_path, rules):
    """Its end was left out in silence, and with it what somebody wanted left out."""
    make(tmp_path, PATHS, {"2023/.mmsearchignore": rules})
    reported = []
    left = [e.path for e in walk(os.fsencode(tmp_path), on_error=lambda *args: reported.append(args))]
    assert len(left) == 5 and [(path, ".mmsearchignore" in error.strerror) for path, error in reported] == [
        (b"2023", True)
    ]


def test_ten_thousand_paths_as_they_are_may_be_left_out(tmp_path):
    make(tmp_path, PATHS, {".mmsearchignore": "\n".join([f"/archive/{n}.jpg" for n in range(10_000)] + ["/a.jpg"])})
    assert sorted(os.fsdecode(e.path) for e in walk(os.fsencode(tmp_path))) == sorted(PATHS[1:])


def test_names_that_are_not_utf8(tmp_path):
    for name in (b"\xff.jpg", b"\xfe.jpg"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
            pass
    with open(os.path.join(os.fsencode(tmp_path), b".mmsearchignore"), "wb") as file:
        file.write(b"\xff.*\n")
    assert [e.path for e in walk(os.fsencode(tmp_path))] == [b"\xfe.jpg"]


SEGMENT = st.text("ab*?.![]-", min_size=1, max_size=4)
PATTERN = st.lists(st.one_of(SEGMENT, st.just("**")), min_size=1, max_size=3).map("/".join)
RULE = st.tuples(st.sampled_from(["", "!"]), st.sampled_from(["", "/"]), PATTERN, st.sampled_from(["", "/"])).map(
    "".join
)
NAME = st.text("ab.-", min_size=1, max_size=3).filter(lambda name: name not in (".", ".."))
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    if not shutil.which("git"):
        pytest.skip("git is not installed: no reference to compare with")
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=st.lists(RULE, min_size=1, max_size=3), paths=st.lists(PATH, min_size=1, max_size=20, unique=True))
def test_agrees_with_git(repository, rules, paths):
    (repository / ".gitignore").write_text("\n".join(rules))
    check = ["git", "-C", repository, "check-ignore", "--no-index", "--stdin", "-z"]
    answer = subprocess.run(check, input="\0".join(paths), capture_output=True, text=True, check=False)
    assert answer.returncode in (0, 1), answer.stderr
    ours = ignore.IgnoreFile("", [rule for line in rules if (rule := ignore.parse(line))])
    assert {path for path in paths if _ignored(ours, path)} == set(answer.stdout.split("\0")) - {""}


def _ignored(rules, path):
    """As the walk does it: a folder that is left out is not entered."""
    parts = path.split("/")
    return any(rules.decides("/".join(parts[:n]), is_folder=n < len(parts)) for n in range(1, len(parts) + 1))
