"""The command line as a contract: real subprocesses, real files, exit codes, streams and JSON."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def mmsearch(tmp_path):
    """Run the real program on a library of its own."""

    def run(*arguments, **more):
        environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library"), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "mmsearch", *map(os.fsdecode, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, timeout=120, check=False, **more)

    return run


@pytest.fixture
def indexed(mmsearch, photos):
    assert mmsearch("index", photos, "--model", "fake").returncode == 0
    return mmsearch


def lines(result) -> list[str]:
    return result.stdout.decode().splitlines()


def test_index_then_query(indexed, photos):
    result = indexed("query", "something", "red", "-k", "2")
    assert result.returncode == 0 and result.stderr == b""
    rank, score, path = lines(result)[0].split("\t")
    assert (rank, path) == ("1", str(photos / "red.png"))
    assert len(lines(result)) == 2 and float(score) >= float(lines(result)[1].split("\t")[1])


def test_query_json_has_the_promised_shape(indexed, photos, tmp_path):
    document = json.loads(indexed("query", "red", "--json", "-k", "1").stdout)
    assert document["schema_version"] == 2
    assert document["library"] == str(tmp_path / "library")
    assert set(document["took_ms"]) == {"load", "encode", "search", "total"}
    (hit,) = document["hits"]
    assert set(hit) == {
        *(
            "rank",
            "score",
            "cosine",
            "confidence",
            "why",
            "path",
            "modality",
            "span",
            "page",
            "text",
            "taken",
            "added",
            "date",
        ),
        *("group", "item_id", "segment_id", "space", "found_by", "moments"),
    }
    assert (hit["rank"], hit["path"], hit["modality"], hit["span"]) == (1, str(photos / "red.png"), "image", None)
    assert hit["space"] == document["spaces"][0]["space"]
    assert hit["score"] == pytest.approx(hit["why"]["z"] + hit["why"]["words"] + hit["why"]["folder"], abs=1e-3)
    (dense,) = json.loads(indexed("query", "red", "--json", "-k", "1", "--dense").stdout)["hits"]
    assert dense["score"] == dense["cosine"] and dense["why"] is None


def test_index_json_adds_up(mmsearch, photos):
    (photos / "empty.jpg").touch()
    (photos / "notes.txt").write_text("hello")
    result = mmsearch("index", photos, "--model", "fake", "--json")
    document = json.loads(result.stdout)
    assert result.returncode == 3
    counted = ("added", "updated", "reused", "unchanged", "missing", "partial", "rejected", "skipped", "transient")
    assert document["seen"] == sum(document[name] for name in counted) == 5
    assert document["failures"] == [{"path": str(photos / "empty.jpg"), "state": "rejected", "reason": "empty file"}]
    assert {"schema_version", "seconds", "model", "space"} <= set(document)


def test_global_options_may_follow_the_command(indexed, tmp_path):
    before, after = indexed("--json", "status"), indexed("status", "--json")
    assert json.loads(before.stdout) == json.loads(after.stdout)
    assert indexed("status", "--library", tmp_path / "none").returncode == 10


@pytest.mark.parametrize("command", ["query red", "status", "ls", "errors", "check", "repair", "prune", "gc", "rm x"])
def test_without_a_library_every_command_says_how_to_make_one(mmsearch, command):
    result = mmsearch(*command.split())
    assert result.returncode == 10 and b"mmsearch index" in result.stderr and result.stdout == b""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["index"], b"PATH"),
        (["index", "/no/such/folder"], b"/no/such/folder"),
        (["query"], b"nothing was asked"),
        (["query", "red", "-k", "0"], b"-k"),
        (["query", "--image", "/no/such.jpg"], b"/no/such.jpg"),
        (["frobnicate"], b"frobnicate"),
        (["rm", "/nothing"], b"/nothing"),
        (["relocate", "/nothing", "/else"], b"/nothing"),
    ],
)
def test_usage_errors_exit_with_2_and_name_what_is_wrong(indexed, arguments, says):
    result = indexed(*arguments)
    assert result.returncode == 2 and says in result.stderr and result.stdout == b""


def test_an_unknown_model_or_index_writes_nothing(mmsearch, photos, tmp_path):
    assert mmsearch("index", photos, "--model", "fak").returncode == 2
    assert mmsearch("index", photos, "--model", "fake", "--index", "exakt").returncode == 2
    assert not (tmp_path / "library").exists()


def test_an_empty_folder_is_nothing_to_index(mmsearch, tmp_path):
    (tmp_path / "empty").mkdir()
    result = mmsearch("index", tmp_path / "empty", "--model", "fake")
    assert result.returncode == 1 and b"nothing to index" in result.stderr


def test_nothing_found_exits_with_1(indexed, photos):
    result = indexed("query", "red", "--in", "/elsewhere")
    assert result.returncode == 1 and result.stdout == b""


def test_paths_for_machines(indexed, photos):
    odd = os.fsencode(photos) + b"/new\nline \xff.png"
    Image.new("RGB", (40, 30), COLOURS["red"]).save(odd, "PNG")
    indexed("index", photos)
    raw = indexed("query", "red", "-0").stdout
    assert odd in raw.split(b"\0") and raw.endswith(b"\0")
    escaped = lines(indexed("query", "red", "--paths"))
    assert f"{photos}/new\\nline \\xff.png" in escaped
    hits = json.loads(indexed("query", "red", "--json").stdout)["hits"]
    assert odd in [os.fsencode(hit["path"]) for hit in hits]


def test_a_reader_that_stops_early_is_no_error(indexed, photos, tmp_path):
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library")}
    shell = f"set -o pipefail; {sys.executable} -m mmsearch query red | head -n 0"
    result = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")


def test_the_second_writer_exits_with_11_and_names_the_first(indexed, photos, tmp_path):
    from mmsearch.store.lock import WriterLock

    with WriterLock(str(tmp_path / "library")):
        result = indexed("index", photos)
        assert result.returncode == 11 and str(os.getpid()).encode() in result.stderr
        assert indexed("query", "red").returncode == 0


def test_a_model_that_does_not_fit_the_library_exits_with_12(indexed, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "library" / "catalog.sqlite") as db:
        db.execute("UPDATE space SET fingerprint = 'of another version'")
    result = indexed("query", "red")
    assert result.returncode == 12 and b"of another version" in result.stderr and b"mmsearch index" in result.stderr


def test_damage_exits_with_13_and_names_repair(indexed, photos, tmp_path):
    indexed("index", photos, "--index", "exact")
    (artifact,) = (tmp_path / "library" / "artifacts").iterdir()
    artifact.write_bytes(b"\0" * artifact.stat().st_size)
    query = indexed("query", "red", "-k", "1")
    assert query.returncode == 0 and b"red.png" in query.stdout and b"mmsearch repair" in query.stderr
    assert indexed("check").returncode == 13
    assert indexed("repair").returncode == 0
    assert indexed("check", "--deep").returncode == 0


def test_a_catalog_that_is_no_database_exits_with_13(indexed, tmp_path):
    (tmp_path / "library" / "catalog.sqlite").write_bytes(b"not a database" * 1000)
    for command in ("query red", "status", "check", "repair"):
        result = indexed(*command.split())
        assert result.returncode == 13, command


def test_a_missing_extra_exits_with_14_and_names_it(indexed, tmp_path, photos):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "faiss.py").write_text("raise ModuleNotFoundError(\"No module named 'faiss'\", name='faiss')")
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library"), "PYTHONPATH": str(blocked)}
    result = subprocess.run(
        [sys.executable, "-m", "mmsearch", "index", str(photos), "--index", "flat"],
        env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert result.returncode == 14 and b"mmsearch[cpu]" in result.stderr


def test_a_newer_library_exits_with_14(indexed, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "library" / "catalog.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    result = indexed("query", "red")
    assert result.returncode == 14 and b"pip install -U mmsearch" in result.stderr


def test_ctrl_c_ends_cleanly_with_130_and_the_next_run_does_the_rest(mmsearch, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(3000):
        Image.new("RGB", (64, 64), (i % 256, i // 256, 0)).save(folder / f"{i}.png", compress_level=0)
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library")}
    command = [sys.executable, "-m", "mmsearch", "index", str(folder), "--model", "fake", "--json"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (tmp_path / "library").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    first = json.loads(out)
    assert first["interrupted"] and b"interrupted" in err
    rest = json.loads(mmsearch("index", folder, "--json").stdout)
    # Pictures of the same colour are the same file: they are reused, not added.
    assert rest["unchanged"] == first["seen"] and rest["seen"] == 3000
    assert mmsearch("check", "--read-data").returncode == 0


def test_a_terminal_gets_a_table(indexed, photos, tmp_path):
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library"), "TERM": "dumb", "COLUMNS": "200"}
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mmsearch", "query", "red", "-k", "1"]
    subprocess.run(command, env=environment, stdout=theirs, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "rank" in shown and "score" in shown and str(photos / "red.png") in shown


@pytest.mark.parametrize("command", ["status", "ls", "errors", "models list", "doctor", "check", "prune", "gc"])
def test_every_report_speaks_json(indexed, command):
    result = indexed(*command.split(), "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)["schema_version"] == 2


def test_status_says_what_is_there(indexed, photos):
    text = indexed("status").stdout.decode()
    assert str(photos) in text and "3 ok" in text and "fake" in text


def test_doctor_names_sqlite_fts5_and_faiss(mmsearch):
    text = mmsearch("doctor").stdout.decode()
    assert "SQLite 3." in text and "FTS5" in text and "faiss-cpu" in text


def test_help_and_query_import_nothing_heavy(indexed, tmp_path):
    heavy = {"torch", "faiss", "onnxruntime", "sqlalchemy", "PIL", "rich", "pydantic"}
    program = (
        "import sys\n"
        "sys.argv = ['mmsearch', *sys.argv[1:]]\n"
        "from mmsearch.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        "import json; print(json.dumps([name for name in sys.modules if '.' not in name]), file=sys.stderr)\n"
    )
    asked = [["query", "red"], ["query", "--since", "yesterday"], ["ls", "--since", "yesterday"]]
    for arguments, allowed in ((["--help"], set()), *((arguments, {"numpy", "sqlite3"}) for arguments in asked)):
        environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library")}
        command = [sys.executable, "-c", program, *arguments]
        result = subprocess.run(command, env=environment, capture_output=True, check=True)
        loaded = set(json.loads(result.stderr.splitlines()[-1]))
        assert not loaded & heavy
        assert loaded & {"numpy", "sqlite3"} == allowed


@pytest.mark.parametrize("seconds", ["nan", "-1"])
def test_a_lock_timeout_that_is_no_time_is_named(mmsearch, seconds):
    """No clock ever comes to "nan": it waited for ever."""
    result = mmsearch("--lock-timeout", seconds, "status")
    assert result.returncode == 2 and b"--lock-timeout" in result.stderr
