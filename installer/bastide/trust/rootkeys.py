"""Who may sign what: changes of the root, from the first one to each rotation.

Every change makes a draft of the next root. It becomes the root once enough keys of the root
before *and* of itself have signed it (TUF 5.3.4); until then the old one stays in force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root

from bastide.errors import TrustError
from bastide.trust.codes import WRONG_KEYS
from bastide.trust.keys import owner_of
from bastide.trust.metadata import FIELD, ROLES, extra
from bastide.trust.publisher import Publisher, Settings

Signers = Mapping[str, CryptoSigner]


def first_root(
    settings: Settings, keys: Mapping[str, list[SSlibKey]], thresholds: Mapping[str, int],
    now: datetime,
) -> Metadata[Root]:  # fmt: skip
    """Return an unsigned first root.

    Args:
        settings: Who publishes.
        keys: Role to its public keys.
        thresholds: Role to the number of signatures that it needs, if not one.
        now: The time.
    """
    about = {"publisher": settings.publisher, "development": settings.development}
    root = Root(expires=settings.expires("root", now), unrecognized_fields={FIELD: about})
    for role, members in keys.items():
        for key in members:
            root.add_key(key, role)
    set_thresholds(root, thresholds)
    return Metadata(root)


def set_thresholds(root: Root, thresholds: Mapping[str, int]) -> None:
    """Set how many signatures roles need."""
    for role, number in thresholds.items():
        root.roles[role].threshold = number


def amend(publisher: Publisher, change: Callable[[Root], None], now: datetime) -> Metadata[Root]:
    """Return the draft of the next root after ``change``; earlier signatures of it are void.

    Raises:
        TrustError: A role would have no keys left.
    """
    settings = publisher.settings()
    draft = publisher.draft(Root)
    if draft is None:
        draft = Metadata(Root.from_dict(publisher.root().signed.to_dict()))
        draft.signed.version += 1
    change(draft.signed)
    draft.signed.expires = settings.expires("root", now)
    draft.signatures.clear()
    _require_whole(draft.signed)
    publisher.save_draft(draft)
    return draft


def _require_whole(root: Root) -> None:
    for role in ROLES:
        held = root.roles[role]
        # The first root is made of keys that come one by one; a later one must stay usable.
        if not held.keyids or (root.version > 1 and len(held.keyids) < held.threshold):
            raise TrustError(
                f"the role {role} would have {len(held.keyids)} keys, and {held.threshold} "
                "signatures are needed",
                code=WRONG_KEYS,
                hint=f"add a key first: bastide trust add-key --role {role}; or lower the "
                f"threshold: --threshold {role}=M",
            )


def remove_key(root: Root, keyid: str) -> None:
    """Take a key out of every role.

    Raises:
        TrustError: No role has it.
    """
    roles = [role for role in ROLES if keyid in root.roles[role].keyids]
    if not roles:
        raise TrustError(
            f"no role has the key {keyid[:16]}",
            code=WRONG_KEYS,
            hint="bastide trust status lists the keys",
        )
    for role in roles:
        root.revoke_key(keyid, role)


def find_key(root: Root, start: str) -> str:
    """Return the one key id that begins with ``start``.

    Raises:
        TrustError: None or several do.
    """
    found = [keyid for keyid in root.keys if keyid.startswith(start.lower())]
    if len(found) != 1 or len(start) < 4:
        raise TrustError(
            f"{start!a} names {len(found)} keys; exactly one is asked, by four digits or more",
            code=WRONG_KEYS,
            hint="bastide trust status lists the keys",
        )
    return found[0]


def settle_root(publisher: Publisher, signers: Signers) -> bool:
    """Sign the draft of the root with this machine's keys; put it in force if that is enough.

    Returns:
        Whether no draft is left waiting.
    """
    draft = publisher.draft(Root)
    if draft is None:
        return True
    roots = publisher.roots()
    previous = roots[-1].signed if roots else None
    wanted = set(draft.signed.roles["root"].keyids)
    wanted |= set(previous.roles["root"].keyids) if previous else set()
    for keyid in sorted(wanted & signers.keys()):
        draft.sign(signers[keyid], append=True)
    publisher.save_draft(draft)
    if not draft.signed.get_root_verification_result(
        previous, draft.signed_bytes, draft.signatures
    ).verified:
        return False
    publisher.publish(draft)
    publisher.drop_draft("root")
    return True


def describe_root(root: Root, previous: Root | None) -> tuple[str, ...]:
    """Return what a root says, and what it changes, for those who must sign it."""
    lines = [f"root {root.version} of {extra(root).get('publisher', '')!a}"]
    lines += [
        f"{role}: {root.roles[role].threshold} of "
        + ", ".join(f"{owner_of(root.keys[k])} {k[:8]}" for k in root.roles[role].keyids)
        for role in ROLES
    ]
    if previous is not None:
        for keyid in sorted(previous.keys.keys() | root.keys.keys()):
            if keyid not in root.keys:
                lines.append(f"removes the key {keyid[:8]} of {owner_of(previous.keys[keyid])}")
            elif keyid not in previous.keys:
                lines.append(f"adds the key {keyid[:8]} of {owner_of(root.keys[keyid])}")
    return tuple(lines)
