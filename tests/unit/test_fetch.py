"""Addresses in questions: nothing private is asked, and no server holds a command."""

from __future__ import annotations

import io
import socket
import threading
from contextlib import contextmanager, suppress

import pytest

from mmsearch.errors import UsageError
from mmsearch.retrieval import fetch


@contextmanager
def served(answer):
    """An address whose server lets ``answer`` do with each connection what it likes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=_answered, args=(answer, connection), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.png"


def _answered(answer, connection) -> None:
    with connection:
        connection.recv(4096)
        with suppress(OSError):  # it was hung up on
            answer(connection)


@pytest.fixture
def private(monkeypatch):
    monkeypatch.setenv(fetch.ALLOW_PRIVATE, "1")
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize(
    "host",
    [
        *(
            "127.0.0.1",
            "localhost",
            "0.0.0.0",
            "10.1.2.3",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.64.0.1",
        ),
        *("[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "2130706433", "0x7f.1", "127.1"),
    ],
)
def test_private_addresses_are_refused_however_they_are_written(monkeypatch, host):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(UsageError, match="this machine or in a local network"):
        fetch.fetch(f"http://{host}:9/a.png", io.BytesIO())


def test_a_redirection_to_another_protocol_is_refused(private):
    def answer(connection) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1:1/a.png\r\nContent-Length: 0\r\n\r\n")

    with served(answer) as address, pytest.raises(UsageError):
        fetch.fetch(address, io.BytesIO())


def test_a_redirection_to_a_private_address_is_refused(private, monkeypatch):
    def answer(connection) -> None:
        monkeypatch.delenv(fetch.ALLOW_PRIVATE)  # the first host stands for a public one
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/a.png\r\nContent-Length: 0\r\n\r\n")

    with served(answer) as address, pytest.raises(UsageError, match="this machine or in a local network"):
        fetch.fetch(address, io.BytesIO())


def drip(connection, data: bytes, waited: threading.Event) -> None:
    while True:
        connection.sendall(data)
        waited.wait(0.05)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n"])
@pytest.mark.parametrize("data", [b"a", b""])
def test_a_server_that_drips_is_given_up(private, monkeypatch, head, data):
    """A byte a second held the command for ever."""
    monkeypatch.setattr(fetch, "DEADLINE_S", 0.5)

    def answer(connection) -> None:
        connection.sendall(head)
        drip(connection, data, threading.Event())

    with served(answer) as address, pytest.raises(UsageError, match="not done within"):
        fetch.fetch(address, io.BytesIO())


def test_what_is_there_is_written_and_no_more_than_the_limit(private, monkeypatch):
    def answer(connection) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 3_000)

    with served(answer) as address:
        into = io.BytesIO()
        fetch.fetch(address, into)
        assert into.getvalue() == b"x" * 3_000
        monkeypatch.setattr(fetch, "MOST_BYTES", 2_999)
        with pytest.raises(UsageError, match="larger than"):
            fetch.fetch(address, io.BytesIO())
