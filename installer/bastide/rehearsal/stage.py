"""Raises the lab with the site in it, and takes it away again."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from bastide.errors import ConfigError
from bastide.host.files import write_atomic
from bastide.lab import manager
from bastide.lab import state as states
from bastide.lab.spec import LabSpec
from bastide.lab.state import LabState
from bastide.layout import Home, LabFolder, RehearsalFolder, RunFolder, cache_directory
from bastide.progress import Progress
from bastide.rehearsal.codes import NOT_READY
from bastide.rehearsal.control import Control
from bastide.rehearsal.scene import plan_in_lab
from bastide.rehearsal.sides import Cast, Present
from bastide.schema.site import Ssh
from bastide.site.create import create_site

_SHARED = ("acceptances.json", "licences.yaml", "trust")  # of the operator's home: copied


def claim(home: Home, name: str, progress: Progress) -> RehearsalFolder:
    """Return an empty folder for a rehearsal; what an earlier one left is removed.

    Raises:
        ConfigError: A lab of that name stands here that no rehearsal has raised.
    """
    folder = home.rehearsal(name)
    lab = states.find(home, name)
    if lab is not None and not _is_ours(folder, lab):
        raise ConfigError(
            f"there is a lab '{name}' here that no rehearsal has raised",
            code=NOT_READY,
            hint=f"choose another --name, or `bastide lab down --name {name}` first",
        )
    strike(home, name, progress)
    folder.root.mkdir(mode=0o700, parents=True)
    return folder


def _is_ours(folder: RehearsalFolder, lab: LabState) -> bool:
    """Return whether a rehearsal raised this very lab, not somebody one of the same name later."""
    if not folder.root.exists():
        return False
    # Without a mark, a rehearsal was killed while it raised the lab.
    return not folder.raised.exists() or folder.raised.read_text() == _mark(lab)


def _mark(lab: LabState) -> str:
    """Return what tells a lab from every other one of its name: its key is made when it is."""
    try:
        return hashlib.sha256(lab.ssh_private_key.read_bytes()).hexdigest()
    except OSError:
        return ""


def strike(home: Home, name: str, progress: Progress) -> None:
    """Remove a rehearsal's lab and folder."""
    folder = home.rehearsal(name)
    if folder.root.exists():
        manager.down(home, name, progress)
        shutil.rmtree(folder.root)


def ssh_of(home: Home, name: str) -> Ssh:
    """Return the way into the hosts of the lab ``name``."""
    folder = LabFolder((home.lab / name).absolute())
    return Ssh(
        user="root", private_key=str(folder.private_key), known_hosts=str(folder.known_hosts)
    )


def raise_lab(home: Home, name: str, release: str, hosts: int, progress: Progress) -> LabState:
    """Boot the hosts, and note whose lab it is."""
    lab = manager.up(
        LabSpec(name=name, hosts=hosts, release=release), home, cache_directory(), progress
    )
    write_atomic(home.rehearsal(name).raised, _mark(lab).encode(), mode=0o600)
    return lab


def furnish(folder: RehearsalFolder, home: Home, lab: LabState, cast: Cast) -> Control:
    """Write the lab's site, with secrets and a CA of its own, and a home that shares the store."""
    own = furnish_home(folder, home)
    write_atomic(folder.password, f"{secrets.token_urlsafe(32)}\n".encode(), mode=0o600)
    now = datetime.now(UTC)
    create_site(folder.site, cast.wanted.site, own, now, password_file=folder.password)
    return Control(lab, own, folder.site, folder.password)


def furnish_home(folder: RehearsalFolder, home: Home) -> Home:
    """Make a home for the lab's control node: it shares the store, and believes the same."""
    own = folder.home
    own.root.mkdir(mode=0o700)
    own.store.symlink_to(home.store.absolute())
    for name in _SHARED:
        source = home.root / name
        if source.is_dir():
            shutil.copytree(source, own.root / name)
        elif source.exists():
            shutil.copy2(source, own.root / name)
    return own


def seed(folder: RehearsalFolder, present: Present) -> RunFolder:
    """Write the site's present run into the lab's site, as a run to go back to; return it."""
    site = present.side.site
    run = RunFolder(folder.site.runs / present.run.folder.id)
    run.root.mkdir(mode=0o700, parents=True)
    for name, tree in present.trees.items():
        run.tree(name).parent.mkdir(parents=True)
        run.tree(name).write_bytes(tree.tar)
    plan = plan_in_lab(present.run.plan, site, present.trees)
    run.plan.write_bytes(plan.canonical())
    run.site.write_bytes(site.canonical())
    run.summary.write_text(json.dumps({"failure": None}))
    return run


def disks_of(lab: LabState, players: Mapping[str, str]) -> dict[str, Path]:
    """Return the root of each host's disk, by the site's name for the host."""
    folder = LabFolder(lab.folder)
    return {host: folder.host(player).disk for host, player in players.items()}
