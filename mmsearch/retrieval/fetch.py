"""What an address in a question leads to: at most so many bytes, within so many seconds, and from public hosts only.

An address may come from a page or a list of a stranger's. It must not make this machine ask its own services or those
of its network, nor hold a command for ever. The host is resolved once, and the connection goes to what was judged.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import IPv6Address, ip_address
from typing import IO, Any
from urllib import request
from urllib.parse import urlsplit

from mmsearch.errors import UsageError

MOST_BYTES, DEADLINE_S = 64 * 1024 * 1024, 30.0
"""Of one address, redirections included."""
ALLOW_PRIVATE = "MMSEARCH_ALLOW_PRIVATE"
"""The variable that, set to 1, lets addresses of this machine and of local networks be fetched."""

_CHUNK = 64 * 1024


def fetch(address: str, into: IO[bytes]) -> None:
    """Write what an address (http or https) holds. Raises ``UsageError`` that names it."""
    deadline = _Deadline(DEADLINE_S)
    opener = request.OpenerDirector()
    # Not `build_opener`: that follows a redirection to ftp.
    for handler in (
        request.ProxyHandler(),
        request.UnknownHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
        _Http(deadline),
        _Https(deadline),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request.Request(address, headers={"User-Agent": "mmsearch"}), timeout=DEADLINE_S) as response:
            size = 0
            while size <= MOST_BYTES and (data := response.read1(_CHUNK)):
                size += into.write(data)
        if deadline.over:  # a connection that was ended looks like one that is at its end
            raise TimeoutError
    except (OSError, ValueError, HTTPException) as error:
        late = deadline.over or isinstance(error, TimeoutError)
        why = f"not done within {DEADLINE_S:.0f} s" if late else getattr(error, "reason", error)
        raise UsageError(f"{address}: {why}") from error
    finally:
        deadline.close()
    if size > MOST_BYTES:
        raise UsageError(f"{address}: larger than {MOST_BYTES // 2**20} MiB")


class _Deadline:
    """Ends a connection when its time is up, in whatever the other side makes us wait: headers, or a byte a second."""

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._socket: socket.socket | None = None
        self._end = time.monotonic() + seconds
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        self._drop()
        self._socket = connection.dup()  # TLS takes the other one over

    def left(self) -> float:
        return max(self._end - time.monotonic(), 0.01)

    def close(self) -> None:
        self._timer.cancel()
        self._drop()

    def _expire(self) -> None:
        self.over = True
        with suppress(AttributeError, OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class _Http(request.HTTPHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def http_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(_connection, HTTPConnection, self._deadline, _is_proxied(req)), req)


class _Https(request.HTTPSHandler):
    def __init__(self, deadline: _Deadline) -> None:
        super().__init__()
        self._deadline = deadline

    def https_open(self, req: request.Request) -> HTTPResponse:
        return self.do_open(partial(_connection, HTTPSConnection, self._deadline, _is_proxied(req)), req)


def _is_proxied(req: request.Request) -> bool:
    """Whether a proxy of the user's resolves the host; then only what is plainly private can be refused here."""
    proxied = req.has_proxy() or bool(getattr(req, "_tunnel_host", None))
    host = urlsplit(req.full_url).hostname or ""
    with suppress(ValueError):
        _require_public(host, "127.0.0.1" if host.rstrip(".") == "localhost" else host)
    return proxied


def _connection(
    kind: type[HTTPConnection], deadline: _Deadline, proxied: bool, host: str, **more: Any
) -> HTTPConnection:
    connection = kind(host, **more)
    connection._create_connection = partial(_connected, deadline, proxied)  # type: ignore[attr-defined]
    return connection


def _connected(
    deadline: _Deadline, proxied: bool, address: tuple[str, int], timeout: float, source: object = None
) -> socket.socket:
    host, port = address
    failure: OSError = OSError("no such host")
    for family, kind, number, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if not proxied:
            _require_public(host, str(place[0]))
        connection = socket.socket(family, kind, number)
        try:
            connection.settimeout(deadline.left())
            connection.connect(place)
            deadline.watch(connection)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _require_public(host: str, address: str) -> None:
    """Raises ``PermissionError`` for an address of this machine or a local network, ``ValueError`` for none."""
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    if not found.is_global and os.environ.get(ALLOW_PRIVATE) != "1":
        raise PermissionError(f"{host} is this machine or in a local network: {ALLOW_PRIVATE}=1 allows that")
