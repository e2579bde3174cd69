"""Attacks that give a site another bundle, or metadata that do not belong together."""

from __future__ import annotations

from typing import Any

from attack_table import TIMESTAMP, AttackTable, with_file
from trust_factories import BUNDLE, EVIL, OLDER, Repo, Trial, digest, entry
from tuf.api.metadata import MetaFile

from bastide.trust import codes

ATTACKS = AttackTable()
attack = ATTACKS.attack


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
