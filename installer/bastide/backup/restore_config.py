"""Puts the control node's part of a backup back: a site's folder, keys, ledger, trust."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bastide.backup.codes import NOT_EMPTY, OTHER_SITE
from bastide.backup.control_files import SSH, SavedFiles
from bastide.errors import ConfigError
from bastide.host.files import fsync_directory, write_atomic
from bastide.layout import Home, SiteFolder
from bastide.render.inventory import resolve
from bastide.schema.loading import parse_yaml
from bastide.schema.site import Site
from bastide.site.codes import SITE_WRONG
from bastide.site.config import load_site


@dataclass(frozen=True)
class RestoredConfig:
    """What was put back on the control node.

    Args:
        folder: The site's folder.
        files: How many files were written.
        kept: Files that were there already and are another than the backup's: left as they are.
        runs: Runs that `bastide rollback` can go back to again.
    """

    folder: Path
    files: int
    kept: tuple[str, ...]
    runs: tuple[str, ...]


def saved_site(saved: SavedFiles) -> Site:
    """Return the site as its ``site.yaml`` in the backup says.

    Raises:
        ConfigError: It has mistakes, for this version of Bastide.
    """
    content, _ = saved.below("site")["site.yaml"]
    return parse_yaml(content, Site, where="site.yaml of the backup", code=SITE_WRONG)


def has_config(folder: SiteFolder, site: str) -> bool:
    """Return whether a folder holds the site of that name already.

    Raises:
        ConfigError: It holds another site, or other things.
    """
    if folder.config.exists():
        here = load_site(folder.root).name
        if here != site:
            raise ConfigError(
                f"{folder.root} holds the site {here}, the backup is of {site}",
                code=OTHER_SITE,
                hint="name another folder with --site",
            )
        return True
    if folder.root.is_dir() and any(path.name != ".lock" for path in folder.root.iterdir()):
        raise ConfigError(
            f"{folder.root} is not empty and holds no site",
            code=NOT_EMPTY,
            hint="name a new folder with --site: nothing is written over",
        )
    return False


def restore_config(
    saved: SavedFiles, folder: SiteFolder, home: Home, site_yaml: bytes | None, backup_id: str
) -> RestoredConfig:
    """Write the site's folder, and what of the home is not there; nothing is written over.

    The folder gets its name last, in one rename: a restore that was cut off begins anew.

    Args:
        saved: The files of the backup.
        folder: Where to; `has_config` has said that it holds nothing.
        home: The control node's state.
        site_yaml: A site.yaml to take instead of the backup's; None: none.
        backup_id: For the names of files beside those that are there already.
    """
    root = folder.root.absolute()
    staging = root.with_name(f".{root.name}.restoring")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(mode=0o700, parents=True)
    files = saved.below("site")
    if site_yaml is not None:
        files["site.yaml"] = (site_yaml, 0o600)
    for name, (content, mode) in files.items():
        _write(staging / name, content, mode)
    kept = list(_restore_home(saved, home, backup_id))
    if site_yaml is None:
        kept += _restore_ssh(saved, root)
    folder.lock.unlink(missing_ok=True)  # left by a command that found no site here
    staging.rename(root)
    fsync_directory(root.parent)
    written = len(files) + len(saved.below("home")) - len(kept)
    return RestoredConfig(root, written, tuple(kept), tuple(saved.run_ids()))


def _restore_home(saved: SavedFiles, home: Home, backup_id: str) -> Iterator[str]:
    """Write what the home lacks; what it has otherwise stays, and the backup's lies beside it."""
    for name, (content, mode) in saved.below("home").items():
        path = home.root / name
        if path.exists() and path.read_bytes() != content:
            beside = path.with_name(f"{path.name}.from-{backup_id}")
            _write(beside, content, mode)
            yield f"{path} stays; the backup's is {beside.name} beside it"
        elif not path.exists():
            _write(path, content, mode)


def _restore_ssh(saved: SavedFiles, root: Path) -> Iterator[str]:
    """Write the key that reaches the hosts, and their keys, where ``site.yaml`` looks for them.

    Those within the site's folder have come with it.
    """
    site = saved_site(saved)
    for name, (content, mode) in saved.below("ssh").items():
        path = resolve(getattr(site.ssh, name), root) if name in SSH else root
        if path.is_relative_to(root):
            continue
        if not path.exists():
            _write(path, content, mode)
        elif path.read_bytes() != content:
            yield f"{path} stays; the backup has another"


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path, content, mode=mode)
