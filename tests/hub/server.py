"""A Hugging Face Hub of our own on 127.0.0.1: the requests that huggingface_hub makes, and the faults of networks."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LFS_FROM = 10_000
"""Files of so many bytes are kept by Git LFS, and served from another address."""


@dataclass
class Hub:
    """Repositories as ``{repo: {file: bytes}}``; faults are set by a test, requests noted for it."""

    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    licence: str = "mit"
    cut_after: list[int] = field(default_factory=list)
    """The next downloads of a large file end after so many bytes."""
    spoil: set[str] = field(default_factory=set)
    """Files that arrive with a byte changed."""
    ranges: bool = True
    status: int = 200
    gated: bool = False
    token: str | None = None
    stall: threading.Event | None = None
    """Set by a test: large files stop in the middle until the event comes."""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    def commit(self, repo: str) -> str:
        return hashlib.sha1(repr(sorted(self.repos[repo].items())).encode()).hexdigest()

    def listing(self, repo: str) -> dict[str, Any]:
        """What ``/api/models/OWNER/NAME?blobs=true`` answers, as far as a client reads it."""
        siblings = []
        for name, data in self.repos[repo].items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _git_sha1(data)}
            if len(data) >= LFS_FROM:
                digest = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"size": len(data), "sha256": digest, "pointerSize": 134}
            siblings.append(entry)
        return {
            "id": repo,
            "sha": self.commit(repo),
            "siblings": siblings,
            "cardData": {"license": self.licence},
            "tags": [f"license:{self.licence}"],
        }

    @property
    def authorization(self) -> str | None:
        return f"Bearer {self.token}" if self.token else None

    def downloads(self) -> list[tuple[str, str]]:
        """(file, Range header) of every request for a file's bytes."""
        return [(path.rsplit("/", 1)[1], head.get("range", "")) for path, head in self.requests if "/cdn/" in path]


def _git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        # A proxy gets whole addresses; to this server they are its own.
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if listing := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/\w+)?", path):
            self._list(listing[1])
        elif resolve := re.fullmatch(r"/([^/]+/[^/]+)/resolve/(\w+)/(.+)", path):
            self._redirect(f"/cdn/{resolve[1]}/{resolve[3]}")
        elif file := re.fullmatch(r"/cdn/([^/]+/[^/]+)/(.+)", path):
            self._send_file(file[2], self.hub.repos[file[1]][file[2]])
        else:
            self._answer(404, b"{}")

    def do_HEAD(self) -> None:
        """What the client asks before it fetches: which version a file has."""
        repo, name = re.fullmatch(r"/([^/]+/[^/]+)/resolve/\w+/(.+)", unquote(self.path)).groups()
        data = self.hub.repos[repo][name]
        large = len(data) >= LFS_FROM
        etag = hashlib.sha256(data).hexdigest() if large else _git_sha1(data)
        head = {"X-Repo-Commit": self.hub.commit(repo), "ETag": f'"{etag}"', "Content-Length": str(len(data))}
        self._answer(200, b"", head)

    def _list(self, repo: str) -> None:
        if self.hub.status != 200:
            self._answer(self.hub.status, b"{}")
        elif self.hub.gated:
            self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        elif repo not in self.hub.repos or self.headers.get("Authorization") != self.hub.authorization:
            self._answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        else:
            self._answer(200, json.dumps(self.hub.listing(repo)).encode(), {"Content-Type": "application/json"})

    def _redirect(self, path: str) -> None:
        self._answer(302, b"", {"Location": path})

    def _send_file(self, name: str, data: bytes) -> None:
        if name in self.hub.spoil:
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        if self.hub.ranges and (wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            start = int(wanted[1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:]
        if len(data) >= LFS_FROM and self.hub.cut_after:
            body = body[: self.hub.cut_after.pop(0)]
            self.close_connection = True
        if len(data) >= LFS_FROM and self.hub.stall:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.hub.stall.wait(60)
            self.close_connection = True
            return
        self.wfile.write(body)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for header, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start the server; its address is ``hub.url``. The caller ends it with ``shutdown``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
