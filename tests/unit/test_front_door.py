"""What a command costs before it begins: itself alone is imported and built, and numpy without spinning threads."""

import json
import os
import subprocess
import sys

import pytest
import typer.main

from mmsearch.cli import app


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("MMSEARCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MMSEARCH_CONFIG", str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_command_can_be_built_alone_and_is_the_same(name):
    alone, whole = (typer.main.get_command(found).commands[name] for found in (app.build([name]), app.app))
    assert alone.help == whole.help
    assert [option.opts for option in alone.params] == [option.opts for option in whole.params]


@pytest.mark.parametrize(
    "arguments",
    [["query", "cat"], ["--json", "query", "cat"], ["--library", "index", "query", "a", "tune"], ["query", "--help"]],
)
def test_the_command_that_is_asked_for_is_built_alone(arguments):
    assert app._needed(arguments) == ["query"]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["quary"], ["config", "list"], ["--library"], ["-x", "y"]])
def test_all_are_built_where_others_count(arguments):
    assert app._needed(arguments) is app.COMMANDS


@pytest.mark.parametrize("what", ["a file", "a variable", "completion"])
def test_settings_and_completion_need_all(monkeypatch, tmp_path, what):
    if what == "a file":
        (tmp_path / "none.toml").write_text("")
    else:
        monkeypatch.setenv("MMSEARCH_QUERY_TOP" if what == "a variable" else "_MMSEARCH_COMPLETE", "3")
    assert app._needed(["query", "cat"]) is app.COMMANDS


PROGRAM = """
import json, os, sys
from mmsearch.cli.common import numpy_alone
numpy_alone()
threads = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
print(json.dumps(["numpy" in sys.modules, os.environ.get("OPENBLAS_NUM_THREADS"), threads]))
"""


def numpy_alone(**more):
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")} | more
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, env=environment)
    return json.loads(done.stdout)


def test_numpy_comes_without_threads_and_leaves_no_variable_behind():
    assert numpy_alone() == [True, None, 1]


def test_whoever_says_how_many_threads_is_obeyed():
    assert numpy_alone(OPENBLAS_NUM_THREADS="2")[:2] == [False, "2"]
