"""From the bytes of ``bundle.json`` to a root that may be believed; pure.

A verifier is given bytes and a way to ask for further files of the bundle (signatures), and
returns what it vouches for. ``DigestOnly`` vouches for nothing but consistency, and says so;
``trust.client.TufVerifier`` proves the publisher's signatures.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import AwareDatetime, ValidationError

from bastide.errors import BundleError, Problem, TrustError
from bastide.layout import BUNDLE_ROOT
from bastide.schema.artifact import BundleRoot
from bastide.schema.base import Sha256, Value
from bastide.trust.names import ReadFile, metadata_names
from bastide.trust.text import printable

NO_ROOT = "BAS-3102"
OTHER_DIGEST = "BAS-4001"
FORMAT = "bastide.bundle/1"
SIZE_LIMIT = 2**63 - 1  # larger than any file system holds; keeps arithmetic and messages sane

PROBLEM_LIMIT = 50  # findings shown of one document


class Override(Value):
    """Something that an operator accepted on the record.

    Args:
        what: What was accepted: signatures that ran out (``stale``), or a bundle that is older
            than the newest one (``older``).
        reason: Why, in the operator's words.
    """

    what: Literal["stale", "older"]
    reason: str


class Proof(Value):
    """What the signatures of a bundle proved.

    Args:
        root: Version of the root that vouches for it.
        fingerprint: Of that root.
        publisher: How that root names itself.
        development: Whether it is one person's root for development.
        signers: Role to ids of the keys that signed.
        versions: Role to version of the metadata that lists the bundle.
        signed_at: When the newest of it was signed, by the publisher's clock.
        expires: When the first of it runs out.
        age_days: Days since it was signed, as far as they are known here.
        clock: ``plausible``, or ``behind``: this machine's clock shows a time before something
            that had been signed already, so the true age is not known.
        authority: Which list names the bundle: the ``medium``'s own, or the newer one that the
            ``site`` accepted earlier.
    """

    root: int
    fingerprint: Sha256
    publisher: str
    development: bool
    signers: dict[str, tuple[str, ...]]
    versions: dict[str, int]
    signed_at: AwareDatetime | None
    expires: AwareDatetime
    age_days: int | None
    clock: Literal["plausible", "behind"]
    authority: Literal["medium", "site"]


class Trust(Value):
    """What is known about a bundle's origin, to be shown and kept with the import.

    Args:
        scheme: ``tuf``, ``digest-only`` or ``imported-before``.
        signed: Whether signatures prove it.
        statement: The same in a sentence.
        proof: What signatures proved.
        overrides: What an operator accepted on the record.
    """

    scheme: str
    signed: bool
    statement: str
    proof: Proof | None = None
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True)
class VerifiedRoot:
    """A root that a verifier let pass.

    Args:
        root: The parsed document.
        digest: The bundle's digest: SHA-256 of the root's canonical bytes.
        trust: What was proved about its origin.
        files: Paths in the bundle that the verifier itself needs (signatures, metadata).
    """

    root: BundleRoot
    digest: str
    trust: Trust
    files: tuple[str, ...] = ()


class RootVerifier(Protocol):
    """Decides whether a bundle's root may be believed."""

    def verify(self, content: bytes, read: ReadFile) -> VerifiedRoot:
        """Return the verified root.

        Args:
            content: The bytes of ``bundle.json``.
            read: Returns the bytes of another small file of the bundle, None if it has none.

        Raises:
            BundleError: The document cannot be read.
            TrustError: It can, but must not be believed.
        """
        ...


def parse_root(content: bytes) -> BundleRoot:
    """Return the root that ``content`` spells, if it does so in exactly the canonical form.

    Raises:
        BundleError: It is no JSON, of another format, has wrong fields or is spelt otherwise.
    """
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unreadable("is not JSON: the file is damaged") from error
    found = plain.get("format") if isinstance(plain, dict) else None
    if found != FORMAT:
        what = f"has the format {str(found)[:80]!a}, this version of Bastide reads {FORMAT!r}"
        raise _unreadable(what, hint="import it with the Bastide that the bundle carries")
    try:
        root = BundleRoot.model_validate_json(content)
        canonical = root.canonical()
    except ValidationError as error:
        raise _unreadable("has wrong fields", problems=field_problems(error)) from error
    except ValueError as error:
        raise _unreadable(f"cannot be read: {str(error)[:200]!a}") from error
    if canonical != content:
        raise _unreadable("was changed after it was built: its spelling is not the builder's")
    return root


def field_problems(error: ValidationError) -> tuple[Problem, ...]:
    """Return pydantic's findings as problems, one a field, without the offending input."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [_field_problem(item["loc"], item["msg"]) for item in found[:PROBLEM_LIMIT]]
    if len(found) > PROBLEM_LIMIT:
        problems.append(Problem("document", f"has {len(found) - PROBLEM_LIMIT} further mistakes"))
    return tuple(problems)


def _field_problem(location: tuple[int | str, ...], message: str) -> Problem:
    where = ".".join(str(part) for part in location) or "document"
    return Problem(printable(where[:200]), printable(message[:200]))


def _unreadable(what: str, *, hint: str = "", problems: tuple[Problem, ...] = ()) -> BundleError:
    return BundleError(
        f"{BUNDLE_ROOT} {what}",
        code=NO_ROOT,
        hint=hint or "copy the bundle again from the builder",
        problems=problems,
    )


class DigestOnly:
    """Accepts any consistent root, or the one of a digest; looks at no signature and says so.

    Args:
        expected: The digest that the operator was told over a second channel, if any; lower-case
            hex.
    """

    def __init__(self, expected: str | None = None) -> None:
        self._expected = expected

    def verify(self, content: bytes, read: ReadFile) -> VerifiedRoot:
        """Return the root; refuse it if its digest is not the expected one.

        Raises:
            BundleError: The document cannot be read.
            TrustError: Its digest is not the expected one.
        """
        digest = hashlib.sha256(content).hexdigest()
        if self._expected is not None and digest != self._expected:
            raise TrustError(
                f"this is not the bundle that you expect: its digest is {digest}, "
                f"expected {self._expected}",
                code=OTHER_DIGEST,
                hint="ask the builder for the digest again; do not use it until they agree",
            )
        root = parse_root(content)
        # Signatures may be there; they are not looked at, but they belong to the bundle.
        return VerifiedRoot(root, digest, self._trust(digest), metadata_names(read))

    def _trust(self, digest: str) -> Trust:
        if self._expected is None:
            statement = (
                f"no signature was asked for: the bundle's digest is {digest}; "
                "compare it with the builder's over a second channel"
            )
        else:
            statement = f"no signature was checked, but the digest is the one you gave: {digest}"
        return Trust(scheme="digest-only", signed=False, statement=statement)
