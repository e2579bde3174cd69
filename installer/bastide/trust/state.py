"""What the isolated side trusts: one file, replaced as a whole.

It holds the newest root that was reached from the pinned one, and the metadata that was accepted
last. That metadata is the ratchet: nothing older is believed again.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, ValidationError

from bastide.errors import BastideError, TrustError
from bastide.host.files import write_atomic
from bastide.schema.base import Sha256, Value
from bastide.trust.codes import NO_PIN, STATE_DAMAGED


class Pin(Value):
    """The ceremony in which a root came to be trusted.

    Args:
        fingerprint: Of the root that was pinned.
        version: Of that root.
        at: When, by this machine's clock.
        replaces: Fingerprint of the root that was trusted before, if any.
        reason: Why that was replaced.
    """

    fingerprint: Sha256
    version: int
    at: AwareDatetime
    replaces: Sha256 | None = None
    reason: str = ""


class SiteTrust(Value):
    """Whom this site trusts and what it accepted last; metadata is kept as its files' text.

    Args:
        pin: The ceremony.
        fingerprint: Of the newest root that was reached.
        root: The newest root.
        timestamp: Accepted last; None before the first bundle.
        snapshot: Accepted last.
        targets: Accepted last.
        floor: The latest time that a believed timestamp says it was signed at: it is not earlier
            now, whatever this machine's clock says.
        earlier: Ceremonies before this one.
    """

    format: Literal["bastide.site-trust/1"] = "bastide.site-trust/1"
    pin: Pin
    fingerprint: Sha256
    root: str
    timestamp: str | None = None
    snapshot: str | None = None
    targets: str | None = None
    floor: AwareDatetime | None = None
    earlier: tuple[Pin, ...] = ()

    def stored(self, role: str) -> bytes | None:
        """Return the bytes of the metadata kept of a role."""
        text = {"timestamp": self.timestamp, "snapshot": self.snapshot, "targets": self.targets}
        found = text[role]
        return None if found is None else found.encode()


def load_state(path: Path) -> SiteTrust | None:
    """Return what this site trusts; None before the first ceremony.

    Raises:
        TrustError: The file is damaged.
    """
    try:
        return SiteTrust.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise TrustError(
            f"the file of what this site trusts cannot be read: {path}",
            code=STATE_DAMAGED,
            hint="restore it from a backup, or move it away and pin the root again: "
            "bastide trust pin DIR",
        ) from error


def require_state(path: Path, bundle: Path) -> SiteTrust:
    """Return what this site trusts.

    Raises:
        TrustError: No root was pinned yet, or the file is damaged.
    """
    state = load_state(path)
    if state is None:
        raise TrustError(
            "this site trusts no publisher yet, so it believes no bundle",
            code=NO_PIN,
            hint=f"pin the publisher's root: bastide trust pin {bundle} (it asks for the "
            "fingerprint that the publisher tells you by another way than the medium)",
        )
    return state


def save_state(path: Path, state: SiteTrust) -> None:
    """Write what this site trusts, durably; a crash leaves either the old or the new file.

    Raises:
        BastideError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(path, state.canonical(), mode=0o600)
    except OSError as error:
        raise BastideError(
            f"{path} cannot be written: {error.strerror}",
            code="BAS-1003",
            hint="make room or correct the folder's permissions, then run the same command again",
        ) from error


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later of two times, either of which may be unknown."""
    return max((each for each in (one, other) if each is not None), default=None)
