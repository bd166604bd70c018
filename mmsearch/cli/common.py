"""What every command shares: its settings, and what becomes of its errors."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from mmsearch.errors import MMSearchError

if TYPE_CHECKING:
    from mmsearch.library import Library

INTERNAL_ERROR, INTERRUPTED = 70, 130
GRACE_S = 1.0

_FLAGS = ("--json", "-q", "--quiet", "-v", "--verbose")
_VALUES = ("--library", "--lock-timeout")


@dataclass(frozen=True, slots=True)
class Settings:
    """The global options."""

    folder: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    lock_timeout: float = 0.0

    def library(self) -> Library:
        from mmsearch.library import Library

        return Library(self.folder, lock_timeout=self.lock_timeout)


def hoist(arguments: Sequence[str]) -> list[str]:
    """Move global options to the front, so that they may also follow the command: ``ls --json`` -> ``--json ls``."""
    options: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            others += [argument, *rest]
        elif argument in _FLAGS or argument.startswith(tuple(f"{name}=" for name in _VALUES)):
            options.append(argument)
        elif argument in _VALUES:
            options += [argument, *([value] if (value := next(rest, None)) is not None else [])]
        else:
            others.append(argument)
    return options + others


def first_word(arguments: Sequence[str]) -> str:
    """What follows the global options in hoisted arguments; empty if there is nothing."""
    rest = iter(arguments)
    for argument in rest:
        if argument in _VALUES:
            next(rest, None)
        elif not argument.startswith("-"):
            return argument
    return ""


def numpy_alone() -> None:
    """Import numpy without the threads of its BLAS: starting them costs 0.1 s of processor time, as they spin.

    For commands that never wait for one large product. The variable is gone at once: other libraries bring a BLAS too.
    """
    if "numpy" not in sys.modules and (variable := "OPENBLAS_NUM_THREADS") not in os.environ:
        os.environ[variable] = "1"
        try:
            import numpy  # noqa: F401
        finally:
            del os.environ[variable]


@contextmanager
def command(context: typer.Context) -> Iterator[Settings]:
    """The body of a command: every error becomes one line on stderr and an exit code."""
    settings: Settings = context.obj
    try:
        with _ended_by_two_interrupts():
            yield settings
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has what it wanted (`| head`): no error. Python must not try to flush again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except MMSearchError as error:
        typer.echo(f"mmsearch: {_printable(str(error))}", err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("mmsearch: interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:
        if settings.verbose:
            import traceback

            traceback.print_exc()
        hint = "" if settings.verbose else " (-v shows where)"
        typer.echo(f"mmsearch: internal error: {type(error).__name__}: {_printable(str(error))}{hint}", err=True)
        raise typer.Exit(INTERNAL_ERROR) from None


@contextmanager
def _ended_by_two_interrupts() -> Iterator[None]:
    """A second Ctrl-C ends the program after ``GRACE_S`` seconds, whatever a library or a thread is in the midst of.

    Python's own handlers wait until the main thread comes back to Python, and its end for all threads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()
    heard, told = os.pipe()
    os.set_blocking(told, False)

    def watch() -> None:
        count = 0
        while count < 2:
            count += os.read(heard, 64).count(signal.SIGINT)
            if ended.is_set() and count < 2:
                return
        time.sleep(GRACE_S)  # it may end by itself, and then this thread with it
        if not ended.is_set():
            os.write(2, b"mmsearch: interrupted\n")
        os._exit(INTERRUPTED)

    watcher = threading.Thread(target=watch, name="interrupts", daemon=True)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.write(told, b"\0")
        watcher.join(GRACE_S / 10)
        os.close(told)
        os.close(heard)


def _printable(message: str) -> str:
    from mmsearch.cli import render

    return render.safe(message)
