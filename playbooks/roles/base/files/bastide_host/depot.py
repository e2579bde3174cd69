"""Fetch blobs from the control node: one TLS connection, resumed after cuts, verified."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import ssl
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bastide_host.client import trusting
from bastide_host.host import BLOCK, AgentError, JsonObject, sha256_of

# The modification time of files whose bytes were verified: whatever writes to one ends it.
_SEAL = 978_307_200 * 10**9  # 2001-01-01


def seal(path: Path) -> None:
    """Mark a file as verified, until somebody writes to it."""
    os.utime(path, ns=(_SEAL, _SEAL))


def is_sealed(path: Path) -> bool:
    """Return whether a file was not written to since it was verified; not so if it is gone."""
    with contextlib.suppress(OSError):
        return path.stat().st_mtime_ns == _SEAL
    return False


def is_intact(path: Path, sha256: str) -> bool:
    """Return whether a file has the bytes that were verified; reads it only if it was touched."""
    with contextlib.suppress(OSError):
        return is_sealed(path) or sha256_of(path) == sha256
    return False


@dataclass(frozen=True)
class Blob:
    """One file to fetch.

    Args:
        name: What people call it.
        sha256: Its digest, in hex.
        size: Its size in bytes.
        destination: Where it goes.
    """

    name: str
    sha256: str
    size: int
    destination: Path

    @property
    def partial(self) -> Path:
        """What has arrived so far; it survives a cut and is continued."""
        return self.destination.with_name(self.destination.name + ".partial")

    def is_here(self) -> bool:
        """Return whether the file is complete.

        Files below a name that contains their digest were verified before they got that name;
        they are read again only if they were written to since. Others are always hashed.
        """
        with contextlib.suppress(OSError):
            if self.destination.stat().st_size != self.size:
                return False
            if self.sha256 in self.destination.name:
                return is_intact(self.destination, self.sha256)
            return sha256_of(self.destination) == self.sha256
        return False

    def missing_bytes(self) -> int:
        """Return how many bytes still have to come."""
        with contextlib.suppress(OSError):
            return max(self.size - self.partial.stat().st_size, 0)
        return self.size

    def room(self) -> int:
        """Return how many bytes the file will still take up; a partial file may have holes."""
        with contextlib.suppress(OSError):
            found = self.partial.stat()
            return max(self.size - min(found.st_size, found.st_blocks * 512), 0)
        return self.size


class Depot:
    """The control node's artifact server, over one kept-alive TLS connection.

    Args:
        url: ``https://address:port``.
        token: This run's bearer token.
        authority: PEM file of the CA that signed its certificate.
        pause: Seconds before the first retry; doubles with each.
    """

    ATTEMPTS = 6

    def __init__(self, url: str, token: str, authority: Path, pause: float = 0.5) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise AgentError("BAS-6050", f"the depot's address is not https: {url}")
        self.url = url
        self._host = parts.hostname
        self._port = parts.port or 443
        self._token = token
        self._context = trusting(authority)
        self.pause = pause
        self._connection: http.client.HTTPSConnection | None = None

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=60, context=self._context
            )
        headers = {"Authorization": f"Bearer {self._token}", **headers}
        self._connection.request(method, path, body=body, headers=headers)
        return self._connection.getresponse()

    def _get(self, sha256: str, start: int) -> http.client.HTTPResponse:
        headers = {"Range": f"bytes={start}-"} if start else {}
        return self._request("GET", f"/sha256/{sha256}", headers)

    def part(self, sha256: str, offset: int, size: int) -> bytearray:
        """Return part of a blob, as it comes: the caller verifies it.

        Raises:
            OSError: The connection broke; so does ``http.client.HTTPException``.
        """
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        response = self._request("GET", f"/sha256/{sha256}", headers)
        self._check_status(f"the blob {sha256}", response, http.client.PARTIAL_CONTENT)
        content = bytearray(size)
        view, done = memoryview(content), 0
        while done < size:
            count = response.readinto(view[done : done + BLOCK])
            if not count:
                raise http.client.IncompleteRead(b"", size - done)
            done += count
        response.read()
        return content

    def ask(self, path: str, question: JsonObject) -> JsonObject:
        """Return the control node's answer to a question about pieces.

        Raises:
            OSError: The connection broke; so does ``http.client.HTTPException``.
        """
        body = json.dumps(question, separators=(",", ":")).encode()
        response = self._request("POST", path, {"Content-Type": "application/json"}, body)
        answer = response.read()
        if response.status != http.client.OK:
            raise http.client.HTTPException(f"the depot answered {response.status}")
        return dict(json.loads(answer))

    def fetch(self, blob: Blob, moved: Callable[[int], None]) -> None:
        """Bring one blob to its destination, continuing what an earlier attempt left.

        Args:
            blob: What to fetch.
            moved: Told how many bytes have arrived, each time some have.

        Raises:
            AgentError: The depot refuses, keeps failing, or gives other bytes than promised.
        """
        failures = 0
        resumed = blob.partial.exists()
        while True:
            before = blob.missing_bytes()
            try:
                digest = self._fetch_rest(blob, moved)
            except (OSError, http.client.HTTPException) as error:
                self.close()
                self.stop_if_untrusted(error)
                failures = 1 if blob.missing_bytes() < before else failures + 1
                if failures >= self.ATTEMPTS:
                    raise AgentError(
                        "BAS-6052",
                        f"could not fetch {blob.name} from {self.url}: {error or type(error)}",
                        "check the network between this host and the control node; apply again"
                        " continues where this one stopped",
                    ) from error
                time.sleep(min(self.pause * 2 ** (failures - 1), 8))
                continue
            if digest != blob.sha256 and resumed:  # what lay there was bad: begin anew, once
                blob.partial.unlink()
                resumed = False
                continue
            keep(blob, digest)
            return

    def stop_if_untrusted(self, error: Exception) -> None:
        """Raise ``AgentError`` if the depot shows a certificate that is not this site's."""
        if isinstance(error, ssl.SSLCertVerificationError):
            raise AgentError(
                "BAS-6054",
                f"{self.url} is not this site's depot: {error.verify_message}",
                "see that network.control_address in site.yaml is the control node's own address,"
                " and that this host's clock is right",
            ) from error

    def _fetch_rest(self, blob: Blob, moved: Callable[[int], None]) -> str:
        """Append what is missing to the partial file; return the digest of all of it."""
        digest = hashlib.sha256()
        blob.destination.parent.mkdir(parents=True, exist_ok=True)
        with blob.partial.open("a+b") as stream:
            stream.seek(0)
            for block in iter(lambda: stream.read(BLOCK), b""):
                digest.update(block)
            have = stream.tell()
            if have < blob.size or blob.size == 0:
                response = self._get(blob.sha256, have)
                if response.status == http.client.OK and have:  # the depot ignored the range
                    stream.truncate(0)
                    digest = hashlib.sha256()
                    have = 0
                wanted = http.client.PARTIAL_CONTENT if have else http.client.OK
                self._check_status(f"{blob.name} ({blob.sha256})", response, wanted)
                self._copy(response, stream, (digest.update, moved), blob.size - have)
            stream.flush()
            os.fsync(stream.fileno())
        return digest.hexdigest()

    def _check_status(self, what: str, response: http.client.HTTPResponse, wanted: int) -> None:
        status = response.status
        if status == wanted:
            return
        response.read(BLOCK)
        if status in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            raise AgentError(
                "BAS-6054",
                f"the depot {self.url} refused this run's token ({status})",
                "apply again: each run has a token of its own",
            )
        if status == http.client.NOT_FOUND:
            raise AgentError(
                "BAS-6052",
                f"the depot does not have {what}",
                "import the bundle again: the store has lost this artifact",
            )
        raise http.client.HTTPException(f"the depot answered {status} {response.reason}")

    @staticmethod
    def _copy(
        response: http.client.HTTPResponse,
        stream: BinaryIO,
        tell: tuple[Callable[[bytes], None], Callable[[int], None]],
        size: int,
    ) -> None:
        digest, moved = tell
        left = size
        while left > 0:
            block = response.read(min(BLOCK, left))
            if not block:
                raise http.client.IncompleteRead(b"", left)
            stream.write(block)
            digest(block)
            moved(len(block))
            left -= len(block)
        if response.read(1):
            raise AgentError("BAS-6053", "the depot sent more bytes than the manifest promises")


def keep(blob: Blob, digest: str) -> None:
    """Give a complete file its name, or remove it if its bytes are wrong.

    Args:
        blob: What it should be.
        digest: SHA-256 of what lies in its partial file.

    Raises:
        AgentError: The bytes are wrong.
    """
    if digest != blob.sha256:
        blob.partial.unlink()
        raise AgentError(
            "BAS-6053",
            f"{blob.name}: expected SHA-256 {blob.sha256}, got {digest}; the file was removed",
            "apply again; if it happens twice, the store on the control node is damaged:"
            " run bastide bundle verify and import again",
        )
    blob.partial.chmod(0o644)
    seal(blob.partial)
    blob.partial.replace(blob.destination)
