"""The Hugging Face hub: what a repository holds, and the bytes of one file. Every failure becomes one plain sentence.

`huggingface_hub` does not compare what arrives with the hub's checksums, and its own downloads no longer resume over two
runs; so files are fetched here, in pieces that are kept, and `verify` compares them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ccd_cli.core.errors import CcdError, TeacherError, first_line
from ccd_cli.core.files import disk_error
from ccd_cli.teachers.card import Card, RepoType, Source

ANSWER_SECONDS = 6.0  # how long the hub may take to tell what a repository holds; $HF_HUB_ETAG_TIMEOUT changes it
SILENT_SECONDS = 10.0  # how long a download may bring nothing; $HF_HUB_DOWNLOAD_TIMEOUT changes it
ATTEMPTS = 20
IDLE_ATTEMPTS = 3  # in a row that bring nothing
SECONDS_BETWEEN_ATTEMPTS = 1.0
PIECE = 1 << 20  # bytes that a broken line can cost
_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # git blob sha1, or sha256
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_BUSY = (500, 502, 503, 504)


class HubUnreachable(TeacherError):
    """The hub does not answer, or this run is offline: something else may do instead."""


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file as the hub describes it."""

    repo: str
    repo_type: RepoType
    revision: str
    path: str  # inside the repository
    place: str  # inside the teacher's folder
    size: int
    digest: str  # sha256 (64 hex digits), or sha1 of the git blob (40)


def endpoint() -> str:
    """Return the hub's address: $HF_ENDPOINT, else the public one."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def is_offline() -> bool:
    """Return whether $HF_HUB_OFFLINE forbids asking the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def remote_files(card: Card) -> list[RemoteFile]:
    """Ask the hub for the files that `card` needs; the first of two that have one place counts.

    Raises `TeacherError` where a repository or file is absent or closed, `HubUnreachable` where nobody answers.
    """
    found: dict[str, RemoteFile] = {}
    for source in card.sources:
        for file in _listing(source, flat=bool(card.file) and source.repo == card.repo):
            found.setdefault(file.place, file)
    return list(found.values())


def download(file: RemoteFile, part: Path, progress: Callable[[int], None]) -> None:
    """Fetch what is missing of `file` at the end of `part`, telling `progress` how many bytes are there.

    Goes on after a broken line unless several attempts in a row bring nothing; a part that is longer than the file begins
    anew, any other stays for the next time. Raises as `remote_files`, and `CcdError` for a full disk.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    idle = 0
    for attempt in range(1, ATTEMPTS + 1):
        before = part.stat().st_size if part.is_file() else 0
        try:
            _append(file, part, progress)
        except HubUnreachable:
            idle = 0 if part.stat().st_size > before else idle + 1
            if attempt == ATTEMPTS or idle == IDLE_ATTEMPTS:
                raise
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        else:
            return


def verify(file: RemoteFile, path: Path) -> str | None:
    """Return the sha256 of the file at `path` if its content is what the hub says, else None."""
    if not path.is_file() or path.stat().st_size != file.size:
        return None
    sha256 = hashlib.sha256()
    blob = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            sha256.update(piece)
            if len(file.digest) == 40:
                blob.update(piece)
    actual = sha256.hexdigest() if len(file.digest) == 64 else blob.hexdigest()
    return sha256.hexdigest() if actual == file.digest else None


def safe_place(text: str) -> str:
    """Return a file's path if it stays inside the folder it is put into; `TeacherError` for any other."""
    parts = text.split("/")
    if any(p in ("", ".", "..") for p in parts) or re.search(r"[\\:\x00-\x1f]", text) or len(text) > 400:
        raise TeacherError(
            f"The hub offers a file called {text[:80]!r}, which would leave the teacher's folder: refused."
        )
    return text


def _append(file: RemoteFile, part: Path, progress: Callable[[int], None]) -> None:
    """One attempt at the rest of a file, written in small pieces so that a broken line costs little."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    with _plain_errors(file.repo, file.repo_type, part), part.open("ab") as raw:
        if raw.tell() > file.size:
            raw.truncate(0)
        done = raw.seek(0, os.SEEK_END)
        progress(done)
        if done == file.size:
            return
        url = hf_hub_url(file.repo, file.path, repo_type=file.repo_type, revision=file.revision, endpoint=endpoint())
        headers = build_hf_headers() | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
        with http_stream_backoff(
            "GET",
            url,
            headers=headers,
            timeout=_seconds("HF_HUB_DOWNLOAD_TIMEOUT", SILENT_SECONDS),
            retry_on_exceptions=(),
            retry_on_status_codes=(408, 429),
        ) as answer:
            hf_raise_for_status(answer)
            if answer.status_code == 200:  # the server sends the whole file, whatever was asked for
                raw.truncate(0)
            for piece in answer.iter_bytes(PIECE):
                raw.write(piece)
                progress(raw.tell())
                if raw.tell() > file.size:
                    break
        raw.flush()
        os.fsync(raw.fileno())
        if raw.tell() != file.size:
            raise OSError(f"{raw.tell()} bytes arrived of {file.size}")


def _listing(source: Source, flat: bool) -> list[RemoteFile]:
    """The files of one repository that are needed; `flat`: without their folders."""
    from huggingface_hub import HfApi

    with _plain_errors(source.repo, source.repo_type, None):
        api = HfApi(endpoint=endpoint())
        ask: Callable[..., Any] = api.space_info if source.repo_type == "space" else api.model_info
        info = ask(source.repo, files_metadata=True, timeout=_seconds("HF_HUB_ETAG_TIMEOUT", ANSWER_SECONDS))
        siblings = {sibling.rfilename: sibling for sibling in info.siblings or []}
        revision = str(info.sha)
    if not _COMMIT.fullmatch(revision):
        raise TeacherError(f"{endpoint()} does not say which revision of {source.repo} it offers.", _MIRROR)
    found = []
    for path in _wanted(source, list(siblings)):
        sibling = siblings[path]
        size = sibling.lfs.size if sibling.lfs else sibling.size
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if not isinstance(size, int) or not _DIGEST.fullmatch(str(digest)):
            raise TeacherError(f"{endpoint()} gives no checksum for {path} of {source.repo}.", _MIRROR)
        place = safe_place(path)
        found.append(
            RemoteFile(
                repo=source.repo,
                repo_type=source.repo_type,
                revision=revision,
                path=path,
                place=place.rsplit("/", 1)[-1] if flat else place,
                size=size,
                digest=str(digest),
            )
        )
    return found


def _seconds(variable: str, otherwise: float) -> float:
    try:
        return float(os.environ[variable])
    except (KeyError, ValueError):
        return otherwise


def _wanted(source: Source, names: list[str]) -> list[str]:
    """The names that a source's patterns choose; `TeacherError` for a pattern that finds nothing."""
    chosen: list[str] = []
    for pattern in source.files:
        for alternative in pattern.split("|"):
            found = [name for name in names if name == alternative or fnmatchcase(name, alternative)]
            if found:
                chosen += (name for name in found if name not in chosen)
                break
        else:
            raise TeacherError(f"The repository {source.repo} has no file {pattern.replace('|', ' or ')}.", _MOVED)
    return chosen


_MIRROR = "Is HF_ENDPOINT a Hugging Face hub or a full mirror of it?"
_MOVED = "It may have been renamed or withdrawn; a file you have can be used by its path."


@contextmanager
def _plain_errors(repo: str, repo_type: RepoType, part: Path | None) -> Iterator[None]:
    try:
        yield
    except CcdError:
        raise
    except Exception as error:
        raise _explained(error, Source(repo=repo, files=(), repo_type=repo_type), part) from error


def _explained(error: Exception, source: Source, part: Path | None) -> Exception:
    """The plain error for what `huggingface_hub`, its HTTP library or the disk raised."""
    from huggingface_hub import errors

    repo = source.repo
    status = getattr(getattr(error, "response", None), "status_code", None)
    closed = TeacherError(
        f"The hub does not open {repo} ({status}).",
        f"Accept its conditions at {source.url}, then set HF_TOKEN to a token of that account.",
    )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubUnreachable("HF_HUB_OFFLINE forbids asking the hub.", "Unset it to download.")
    if isinstance(error, errors.GatedRepoError):
        return closed
    if isinstance(error, errors.RepositoryNotFoundError) or (status == 404 and part is None):
        return TeacherError(f"There is no repository {repo} at {endpoint()}, or it is private (set HF_TOKEN).", _MOVED)
    if isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError) or status == 404:
        return TeacherError(f"The hub has no such file of {repo} any more (404).", _MOVED)
    if status in (401, 403):
        return closed
    if status == 429:
        return TeacherError("The hub says: too many requests.", "Wait a few minutes, or set HF_TOKEN, and run again.")
    if status in _BUSY or (status is None and isinstance(error, _network_errors())):
        broke = "broke the line" if part else "cannot be reached"
        what = f"answered {status}" if status else f"{broke} ({_reason(error)})"
        hint = "Is this machine online? See: ccd doctor" if not status else "Run again in a while."
        hint = "What arrived is retained: run again to resume." if part else hint
        return HubUnreachable(f"The hub {endpoint()} {what}.", hint)
    if isinstance(error, OSError) and error.errno in _FULL and part:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return CcdError(disk_error(full, part).message, "Free some space and run again: what arrived is kept.")
    if isinstance(error, OSError) and error.errno and part:
        return disk_error(error, part)
    if status is not None:
        return TeacherError(f"The hub refused {repo} ({status}): {_reason(error)}.")
    if part and isinstance(error, OSError):  # fewer bytes than announced
        return HubUnreachable(
            f"The download of {repo} broke off ({_reason(error)}).", "What arrived is retained: run again to resume."
        )
    if isinstance(error, ValueError | KeyError | TypeError | AttributeError):
        return TeacherError(f"{endpoint()} gave an answer about {repo} that makes no sense.", _MIRROR)
    return error


def _network_errors() -> tuple[type[BaseException], ...]:
    """What the HTTP library under `huggingface_hub` (requests, httpx) raises for a broken line."""
    from huggingface_hub.errors import HfHubHTTPError

    roots = [c for c in HfHubHTTPError.__mro__ if c.__name__ in ("RequestException", "HTTPError")]
    return (*roots, ConnectionError, TimeoutError)


def _reason(error: BaseException) -> str:
    """The system's own words where it has any ("Connection refused"), else the first line of the library's."""
    deepest: BaseException | None = error
    while deepest is not None:
        if isinstance(deepest, OSError) and deepest.strerror:
            return deepest.strerror
        deepest = deepest.__cause__ or deepest.__context__
    return first_line(error)
