"""The named attacks: what an attacker shows to a site, and with which code it is refused.

``docs/security.md`` lists every one of them; ``test_trust_attacks.py`` holds page and suite
together. An attack returns what the site is shown; an attacker has the keys that its text names.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from trust_factories import (
    BUNDLE,
    EVIL,
    NEWER,
    NOW,
    OLDER,
    Medium,
    Repo,
    Trial,
    bundle,
    digest,
    ed25519,
    entry,
    seen,
)
from tuf.api.metadata import Metadata, MetaFile, Root

from bastide.trust import codes
from bastide.trust.client import Policy

TIMESTAMP = "metadata/timestamp.json"


@dataclass(frozen=True)
class Attack:
    """One attack.

    Args:
        name: Its name here and in ``docs/security.md``.
        kind: Its name in the TUF specification or in Uptane.
        code: With what it must be refused.
        show: Returns what the site is shown.
    """

    name: str
    kind: str
    code: str
    show: Callable[[], Trial]


ATTACKS: list[Attack] = []


def attack(name: str, kind: str, code: str) -> Callable[[Callable[[], Trial]], None]:
    def add(show: Callable[[], Trial]) -> None:
        ATTACKS.append(Attack(name, kind, code, show))

    return add


def altered(data: bytes, change: Callable[[Any], None]) -> bytes:
    """Return a metadata file with a member changed after signing, in the publisher's spelling."""
    plain = json.loads(data)
    change(plain)
    return json.dumps(plain, separators=(",", ":"), sort_keys=True).encode()


def with_file(medium: Medium, name: str, change: Callable[[Any], None]) -> Medium:
    return {**medium, name: altered(medium[name], change)}


# --- arbitrary software ---
@attack("unsigned bundle", "arbitrary software", codes.UNSIGNED)
def _() -> Trial:
    return Trial({}, Repo().site())


@attack("metadata removed but the root", "arbitrary software", codes.UNSIGNED)
def _() -> Trial:
    repo = Repo()
    return Trial({"metadata/1.root.json": repo.roots[1]}, repo.site())


@attack("another bundle beside honest signatures", "arbitrary software", codes.NOT_LISTED)
def _() -> Trial:
    repo = Repo()
    return Trial(repo.medium(BUNDLE), repo.site(), EVIL)


@attack("bundle signed by another publisher", "arbitrary software", codes.ROLLBACK)
def _() -> Trial:
    return Trial(Repo().medium(EVIL), Repo().site(), EVIL)


@attack("another publisher's metadata below the honest root", "arbitrary software",
        codes.BAD_SIGNATURE)  # fmt: skip
def _() -> Trial:
    repo = Repo()
    medium = {**Repo().medium(EVIL), "metadata/1.root.json": repo.roots[1]}
    return Trial(medium, repo.site(), EVIL)


@attack("another publisher's metadata without its root", "arbitrary software", codes.UNSIGNED)
def _() -> Trial:
    medium = Repo().medium(EVIL)
    del medium["metadata/1.root.json"]
    return Trial(medium, Repo().site(), EVIL)


@attack("list edited after signing", "arbitrary software", codes.INCONSISTENT)
def _() -> Trial:
    repo = Repo()

    def change(plain: Any) -> None:
        listing = plain["signed"]["targets"]["starter-2026.11.0/debian12-x86_64/bundle.json"]
        listing["hashes"]["sha256"] = digest(EVIL)

    name = "metadata/1.targets.json"
    return Trial(with_file(repo.medium(BUNDLE), name, change), repo.site(), EVIL)


@attack("list naming the bundle with a wrong length", "arbitrary software", codes.NOT_LISTED)
def _() -> Trial:
    repo = Repo()
    wrong = entry(BUNDLE)
    wrong.length += 1
    return Trial(repo.medium(listing={wrong.path: wrong}), repo.site())


# --- wrong target ---
@attack("bundle listed under another release", "wrong target", codes.NOT_LISTED)
def _() -> Trial:
    repo = Repo()
    wrong = entry(BUNDLE)
    wrong.unrecognized_fields["custom"] = {"release": "other-1", "target": "debian12-x86_64"}
    wrong.path = "other-1/debian12-x86_64/bundle.json"
    return Trial(repo.medium(listing={wrong.path: wrong}), repo.site())


@attack("bundle listed under another target", "wrong target", codes.NOT_LISTED)
def _() -> Trial:
    repo = Repo()
    wrong = entry(BUNDLE)
    wrong.unrecognized_fields["custom"] = {"release": "starter-2026.11.0", "target": "alma9-x86_64"}
    wrong.path = "starter-2026.11.0/alma9-x86_64/bundle.json"
    return Trial(repo.medium(listing={wrong.path: wrong}), repo.site())


@attack("path and custom of the listing differ", "wrong target", codes.NOT_LISTED)
def _() -> Trial:
    repo = Repo()
    wrong = entry(BUNDLE)
    wrong.path = "starter-2026.12.0/debian12-x86_64/bundle.json"
    return Trial(repo.medium(listing={wrong.path: wrong}), repo.site())


# --- rollback ---
@attack("older medium after a newer one", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    return Trial(repo.medium(OLDER), seen(repo, repo.medium(NEWER, version=2), NEWER), OLDER)


@attack("old medium shown for ever (Uptane: the medium as a permanent rollback vector)", "rollback",
        codes.ROLLBACK)  # fmt: skip
def _() -> Trial:
    repo = Repo()
    old = repo.medium(OLDER)
    state = seen(repo, repo.medium(NEWER, version=2), NEWER, seen(repo, old, OLDER))
    policy = Policy(accept_older="the new one does not start", known=frozenset({digest(OLDER)}))
    state = Trial(old, state, OLDER, policy=policy).judge().state  # on the record, once
    return Trial(old, state, OLDER)


@attack("older bundle that was never imported, with an override", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    state = seen(repo, repo.medium(NEWER, version=2), NEWER)
    policy = Policy(accept_older="please", known=frozenset({digest(NEWER)}))
    return Trial(repo.medium(OLDER), state, OLDER, policy=policy)


@attack("withdrawn bundle on an older medium", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    other = bundle("other-1")
    state = seen(repo, repo.medium(other, version=3), other)
    return Trial(repo.medium(BUNDLE, other, version=2), state)


@attack("new timestamp over an older TUF snapshot", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    state = seen(repo, repo.medium(NEWER, version=5), NEWER)
    versions = {"timestamp": 6, "snapshot": 4, "targets": 4}
    return Trial(repo.medium(OLDER, versions=versions), state, OLDER)


@attack("new timestamp and snapshot over an older list", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    state = seen(repo, repo.medium(NEWER, version=5), NEWER)
    versions = {"timestamp": 6, "snapshot": 6, "targets": 4}
    return Trial(repo.medium(OLDER, versions=versions), state, OLDER)


@attack("older list after the keys of timestamp and snapshot were rotated", "rollback",
        codes.ROLLBACK)  # fmt: skip
def _() -> Trial:
    repo = Repo()
    state = seen(repo, repo.medium(NEWER, version=5), NEWER)
    repo.rotate(lambda r: r.keys.update(timestamp=[ed25519()], snapshot=[ed25519()]))
    return Trial(repo.medium(OLDER, version=4), state, OLDER)


@attack("two lists of one number", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    state = seen(repo, repo.medium(NEWER, version=2), NEWER)
    return Trial(repo.medium(OLDER, version=2), state, OLDER)


@attack("rollback after a second timestamp key was added", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    old = repo.medium(OLDER)
    state = seen(repo, repo.medium(NEWER, version=2), NEWER)
    repo.rotate(lambda r: r.keys["timestamp"].append(ed25519()))
    return Trial({**old, "metadata/2.root.json": repo.roots[2]}, state, OLDER)


@attack("rollback after one of two timestamp keys was revoked", "rollback", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    repo.keys["timestamp"].append(ed25519())
    repo.roots.clear()
    repo.rotate()
    first = repo.keys["timestamp"][:1]
    old = repo.medium(OLDER, by={"timestamp": first})
    state = seen(repo, repo.medium(NEWER, version=2), NEWER)  # signed by both
    repo.rotate(lambda r: r.keys.update(timestamp=first))
    return Trial({**old, "metadata/2.root.json": repo.roots[2]}, state, OLDER)


# --- freeze, stale and the clock ---
@attack("freeze: signatures that ran out", "indefinite freeze", codes.STALE)
def _() -> Trial:
    repo = Repo()
    return Trial(repo.medium(BUNDLE), repo.site(), now=NOW + timedelta(days=400))


@attack("freeze: only the root ran out", "indefinite freeze", codes.STALE)
def _() -> Trial:
    repo = Repo()
    life = timedelta(days=5000)
    return Trial(repo.medium(BUNDLE, life=life), repo.site(), now=NOW + timedelta(days=800))


@attack("freeze with the clock set back below what was seen", "indefinite freeze", codes.STALE)
def _() -> Trial:
    repo = Repo()
    late = NOW + timedelta(days=300)
    state = seen(repo, repo.medium(OLDER, version=2, signed=late), OLDER)
    now = datetime(1970, 1, 1, tzinfo=NOW.tzinfo)
    return Trial(repo.medium(BUNDLE, version=3), state, now=now)  # ran out before the floor


@attack("clock in 2038", "indefinite freeze", codes.STALE)
def _() -> Trial:
    repo = Repo()
    now = datetime(2038, 1, 19, 3, 14, 8, tzinfo=NOW.tzinfo)
    return Trial(repo.medium(BUNDLE), repo.site(), now=now)


# --- mix-and-match ---
@attack("list of another medium of the same publisher", "mix-and-match", codes.INCONSISTENT)
def _() -> Trial:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    name = "metadata/1.targets.json"
    return Trial({**medium, name: repo.medium(EVIL)[name]}, repo.site(), EVIL)


@attack("TUF snapshot of another medium", "mix-and-match", codes.INCONSISTENT)
def _() -> Trial:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    name = "metadata/1.snapshot.json"
    return Trial({**medium, name: repo.medium(OLDER)[name]}, repo.site())


@attack("timestamp of another medium", "mix-and-match", codes.INCONSISTENT)
def _() -> Trial:
    repo = Repo()
    return Trial({**repo.medium(BUNDLE), TIMESTAMP: repo.medium(OLDER)[TIMESTAMP]}, repo.site())


@attack("list missing", "mix-and-match", codes.INCONSISTENT)
def _() -> Trial:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    del medium["metadata/1.targets.json"]
    return Trial(medium, repo.site())


@attack("TUF snapshot that pins the list without a digest", "mix-and-match", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()

    def edit(role: str, signed: Any) -> None:
        if role == "snapshot":
            signed.meta["targets.json"] = MetaFile(1)

    return Trial(repo.medium(BUNDLE, edit=edit), repo.site())


@attack("version inside differs from the pinned one", "mix-and-match", codes.INCONSISTENT)
def _() -> Trial:
    repo = Repo()

    def edit(role: str, signed: Any) -> None:
        if role == "targets":
            signed.version = 7

    return Trial(repo.medium(BUNDLE, edit=edit), repo.site())


@attack("gap in the roots, with a foreign one before it", "mix-and-match", codes.INCONSISTENT)
def _() -> Trial:
    repo = Repo()
    repo.rotate()
    repo.rotate()
    medium = {**repo.medium(BUNDLE), "metadata/1.root.json": Repo().roots[1]}
    del medium["metadata/2.root.json"]
    return Trial(medium, repo.site(3))


# --- fast-forward ---
@attack("fast-forward with the timestamp key, then the honest publisher without rotation",
        "fast-forward", codes.ROLLBACK)  # fmt: skip
def _() -> Trial:
    repo = Repo()
    state = seen(repo, repo.medium(BUNDLE, versions={"timestamp": 2**31}))
    return Trial(repo.medium(NEWER, version=2), state, NEWER)


@attack("the fast-forwarded medium again after the key was rotated", "fast-forward",
        codes.BAD_SIGNATURE)  # fmt: skip
def _() -> Trial:
    repo = Repo()
    forwarded = repo.medium(BUNDLE, versions={"timestamp": 2**31})
    state = seen(repo, forwarded)
    repo.rotate(lambda r: r.keys.update(timestamp=[ed25519()]))
    return Trial({**forwarded, "metadata/2.root.json": repo.roots[2]}, state)


# --- key compromise ---
@attack("timestamp and snapshot keys stolen", "key compromise", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    thief = [ed25519()]
    return Trial(repo.medium(EVIL, by={"targets": thief}), repo.site(), EVIL)


@attack("one of two targets keys stolen", "key compromise", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    by = {"targets": repo.keys["targets"][:1]}
    return Trial(repo.medium(EVIL, by=by), repo.site(), EVIL)


@attack("one of two root keys stolen, to bring a new root", "key compromise", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    state, mine, one = repo.site(), ed25519(), repo.keys["root"][0]
    repo.rotate(lambda r: r.keys.update(root=[mine, one], targets=[mine, one]), signers=[mine, one])
    return Trial(repo.medium(EVIL), state, EVIL)


@attack("new root signed by the new keys only", "key compromise", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    state = repo.site()
    mine = [ed25519(), ed25519()]
    repo.rotate(lambda r: r.keys.update(root=mine, targets=mine), signers=mine)
    return Trial(repo.medium(EVIL), state, EVIL)


@attack("new root signed by the old keys only", "key compromise", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    state, old = repo.site(), list(repo.keys["root"])
    repo.rotate(lambda r: r.keys.update(root=[ed25519(), ed25519()]), signers=old)
    return Trial(repo.medium(BUNDLE), state)


@attack("signed with a revoked targets key", "key compromise", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    state, stolen = repo.site(), list(repo.keys["targets"])
    repo.rotate(lambda r: r.keys.update(targets=[ed25519(), ed25519()]))
    return Trial(repo.medium(EVIL, by={"targets": stolen}), state, EVIL)


@attack("newer roots left out to revive a revoked key", "key compromise", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    old = repo.medium(EVIL, version=9)
    repo.rotate(lambda r: r.keys.update(targets=[ed25519(), ed25519()]))
    return Trial(old, seen(repo, repo.medium(BUNDLE)), EVIL)


@attack("fork of the root's chain by old root keys", "key compromise", codes.ROLLBACK)
def _() -> Trial:
    repo = Repo()
    old, first = dict(repo.keys), repo.roots[1]
    repo.rotate(lambda r: r.keys.update(root=[ed25519(), ed25519()], targets=[ed25519()] * 1))
    repo.need["targets"] = 1
    state = repo.site(2)
    fork = Repo(keys={**old, "targets": [ed25519(), ed25519()]})
    fork.roots = {1: first}
    fork.rotate()
    return Trial(fork.medium(EVIL), state, EVIL)


# --- signatures ---
@attack("one key signs twice", "duplicate signature", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()

    def change(plain: Any) -> None:
        plain["signatures"].append(plain["signatures"][0])

    return Trial(with_file(repo.medium(BUNDLE), TIMESTAMP, change), repo.site())


@attack("one key under two names", "duplicate signature", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    state = repo.site()
    metadata = repo.make_root(2)
    twin = Metadata[Root].from_bytes(metadata.to_bytes()).signed
    keyid = twin.roles["targets"].keyids[0]
    twin.keys["f" * 64] = twin.keys[keyid]
    twin.roles["targets"].keyids = [keyid, "f" * 64]
    for signer in repo.keys["root"]:
        metadata.signed = twin
        metadata.sign(signer, append=True)
    repo.roots[2] = metadata.to_bytes()
    return Trial(repo.medium(BUNDLE), state)


@attack("flipped bit in a signature", "tampered signature", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()

    def change(plain: Any) -> None:
        good = plain["signatures"][0]["sig"]
        plain["signatures"][0]["sig"] = good[:-1] + ("0" if good[-1] != "0" else "1")

    return Trial(with_file(repo.medium(BUNDLE), TIMESTAMP, change), repo.site())


@attack("flipped bit in a superfluous signature of the root", "tampered signature",
        codes.BAD_SIGNATURE)  # fmt: skip
def _() -> Trial:
    repo = Repo()

    def change(plain: Any) -> None:
        plain["signatures"][2]["sig"] = "00" * 64

    return Trial(with_file(repo.medium(BUNDLE), "metadata/1.root.json", change), repo.site())


@attack("signature by an unknown key added", "tampered signature", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()
    by = {"timestamp": [*repo.keys["timestamp"], ed25519()]}
    return Trial(repo.medium(BUNDLE, by=by), repo.site())


@attack("expiry pushed out after signing", "tampered metadata", codes.BAD_SIGNATURE)
def _() -> Trial:
    repo = Repo()

    def change(plain: Any) -> None:
        plain["signed"]["expires"] = "2099-01-01T00:00:00Z"

    return Trial(with_file(repo.medium(BUNDLE), TIMESTAMP, change), repo.site())


@attack("spaces added to signed metadata", "tampered metadata", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    return Trial({**medium, TIMESTAMP: medium[TIMESTAMP] + b" "}, repo.site())


@attack("a member given twice", "tampered metadata", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    twice = medium[TIMESTAMP].replace(b'{"signatures":', b'{"signatures":[],"signatures":', 1)
    return Trial({**medium, TIMESTAMP: twice}, repo.site())


@attack("unsigned member beside the signed ones", "tampered metadata", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    change = lambda plain: plain.update(note="hello")  # noqa: E731
    return Trial(with_file(repo.medium(BUNDLE), TIMESTAMP, change), repo.site())


@attack("a role's file in place of another's", "tampered metadata", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    return Trial({**medium, TIMESTAMP: medium["metadata/1.snapshot.json"]}, repo.site())


@attack("root of another number in its file", "tampered metadata", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    return Trial({**repo.medium(BUNDLE), "metadata/2.root.json": repo.roots[1]}, repo.site())


@attack("weak key kind in a new root", "algorithm downgrade", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    state = repo.site()

    def change(plain: Any) -> None:
        key = next(iter(plain["signed"]["keys"].values()))
        key.update(keytype="rsa", scheme="rsa-pkcs1v15-sha256")

    repo.rotate()
    return Trial(with_file(repo.medium(BUNDLE), "metadata/2.root.json", change), state)


@attack("delegation to somebody else", "arbitrary software", codes.BAD_METADATA)
def _() -> Trial:
    from tuf.api.metadata import Delegations  # noqa: PLC0415

    repo = Repo()

    def edit(role: str, signed: Any) -> None:
        if role == "targets":
            signed.delegations = Delegations({}, {})

    return Trial(repo.medium(BUNDLE, edit=edit), repo.site())


# --- endless data ---
@attack("endless timestamp", "endless data", codes.TOO_MUCH)
def _() -> Trial:
    repo = Repo()
    return Trial({**repo.medium(BUNDLE), TIMESTAMP: b" " * 20_000}, repo.site())


@attack("endless root", "endless data", codes.TOO_MUCH)
def _() -> Trial:
    repo = Repo()
    return Trial({**repo.medium(BUNDLE), "metadata/2.root.json": b" " * 600_000}, repo.site())


@attack("endless list", "endless data", codes.TOO_MUCH)
def _() -> Trial:
    repo = Repo()
    return Trial({**repo.medium(BUNDLE), "metadata/1.targets.json": b" " * 5_000_001}, repo.site())


@attack("endless depth", "endless data", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    return Trial({**repo.medium(BUNDLE), TIMESTAMP: b"[" * 16_000}, repo.site())


@attack("endless chain of roots", "endless data", codes.BAD_METADATA)
def _() -> Trial:
    repo = Repo()
    medium = repo.medium(BUNDLE)
    trial = Trial(medium, repo.site())
    endless = _Endless(medium)
    endless.root = repo.roots[1]
    return replace(trial, medium=endless)


class _Endless(Medium):
    """Answers every question for a root with the same one."""

    root = b""

    def get(self, name: str, default: Any = None) -> Any:
        return self.root if name.endswith(".root.json") else super().get(name, default)
