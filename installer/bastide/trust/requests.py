"""A signing request: a draft that travels to the person who holds the key, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from bastide.errors import BastideError, TrustError
from bastide.host.files import write_atomic
from bastide.schema.base import Value
from bastide.trust.codes import WRONG_REQUEST
from bastide.trust.metadata import extra, load, load_root
from bastide.trust.publisher import Publisher
from bastide.trust.rootkeys import Signers, describe_root

Draft = Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]
MAX_BYTES = 8_000_000


class SigningRequest(Value):
    """What has to be signed.

    Args:
        role: Whose keys are asked.
        metadata: The draft's text, with the signatures that it has.
        root: The present root's text; None if the draft is the first root.
    """

    format: Literal["bastide.signing-request/1"] = "bastide.signing-request/1"
    role: Literal["root", "targets", "snapshot", "timestamp"]
    metadata: str
    root: str | None

    def draft(self) -> Draft:
        """Return the draft.

        Raises:
            TrustError: It cannot be read.
        """
        data = self.metadata.encode()
        match self.role:
            case "root":
                return load_root(data, "the request")
            case "targets":
                return load(Targets, data, "the request")
            case "snapshot":
                return load(Snapshot, data, "the request")
            case "timestamp":
                return load(Timestamp, data, "the request")

    def delegators(self) -> tuple[Root, ...]:
        """Return the roots whose keys are asked to sign."""
        draft = self.draft().signed
        above = load_root(self.root.encode(), "the request's root").signed if self.root else None
        found = (above, draft if isinstance(draft, Root) else None)
        return tuple(root for root in found if root is not None)

    def describe(self) -> tuple[str, ...]:
        """Return what would be signed, for the person who signs."""
        draft = self.draft().signed
        if isinstance(draft, Root):
            above = self.delegators()[0] if self.root else None
            return describe_root(draft, above)
        lines = [f"{self.role} {draft.version}, good until {draft.expires:%Y-%m-%d}"]
        if isinstance(draft, Targets):
            lines += [f"bundle {e.hashes['sha256']}: {e.path}" for e in draft.targets.values()]
        if isinstance(draft, Timestamp):
            lines.append(f"signed {extra(draft).get('signed')}")
        return tuple(lines)


def make_request(publisher: Publisher) -> SigningRequest:
    """Return the request for the draft that waits: the root first, then role by role.

    Raises:
        TrustError: Nothing waits for signatures.
    """
    roots = publisher.roots()
    root = roots[-1].to_bytes().decode() if roots else None
    if (draft := publisher.draft(Root)) is not None:
        return SigningRequest(role="root", metadata=draft.to_bytes().decode(), root=root)
    # Drafts of roles above one that waits do not exist yet: the last one is what waits.
    for role in ("timestamp", "snapshot", "targets"):
        if (waiting := _draft(publisher, role)) is not None:
            return SigningRequest.model_validate(
                {"role": role, "metadata": waiting.to_bytes().decode(), "root": root}
            )
    raise TrustError(
        "nothing waits for signatures here",
        code=WRONG_REQUEST,
        hint="bastide trust status shows what is in force",
    )


def _draft(publisher: Publisher, role: str) -> Draft | None:
    match role:
        case "root":
            return publisher.draft(Root)
        case "targets":
            return publisher.draft(Targets)
        case "snapshot":
            return publisher.draft(Snapshot)
    return publisher.draft(Timestamp)


def load_request(path: Path) -> SigningRequest:
    """Return the request in a file.

    Raises:
        TrustError: It cannot be read, or is none.
    """
    try:
        with path.open("rb") as stream:
            return SigningRequest.model_validate_json(stream.read(MAX_BYTES))
    except (OSError, ValidationError) as error:
        raise TrustError(
            f"{path} is no signing request, or cannot be read",
            code=WRONG_REQUEST,
            hint="bastide trust export FILE makes one",
        ) from error


def save_request(path: Path, request: SigningRequest) -> None:
    """Write a request to a file.

    Raises:
        BastideError: It cannot be written.
    """
    try:
        write_atomic(path, request.canonical())
    except OSError as error:
        raise BastideError(
            f"{path} cannot be written: {error.strerror}",
            code="BAS-1003",
            hint="choose a place that can be written",
        ) from error


def sign_request(request: SigningRequest, signers: Signers) -> tuple[SigningRequest, int]:
    """Return the request with this machine's signatures, and how many were added.

    Raises:
        TrustError: It cannot be read, or asks for none of this machine's keys.
    """
    draft = request.draft()
    wanted = {k for root in request.delegators() for k in root.roles[request.role].keyids}
    mine = sorted(wanted & signers.keys())
    if not mine:
        raise TrustError(
            f"the request asks for {request.role} keys, and none of them is on this machine",
            code=WRONG_REQUEST,
            hint="sign on a machine that has one: bastide trust status lists whose they are",
        )
    added = [keyid for keyid in mine if keyid not in draft.signatures]
    for keyid in added:
        draft.sign(signers[keyid], append=True)
    return request.replace(metadata=draft.to_bytes().decode()), len(added)


def merge_request(publisher: Publisher, request: SigningRequest) -> int:
    """Take the valid signatures of a request into the draft; return how many are new.

    Raises:
        TrustError: The request is of another draft, or has a signature that is wrong.
    """
    signed = request.draft()
    draft = _draft(publisher, request.role)
    if draft is None or draft.signed_bytes != signed.signed_bytes:
        raise TrustError(
            "what was signed is not the draft that waits here: it was changed since the export",
            code=WRONG_REQUEST,
            hint="export it again and have that signed: bastide trust export FILE",
        )
    roots = publisher.roots()
    above = (roots[-1].signed,) if roots else ()
    delegators = (*above, draft.signed) if isinstance(draft.signed, Root) else above
    valid: set[str] = set()
    for root in delegators:
        valid |= root.get_verification_result(
            request.role, signed.signed_bytes, signed.signatures
        ).signed.keys()
    if wrong := sorted(set(signed.signatures) - valid):
        raise TrustError(
            f"the request carries a signature that is wrong or of an unknown key: {wrong[0][:16]}",
            code=WRONG_REQUEST,
            hint="have it signed again",
        )
    new = valid - set(draft.signatures)
    draft.signatures.update({keyid: signed.signatures[keyid] for keyid in new})
    publisher.save_draft(draft)
    return len(new)
