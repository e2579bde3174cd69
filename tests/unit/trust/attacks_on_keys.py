"""Attacks by somebody who has stolen keys."""

from __future__ import annotations

from attack_table import AttackTable
from trust_factories import BUNDLE, EVIL, Repo, Trial, ed25519, seen

from bastide.trust import codes

ATTACKS = AttackTable()
attack = ATTACKS.attack


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
