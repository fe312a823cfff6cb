"""A small Hugging Face hub on loopback, for tests that download for real: it serves bytes that the test made.

It answers what `huggingface_hub` asks for (repository information with checksums, HEAD and GET of files with Range and a
redirect for large ones) and can misbehave in the ways that real lines and hubs do.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 1000  # bytes from which on a file has a sha256 and lies elsewhere, as with Git LFS
PIECE = 16384


@dataclass
class Repo:
    """One repository and how it misbehaves."""

    files: dict[str, bytes]
    repo_type: str = "model"
    gated: bool = False
    withdrawn: set[str] = field(default_factory=set)  # listed, and answered with 404
    flipped: set[str] = field(default_factory=set)  # one byte of what is sent is wrong
    drop_after: dict[str, list[int]] = field(default_factory=dict)  # of the next answers: how many bytes are sent
    piece_seconds: float = 0.0  # pause after each piece
    claimed: dict[str, int] = field(default_factory=dict)  # sizes that the listing tells instead of the true ones
    checksums: bool = True

    @property
    def revision(self) -> str:
        """The commit: changes with the content."""
        return hashlib.sha1(repr(sorted(self.files.items())).encode()).hexdigest()


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    range: str
    token: str
    status: int


class Hub:
    """The server: `repos` by owner/name may be changed at any time, `log` tells what was asked."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.log: list[Request] = []
        self.busy = False  # answers everything with 503
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def sent(self, name: str) -> list[Request]:
        """Return the requests for the content of files whose path ends so."""
        return [r for r in self.log if r.method == "GET" and r.path.endswith(name) and r.status in (200, 206)]


@contextmanager
def running() -> Iterator[Hub]:
    """Serve while the block runs."""
    hub = Hub()
    try:
        yield hub
    finally:
        hub.close()


def git_sha1(content: bytes) -> str:
    """Return the id that git gives a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(repo: Repo, path: str, content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"rfilename": path}
    if repo.checksums:
        size = repo.claimed.get(path, len(content))
        found |= {"size": size, "blobId": git_sha1(content)}
        if len(content) >= LARGE:
            found["lfs"] = {"size": size, "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
    return found


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if hub.busy:
                return self._send(503, b"busy")
            if parts[0] == "api":
                return self._info(parts[2:])
            if parts[0] == "content":  # where large files lie
                return self._content(parts[1:])
            if parts[0] in ("spaces", "datasets"):
                parts = parts[1:]
            if len(parts) > 4 and parts[2] == "resolve":
                return self._resolve(parts)
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})

        def _repo(self, parts: list[str]) -> Repo | None:
            return hub.repos.get("/".join(parts[:2]))

        def _info(self, parts: list[str]) -> None:
            repo = self._repo(parts)
            asked = {"models": "model", "spaces": "space"}.get(urlsplit(self.path).path.split("/")[2])
            if repo is None or repo.repo_type != asked:
                return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            siblings = [_sibling(repo, path, content) for path, content in repo.files.items()]
            body = {"id": "/".join(parts[:2]), "sha": repo.revision, "siblings": siblings, "tags": []}
            return self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

        def _resolve(self, parts: list[str]) -> None:
            repo, path = self._repo(parts), "/".join(parts[4:])
            if repo is None:
                return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
            if repo.gated and self.headers.get("Authorization") != "Bearer hf_good":
                return self._send(403 if self.headers.get("Authorization") else 401, b"", {"X-Error-Code": "GatedRepo"})
            if path not in repo.files or path in repo.withdrawn:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            content = repo.files[path]
            headers = {"X-Repo-Commit": repo.revision, "ETag": f'"{git_sha1(content)}"'}
            if len(content) >= LARGE:
                headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
                headers["X-Linked-Size"] = str(len(content))
                # another host name, as with the real hub: nobody's token may follow there
                elsewhere = hub.url.replace("127.0.0.1", "localhost")
                headers["Location"] = f"{elsewhere}/content/{'/'.join(parts[:2])}/{path}"
                return self._send(302, b"", headers)
            return self._content([*parts[:2], path], headers)

        def _content(self, parts: list[str], headers: dict[str, str] | None = None) -> None:
            repo, path = self._repo(parts), "/".join(parts[2:])
            if repo is None or path not in repo.files:
                return self._send(404, b"")
            content = repo.files[path]
            if path in repo.flipped:
                middle = len(content) // 2
                content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            begin, asked = 0, self.headers.get("Range")
            if asked:
                begin = int(asked.removeprefix("bytes=").split("-")[0])
                headers = {**(headers or {}), "Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
            cuts = repo.drop_after.get(path)
            cut = cuts.pop(0) if cuts else None
            return self._send(206 if asked else 200, content[begin:], headers, cut, repo.piece_seconds)

        def _send(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            cut: int | None = None,
            pause: float = 0.0,
        ) -> None:
            token = self.headers.get("Authorization", "")
            hub.log.append(Request(self.command, self.path, self.headers.get("Range", ""), token, status))
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                for start in range(0, len(body[:cut]), PIECE):
                    self.wfile.write(body[:cut][start : start + PIECE])
                    self.wfile.flush()
                    time.sleep(pause)
            except OSError:  # the other side is gone
                self.close_connection = True
            if cut is not None:
                self.close_connection = True

    return Handler
