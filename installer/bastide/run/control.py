"""Looks at the control node for preflight: store, secrets, certificates, depot, room. Reads only.

The depot's port is listened on while hosts are asked, so that they can say whether they reach it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cryptography import x509
from pydantic import ValidationError

from bastide.errors import BastideError
from bastide.host.lock import read_holder
from bastide.layout import Home, SiteFolder
from bastide.plan import changes
from bastide.plan.inputs import TreeDigest
from bastide.plan.needs import host_needs
from bastide.run.wanted import Wanted
from bastide.schema.artifact import Artifact, ArtifactKind
from bastide.schema.condition import BlobFault, ControlCondition
from bastide.schema.facts import SiteFacts
from bastide.schema.plan import Plan
from bastide.site.secrets import open_secrets

BLOCK = 1 << 20
READ_SECONDS = 3.0  # for the digests of artifacts; what is left is verified when hosts fetch it
GREETING = "bastide-preflight "
ACCEPT_SECONDS = 0.2


class Listener:
    """Says one line to everyone who connects to the depot's port, until it is closed.

    Args:
        address: Where the depot will listen.
        port: Its port.
    """

    def __init__(self, address: str, port: int) -> None:
        self.greeting = ""
        self.fault = ""
        self.address_is_here = True
        self._ended = threading.Event()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, name="preflight", daemon=True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address, port))
            self._socket.listen(128)
        except OSError as error:
            self.fault = error.strerror or str(error)
            self.address_is_here = error.errno != errno.EADDRNOTAVAIL
        else:
            self.greeting = GREETING + secrets.token_hex(16)
            self._socket.settimeout(ACCEPT_SECONDS)

    def __enter__(self) -> Self:
        if self.greeting:
            self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        if self.greeting:
            self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(OSError):  # a time-out, or a caller that has gone
                line, _ = self._socket.accept()
                with line:
                    line.sendall(self.greeting.encode())


@dataclass(frozen=True)
class Desk:
    """What one control node works with.

    Args:
        folder: The site's folder.
        home: The control node's own state.
        wanted: What the site should be.
    """

    folder: SiteFolder
    home: Home
    wanted: Wanted


def look_at_control(desk: Desk, facts: SiteFacts, listener: Listener) -> ControlCondition:
    """Return the control node's condition; writes nothing.

    Args:
        desk: What it works with.
        facts: What the hosts have: only what one of them lacks is read whole.
        listener: What listens, or could not listen, on the depot's port.
    """
    folder, home, wanted = desk.folder, desk.home, desk.wanted
    starts, ends, damage = _authority(folder)
    anchors, fault, hint = _open(folder, home)
    room = os.statvfs(folder.root)
    models = [a for a in wanted.manifest.of_kind(ArtifactKind.MODEL) if a.name in wanted.cards]
    return ControlCondition(
        address_is_here=listener.address_is_here,
        depot_fault=listener.fault,
        depot_greeting=listener.greeting,
        authority_from=starts,
        authority_until=ends,
        authority_fault=damage or _is_other(folder, anchors),
        secrets_fault=fault,
        secrets_hint=hint,
        blobs=tuple(blob_faults(_lacking(wanted, facts), wanted.blobs, READ_SECONDS)),
        model_ends={a.sha256: _ends(wanted.blobs[a.sha256]) for a in models},
        site_free=room.f_bavail * room.f_frsize,
        site_free_inodes=room.f_favail if room.f_files else None,
        site_writable=_can_write(folder.root),
        home_writable=_can_write(home.root),
        lock_holder=_lock_holder(folder.lock),
        plan_stale=_plan_stale(folder.plan, wanted),
        programs_missing=tuple(each for each in ("ssh",) if shutil.which(each) is None),
        key_mode=_mode(folder.root / Path(wanted.site.ssh.private_key).expanduser()),
    )


def _lacking(wanted: Wanted, facts: SiteFacts) -> list[Artifact]:
    """Return the artifacts that a host that answered would fetch."""
    tree_digests = {
        name: TreeDigest(tree.sha256, len(tree.tar), tree.digests)
        for name, tree in wanted.trees.items()
    }
    found = {
        artifact.sha256: artifact
        for needs in host_needs(wanted.site, wanted.manifest, tree_digests)
        if (seen := facts.hosts.get(needs.host)) is not None
        for artifact in needs.artifacts
        if not changes.present(artifact, seen)
    }
    return list(found.values())


def blob_faults(
    artifacts: Iterable[Artifact], places: Mapping[str, Path], seconds: float
) -> Iterator[BlobFault]:
    """Yield the artifacts that are missing, of another size, or damaged.

    Args:
        artifacts: What hosts may fetch.
        places: Where the store has each, by digest.
        seconds: How long whole files are read, the smallest first; then sizes must do.
    """
    deadline = time.monotonic() + seconds
    for each in sorted(artifacts, key=lambda artifact: artifact.size):
        path = places[each.sha256]
        try:
            size = path.stat().st_size
            whole = size != each.size or _digest(path, deadline) in {each.sha256, ""}
        except OSError:
            yield BlobFault(name=each.name, sha256=each.sha256, fault="missing")
            continue
        if size != each.size:
            yield BlobFault(name=each.name, sha256=each.sha256, fault="size")
        elif not whole:
            yield BlobFault(name=each.name, sha256=each.sha256, fault="content")


def _digest(path: Path, deadline: float) -> str:
    """Return a file's SHA-256; empty if the time is over before its end."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(4 * BLOCK):
            digest.update(block)
            if time.monotonic() > deadline:
                return ""
    return digest.hexdigest()


def _ends(path: Path) -> str:
    """Return the SHA-256 of a file's first and last MiB, as the host agent does."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest.update(stream.read(BLOCK))
            stream.seek(max(size - BLOCK, 0))
            digest.update(stream.read(BLOCK))
    except OSError:
        return ""
    return digest.hexdigest()


def _authority(folder: SiteFolder) -> tuple[int | None, int | None, str]:
    """Return from when and until when the site CA is valid, and what is wrong with its file."""
    try:
        found = x509.load_pem_x509_certificate(folder.authority.read_bytes())
    except OSError as error:
        return None, None, f"{folder.authority} cannot be read: {error.strerror}"
    except ValueError:
        return None, None, f"{folder.authority} is not a certificate"
    begin, end = found.not_valid_before_utc, found.not_valid_after_utc
    return int(begin.timestamp()), int(end.timestamp()), ""


def _open(folder: SiteFolder, home: Home) -> tuple[str, str, str]:
    """Return the CAs that clients are to trust, or why the secrets don't open, and a hint."""
    try:
        return open_secrets(folder, home).anchors_pem.strip(), "", ""
    except BastideError as error:
        return "", str(error), error.hint


def _is_other(folder: SiteFolder, anchors: str) -> str:
    """Return a sentence if the CA's file is not that of the secrets; empty if it is."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if anchors and folder.authority.read_text().strip() != anchors:
            return f"{folder.authority} has other CAs than the secrets"
    return ""


def authority_fault(folder: SiteFolder, home: Home) -> str:
    """Return what is wrong with the file of CAs that clients trust; empty if nothing is."""
    return _authority(folder)[2] or _is_other(folder, _open(folder, home)[0])


def _can_write(folder: Path) -> bool:
    writable = os.access(folder, os.W_OK | os.X_OK)
    return writable and not os.statvfs(folder).f_flag & os.ST_RDONLY


def _lock_holder(path: Path) -> str:
    """Return who holds the lock; empty if nobody does, or it is this very process."""
    holder = read_holder(path)
    if holder is None or holder.pid == os.getpid():
        return ""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return str(holder)
    except OSError:
        return ""
    return ""


def _plan_stale(path: Path, wanted: Wanted) -> str:
    try:
        plan = Plan.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return ""
    if plan.site_digest != wanted.site_digest:
        return "another site.yaml"
    return "another bundle" if plan.bundle != wanted.bundle else ""


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o7777
    except OSError:
        return None
