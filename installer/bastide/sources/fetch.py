"""The one way in which bytes come in from outside: pinned, resumable, into a cache by digest.

Every source kind ends here with an address and a SHA-256. A download goes to a partial file that
survives a kill, is hashed while it is written, and becomes visible in the cache only as a whole.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bastide import __version__
from bastide.errors import BundleError
from bastide.progress import Task
from bastide.sources.cache import BLOCK, Cache

RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})


class FetchError(BundleError):
    """A file could not be had, or is not the one that was pinned."""

    default_code = "BAS-3010"


class _TryAgainError(Exception):
    """A failure that may pass by itself."""


class _RangeError(Exception):
    """The server and what an earlier try has left do not fit: start over."""


@dataclass(frozen=True)
class Pin:
    """One file as it must be.

    Args:
        url: ``https``, ``http`` or ``file`` address.
        sha256: Digest of its content.
        size: Its bytes, or None if its source does not tell.
        name: What to call it in progress and messages.
        headers: Sent to the first server only, never after a redirect.
    """

    url: str
    sha256: str
    size: int | None = None
    name: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """A short name for people."""
        return self.name or self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Patience:
    """How hard to try.

    Args:
        attempts: Tries in all.
        backoff: Seconds before the second try; doubled for each further one.
        timeout: Seconds without a byte after which a try has failed.
        sleep: Waits; tests pass their own.
    """

    attempts: int = 5
    backoff: float = 1.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True)
class Fetcher:
    """Brings pinned files into the cache."""

    cache: Cache
    patience: Patience = Patience()

    def fetch(self, pin: Pin, task: Task) -> Path:
        """Return the pinned file's path in the cache, after bringing it in if it is not there.

        Args:
            pin: The file.
            task: Told every byte that arrives; bytes already there count at once.

        Raises:
            FetchError: The source cannot be reached or refuses, sends a web page, or sends
                something else than what is pinned. What has arrived is kept for a resume,
                except if it is wrong.
        """
        with self.cache.partial(pin.sha256) as partial:
            if self.cache.has(pin.sha256):
                path = self.cache.path(pin.sha256)
                task.advance(path.stat().st_size)
                return path
            self._bring(pin, partial, task)
            return self.cache.adopt(partial, pin.sha256)

    def _bring(self, pin: Pin, partial: Path, task: Task) -> None:
        for attempt in range(1, self.patience.attempts + 1):
            task.describe(pin.label)
            try:
                _Download(pin, partial, task, self.patience.timeout).run()
            except _TryAgainError as error:
                if attempt == self.patience.attempts:
                    raise FetchError(
                        f"{pin.url} could not be fetched in {attempt} tries: {error}",
                        hint="check the network or mirror; a new run resumes where this one ended",
                    ) from error
                task.describe(f"{pin.label}: try {attempt + 1} after: {error}")
                self.patience.sleep(self.patience.backoff * 2 ** (attempt - 1))
            else:
                return


@dataclass(frozen=True)
class _Download:
    """One try at one file."""

    pin: Pin
    partial: Path
    task: Task
    timeout: float

    def run(self) -> None:
        """Bring the partial file to its end and check it.

        Raises:
            _TryAgainError: It may work the next time.
            FetchError: It will not.
        """
        resumed = self._usable()
        if resumed and resumed == self.pin.size:
            digest, size = _hash_file(self.partial), resumed
            self.task.advance(size)
        else:
            digest, size = self._try_transfer(resumed)
        if digest.hexdigest() == self.pin.sha256:
            return
        self.partial.unlink(missing_ok=True)
        if resumed:
            raise _TryAgainError("what an earlier run had left did not fit")
        raise _wrong_content(self.pin, digest.hexdigest(), size)

    def _try_transfer(self, have: int) -> tuple[hashlib._Hash, int]:
        try:
            return self._transfer(have)
        except _RangeError as error:
            self.partial.unlink(missing_ok=True)
            raise _TryAgainError(str(error)) from error
        except (OSError, http.client.HTTPException) as error:
            if self.pin.url.startswith("file:"):
                raise FetchError(
                    f"{self.pin.url} cannot be read: {_reason(error)}",
                    code="BAS-3013",
                    hint="put the file there, or correct its path in the catalogue",
                ) from error
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise FetchError(
                    f"no room for {self.pin.label} in {self.partial.parent}",
                    code="BAS-3014",
                    hint="make room, or move the cache: BASTIDE_CACHE=DIR; a new run resumes",
                ) from error
            raise _TryAgainError(_reason(error)) from error

    def _usable(self) -> int:
        """Return how many bytes of an earlier try can stay."""
        size = self.partial.stat().st_size if self.partial.exists() else 0
        if self.pin.size is not None and size > self.pin.size:
            self.partial.unlink()
            return 0
        return size

    def _transfer(self, have: int) -> tuple[hashlib._Hash, int]:
        with _open(self.pin, have, self.timeout) as reply:
            with self.partial.open("ab") as stream:
                stream.truncate(reply.start)
            digest = _hash_file(self.partial)
            self.task.advance(reply.start)
            size = self._append(reply, digest)
        too_long = self.pin.size is not None and size > self.pin.size
        if reply.end is not None and size < reply.end and not too_long:
            raise _TryAgainError(f"the connection ended after {size} of {reply.end} bytes")
        return digest, size

    def _append(self, reply: _Reply, digest: hashlib._Hash) -> int:
        size = reply.start
        with self.partial.open("ab") as stream:
            while block := reply.body.read(BLOCK):
                if size == 0:
                    _refuse_web_page(self.pin, reply.content_type, block)
                digest.update(block)
                size += stream.write(block)
                self.task.advance(len(block))
                if self.pin.size is not None and size > self.pin.size:
                    break
            stream.flush()
            os.fsync(stream.fileno())
        return size


def _hash_file(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest


# --- one request -----------------------------------------------------------------------------
@dataclass(frozen=True)
class _Reply:
    """An answer: its body from byte ``start`` on, and where the whole file should end."""

    body: IO[bytes]
    start: int
    end: int | None
    content_type: str


@contextlib.contextmanager
def _open(pin: Pin, have: int, timeout: float) -> Iterator[_Reply]:
    """Ask for the file from byte ``have`` on; the server may start over at 0."""
    scheme = urllib.parse.urlsplit(pin.url).scheme
    if scheme not in ("https", "http", "file"):
        raise FetchError(
            f"{pin.url}: cannot fetch by {scheme or 'no scheme'}",
            code="BAS-3013",
            hint="give the catalogue an address that begins with https, http or file",
        )
    request = urllib.request.Request(pin.url)  # noqa: S310 - scheme checked
    request.add_header("User-Agent", f"bastide/{__version__}")
    for name, value in pin.headers.items():
        request.add_unredirected_header(name, value)
    request.add_header("Accept-Encoding", "identity")
    if have and scheme != "file":
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310 - scheme checked
    except urllib.error.HTTPError as error:
        with error:
            raise _refusal(pin, have, error) from error
    with response:
        start = have if response.status == 206 else 0
        length = response.headers.get("Content-Length", "")
        end = start + int(length) if length.isdigit() else None
        if start and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _RangeError("the server answered with another range than asked for")
        yield _Reply(response, start, end, response.headers.get("Content-Type", ""))


def _refusal(pin: Pin, have: int, error: urllib.error.HTTPError) -> Exception:
    if error.code in RETRIED_STATUS:
        return _TryAgainError(f"the server answered {error.code} {error.reason}")
    if error.code == 416 and have:
        return _RangeError("the server has fewer bytes than an earlier try has left")
    return FetchError(
        f"{pin.url}: the server answered {error.code} {error.reason}",
        code="BAS-3013",
        hint="check the address in the catalogue, and this machine's access to it",
    )


def _refuse_web_page(pin: Pin, content_type: str, first: bytes) -> None:
    start = first[:512].lstrip().lower()
    if content_type.startswith("text/html") or start.startswith((b"<!doctype html", b"<html")):
        raise FetchError(
            f"{pin.url} sent a web page where {pin.label} should be",
            code="BAS-3012",
            hint="a proxy's or login page, most likely: open the address in a browser to see it",
        )


def _wrong_content(pin: Pin, sha256: str, size: int) -> FetchError:
    expected = f"SHA-256 {pin.sha256}" + ("" if pin.size is None else f" and {pin.size} bytes")
    return FetchError(
        f"{pin.url} is not the pinned file: expected {expected}; got {sha256} and {size} bytes",
        code="BAS-3011",
        hint="the source has changed or something on the way rewrites files; nothing was kept",
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
