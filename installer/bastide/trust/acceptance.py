"""Recorded acceptances of licence terms: who agreed to what, when and why.

The file is the organisation's own record, kept apart from bundles: one readable JSON document,
replaced as a whole. An acceptance that names the SHA-256 of the terms holds for exactly these
terms; one that does not holds for the licence by its name.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, ValidationError, field_validator

from bastide.errors import Problem, TrustError
from bastide.host.files import write_atomic
from bastide.host.lock import exclusive_lock
from bastide.schema.base import Sha256, Value
from bastide.trust.text import printable

UNREADABLE = "BAS-4050"
NOT_COMPLETE = "BAS-4051"
FILE_LIMIT = 8 * 2**20  # bytes; the file is written by hand-made decisions, not by machines

Words = Annotated[str, Field(min_length=1, max_length=1000)]


class Acceptance(Value):
    """One person's agreement to the terms of one licence."""

    licence: Words = Field(description="SPDX expression or name, as the model card spells it.")
    terms_sha256: Sha256 | None = Field(
        default=None, description="SHA-256 of the terms that were read; null: by name only."
    )
    by: Words = Field(description="Who accepted, as the organisation will know them later.")
    reason: Words = Field(description="Why, and for what use.")
    at: AwareDatetime = Field(description="When, in UTC.")

    @field_validator("licence", "by", "reason")
    @classmethod
    def _readable(cls, value: str) -> str:
        text = value.strip()
        if not text or printable(text) != text:
            raise ValueError("should be one line of readable text")
        return text

    def covers(self, licence: str, terms_sha256: str | None) -> bool:
        """Return whether this is an agreement to ``licence``, if known with these very terms.

        Args:
            licence: SPDX expression or name.
            terms_sha256: Digest of the terms as they are now; None if they are not at hand.
        """
        if self.licence != licence:
            return False
        return self.terms_sha256 is None or terms_sha256 in (None, self.terms_sha256)


class AcceptanceFile(Value):
    """The file of acceptances, in the order in which they were given."""

    format: Literal["bastide.acceptances/1"] = "bastide.acceptances/1"
    acceptances: tuple[Acceptance, ...] = ()


def load_acceptances(path: Path) -> tuple[Acceptance, ...]:
    """Return what the file at ``path`` records, oldest first; nothing if there is no such file.

    Raises:
        TrustError: It cannot be read; nothing in it is believed then.
    """
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise _unreadable(path, f"it has more than {FILE_LIMIT} bytes")
        return AcceptanceFile.model_validate_json(path.read_bytes()).acceptances
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _unreadable(path, error.strerror or "it cannot be read") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise _unreadable(path, printable(f"{where}: {first['msg']}"[:300])) from error


def record_acceptance(
    path: Path, *, licence: str, terms_sha256: str | None, by: str, reason: str, now: datetime
) -> Acceptance:
    """Add an acceptance to the file at ``path``, durably, and return it.

    An equal agreement by the same person is not written twice: the first one is returned.

    Args:
        path: The file; made if it is not there.
        licence: SPDX expression or name, exactly as the artifact or model card has it.
        terms_sha256: Digest of the terms that were read, if they were at hand.
        by: Who accepts.
        reason: Why, and for what use.
        now: The time to record; aware of its zone.

    Raises:
        TrustError: A field is empty, or the file there cannot be read.
        LockedError: Another process writes to it.
    """
    wanted = _acceptance(licence, terms_sha256, by, reason, now)
    with exclusive_lock(path.with_name(f".{path.name}.lock"), f"acceptance of {licence[:80]}"):
        known = load_acceptances(path)
        for earlier in known:
            if earlier.replace(at=wanted.at) == wanted:
                return earlier
        document = AcceptanceFile(acceptances=(*known, wanted))
        plain = document.model_dump(mode="json")
        text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
        try:
            write_atomic(path, text.encode(), mode=0o600)
        except OSError as error:
            raise _unreadable(path, f"it cannot be written: {error.strerror}") from error
    return wanted


def _acceptance(
    licence: str, terms_sha256: str | None, by: str, reason: str, now: datetime
) -> Acceptance:
    try:
        return Acceptance(
            licence=licence,
            terms_sha256=terms_sha256,
            by=by,
            reason=reason,
            at=now.astimezone(UTC).replace(microsecond=0),
        )
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise TrustError(
            f"the acceptance of {printable(licence[:80])!r} is not complete",
            code=NOT_COMPLETE,
            hint="say who accepts (--by) and why (--reason), each in one line",
            problems=tuple(
                Problem(".".join(str(part) for part in each["loc"]), each["msg"]) for each in found
            ),
        ) from error


def _unreadable(path: Path, what: str) -> TrustError:
    return TrustError(
        f"the record of accepted licences {path} cannot be used: {what}",
        code=UNREADABLE,
        hint="mend the file or restore it from a backup; removing it takes back every acceptance",
    )
