"""What an option is when it was not typed: its environment variable, else the user's file, else the built-in default.

Every option of every command that takes a value has a key, ``query.top`` for ``query --top``, and a variable,
``MMSEARCH_QUERY_TOP``; so have switches that have a ``--no-`` form, because what a file says must be revocable where
one types. ``library`` is the key of the library's folder. Keys are listed nowhere: they are read off the commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mmsearch.errors import UsageError

LIBRARY = "library"
PREFIX = "MMSEARCH_"
_OTHER_VARIABLES = {
    *("MMSEARCH_LIBRARY", "MMSEARCH_CACHE", "MMSEARCH_CONFIG", "MMSEARCH_DATA"),
    *("MMSEARCH_ALLOW_PICKLE", "MMSEARCH_ALLOW_PRIVATE"),
}


class Setting(NamedTuple):
    """A key, where click looks for it in its map of defaults, and the option itself (None: the library)."""

    key: str
    place: tuple[str, ...]
    option: Any = None

    @property
    def variable(self) -> str:
        return PREFIX + self.key.upper().replace(".", "_").replace("-", "_")


def path() -> str:
    """Where the file is: ``$MMSEARCH_CONFIG``, else the platform's folder for settings."""
    if named := os.environ.get("MMSEARCH_CONFIG"):
        return os.path.abspath(named)
    if sys.platform == "linux":  # what platformdirs says, without the 7 ms of asking it at every command
        base = os.environ.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
        return os.path.join(base, "mmsearch", "config.toml")
    import platformdirs

    return os.path.join(platformdirs.user_config_dir("mmsearch", appauthor=False), "config.toml")


def settings(group: Any) -> dict[str, Setting]:
    """Every setting there is, by key."""
    found = [Setting(LIBRARY, (LIBRARY,)), *_settings(group, ())]
    return {setting.key: setting for setting in found}


def _settings(group: Any, above: tuple[str, ...]) -> Iterator[Setting]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _settings(command, (*above, name))
            continue
        for option in command.params:
            if option.param_type_name == "option" and (not option.is_flag or option.secondary_opts):
                long = max(option.opts, key=len).lstrip("-")
                yield Setting(".".join((*above, name, long)), (*above, name, option.name), option)


def find(known: Mapping[str, Setting], key: str, where: str = "") -> Setting:
    """The setting of this key. Raises ``UsageError`` that names the nearest keys."""
    if key in known:
        return known[key]
    from difflib import get_close_matches

    near = get_close_matches(key, known, n=3, cutoff=0.5) or [k for k in known if k.endswith("." + key)][:3]
    hint = f"did you mean {' or '.join(near)}?" if near else "`mmsearch config list --all` names all"
    raise UsageError(f"{where}there is no setting {key}: {hint}")


def converted(setting: Setting, value: Any, where: str = "") -> Any:
    """A value as its option takes it. Raises ``UsageError`` for one of the wrong kind."""
    if setting.option is None or not setting.option.multiple:
        return _one(setting, value, where)
    return [_one(setting, one, where) for one in (value if isinstance(value, list) else [value])]


def _one(setting: Setting, value: Any, where: str) -> Any:
    switch = setting.option is not None and setting.option.is_flag
    if not isinstance(value, str | int | float) or (isinstance(value, bool) and not switch):
        raise UsageError(f"{where}{setting.key} can't be {value!r}")
    if setting.option is None:
        return os.path.abspath(os.path.expanduser(str(value)))
    try:
        return setting.option.type.convert(value, setting.option, None)
    except Exception as error:  # click's BadParameter, wherever typer keeps it
        raise UsageError(f"{where}{setting.key}: {getattr(error, 'message', error)}") from None


def read(file: str) -> dict[str, Any]:
    """The file's values by key; nothing where there is no file. Raises ``UsageError`` for one that is no TOML."""
    try:
        with open(file, "rb") as opened:
            import tomllib

            return dict(_flat(tomllib.load(opened), ""))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None
    except RecursionError:
        raise UsageError(f"{file}: nested too deep") from None


def _flat(table: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def from_environment(known: Mapping[str, Setting]) -> dict[str, Any]:
    """Values by key of the variables that are set; of an option that may be repeated, words as a shell splits them."""
    found: dict[str, Any] = {}
    for setting in known.values():
        text = os.environ.get(setting.variable)
        if text:
            import shlex

            found[setting.key] = shlex.split(text) if setting.option is not None and setting.option.multiple else text
    return found


def are_set() -> bool:
    """Whether there may be any: a file, or a variable."""
    return any(name.startswith(PREFIX) and name not in _OTHER_VARIABLES for name in os.environ) or os.path.exists(
        path()
    )


def apply(group: Any) -> dict[str, Any]:
    """Click's map of defaults for a group of commands; the library's folder becomes its variable, if that is not set.

    Raises ``UsageError`` for a key that does not exist or a value that does not fit.
    """
    if not are_set():
        return {}
    file = path()
    known = settings(group)
    values = {key: converted(find(known, key, f"{file}: "), value, f"{file}: ") for key, value in read(file).items()}
    if LIBRARY in values:
        os.environ.setdefault("MMSEARCH_LIBRARY", values.pop(LIBRARY))
    for key, value in from_environment(known).items():
        if key != LIBRARY:
            values[key] = converted(known[key], value, f"{known[key].variable}: ")
    places: dict[str, Any] = {}
    for key, value in values.items():
        *above, name = known[key].place
        table = places
        for part in above:
            table = table.setdefault(part, {})
        table[name] = value
    return places
