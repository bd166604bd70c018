"""`mmsearch config`: flags beat the environment, which beats the file; keys and values are checked by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.cli import defaults, toml
from mmsearch.errors import UsageError
from tests.e2e.test_cli import indexed, lines, mmsearch, photos  # noqa: F401


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("MMSEARCH_CONFIG", str(tmp_path / "config" / "config.toml"))
    return tmp_path / "config" / "config.toml"


def test_flags_beat_the_environment_beats_the_file(file, indexed, monkeypatch):  # noqa: F811
    assert len(lines(indexed("query", "red", "--dense"))) == 3
    assert indexed("config", "set", "query.top", "1").returncode == 0
    assert file.read_text() == "[query]\ntop = 1\n"
    assert len(lines(indexed("query", "red", "--dense"))) == 1
    monkeypatch.setenv("MMSEARCH_QUERY_TOP", "2")
    assert len(lines(indexed("query", "red", "--dense"))) == 2
    assert len(lines(indexed("query", "red", "--dense", "-k", "3"))) == 3
    library, row = json.loads(indexed("config", "list", "--json").stdout)["settings"]
    assert (library["key"], library["from"]) == ("library", "environment")
    assert (row["key"], row["value"], row["from"], row["variable"]) == (
        "query.top", 2, "environment", "MMSEARCH_QUERY_TOP",
    )  # fmt: skip


def test_the_library_of_the_file_gives_way_to_the_others(file, photos, tmp_path, monkeypatch):  # noqa: F811
    def run(*arguments, **environment):
        command = [sys.executable, "-m", "mmsearch", *map(str, arguments)]
        variables = {name: value for name, value in os.environ.items() if name != "MMSEARCH_LIBRARY"}
        return subprocess.run(command, env={**variables, **environment}, capture_output=True, timeout=120, check=False)

    assert run("config", "set", "library", tmp_path / "mine").returncode == 0
    assert run("index", photos, "--model", "fake").returncode == 0
    assert (tmp_path / "mine" / "catalog.sqlite").exists()
    assert run("status").returncode == 0
    assert run("status", MMSEARCH_LIBRARY=str(tmp_path / "none")).returncode == 10
    assert run("status", "--library", tmp_path / "none").returncode == 10


def test_get_unset_and_path(file, mmsearch):  # noqa: F811
    assert lines(mmsearch("config", "path")) == [str(file)]
    assert lines(mmsearch("config", "get", "query.top")) == ["10"]
    mmsearch("config", "set", "query.top", "20")
    mmsearch("config", "set", "index.exclude", "*.tmp", "raw/*")
    assert lines(mmsearch("config", "get", "query.top")) == ["20"]
    assert lines(mmsearch("config", "get", "index.exclude")) == ["*.tmp raw/*"]
    assert mmsearch("config", "unset", "query.top").returncode == 0
    assert mmsearch("config", "unset", "query.top").returncode == 1
    assert lines(mmsearch("config", "get", "query.top")) == ["10"]
    assert mmsearch("config", "get", "index.model").returncode == 1
    assert "query.where" in mmsearch("config", "list", "--all").stdout.decode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("set query.topp 3", "did you mean query.top"),
        ("set top 3", "query.top"),
        ("set query.top many", "query.top"),
        ("set query.top 0", "query.top"),
        ("set query.top 1 2", "takes one value"),
        ("set query.jsonl true", "there is no setting query.jsonl"),  # no flag could take it back
        ("get nonsense.at.all", "mmsearch config list --all"),
    ],
)
def test_what_makes_no_sense_is_named_and_nothing_written(file, mmsearch, arguments, says):  # noqa: F811
    result = mmsearch("config", *arguments.split())
    assert result.returncode == 2 and says in result.stderr.decode() and not file.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[query]\ntopp = 3\n", "did you mean query.top"),
        ("[query]\ntop = 'x'\n", "query.top"),
        ("[query]\ntop = [1]\n", "query.top"),
        ("[query]\ntop = true\n", "query.top"),
        ("[query\n", "config.toml"),
        ("a = \x00", "config.toml"),
        ("a = " + "[" * 100_000, "nested too deep"),
    ],
)
def test_a_file_that_is_wrong_stops_every_command_but_config(file, indexed, text, says):  # noqa: F811
    file.parent.mkdir()
    file.write_text(text)
    result = indexed("query", "red")
    assert result.returncode == 2 and says in result.stderr.decode() and str(file) in result.stderr.decode()
    assert lines(indexed("config", "path")) == [str(file)]


def test_a_wrong_key_can_be_taken_out(file, indexed):  # noqa: F811
    file.parent.mkdir()
    file.write_text("[query]\ntopp = 3\n")
    assert indexed("config", "unset", "query.topp").returncode == 0
    assert indexed("query", "red").returncode == 0


def test_comments_and_order_stay(tmp_path):
    file = tmp_path / "config.toml"
    file.write_text("# mine\nlibrary = '/a'\n\n[query]  # asking\ntop = 5  # few\n\n[index]\nmodel = 'mini'\n")
    toml.put(str(file), "query.top", 7)
    toml.put(str(file), "query.sort", "path")
    toml.put(str(file), "library", None)
    toml.put(str(file), "models.pull.yes", True)
    asking = '[query]  # asking\ntop = 7\nsort = "path"\n'
    assert file.read_text() == f"# mine\n\n{asking}\n[index]\nmodel = 'mini'\n\n[models.pull]\nyes = true\n"


@pytest.mark.parametrize("text", ["query.top = 5\n", "query = { top = 5 }\n", 'a = """\n[query]\ntop = 1\n"""\n'])
def test_a_file_written_otherwise_is_left_to_its_owner(tmp_path, text):
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match="by hand"):
        toml.put(str(file), "query.top", 7)
    assert file.read_text() == text and os.listdir(tmp_path) == ["config.toml"]


@given(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.lists(st.text(st.characters(exclude_categories=["Cs"])))
)
def test_any_value_comes_back(tmp_path_factory, value):
    file = tmp_path_factory.mktemp("toml") / "config.toml"
    toml.put(str(file), "query.where", value)
    assert defaults.read(str(file)) == {"query.where": value}


def test_every_key_has_a_variable_of_its_own():
    from typer.main import get_command

    from mmsearch.cli.app import app

    known = defaults.settings(get_command(app))
    assert {"library", "query.top", "similar.top", "index.model", "query.min-confidence"} <= set(known)
    assert len({setting.variable for setting in known.values()}) == len(known)
