"""Attacks on signatures and on the files that carry them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from attack_table import TIMESTAMP, AttackTable, with_file
from trust_factories import BUNDLE, Medium, Repo, Trial, ed25519
from tuf.api.metadata import Delegations, Metadata, Root

from bastide.trust import codes

ATTACKS = AttackTable()
attack = ATTACKS.attack


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
