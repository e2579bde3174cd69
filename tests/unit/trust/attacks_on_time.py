"""Attacks that show a site something older, or hold it where it is."""

from __future__ import annotations

from datetime import datetime, timedelta

from attack_table import AttackTable
from trust_factories import BUNDLE, NEWER, NOW, OLDER, Repo, Trial, bundle, digest, ed25519, seen

from bastide.trust import codes
from bastide.trust.client import Policy

ATTACKS = AttackTable()
attack = ATTACKS.attack


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
