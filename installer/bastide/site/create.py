"""Makes a new site folder: ``site.yaml``, secrets, CA. Never loses what was there before."""

from __future__ import annotations

import os
import secrets as random
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bastide.errors import ConfigError
from bastide.host.files import fsync_directory, write_atomic
from bastide.host.lock import exclusive_lock
from bastide.layout import Home, SiteFolder
from bastide.schema.site import Site
from bastide.site import secrets, vault
from bastide.site.codes import SITE_EXISTS, SITE_UNWRITABLE
from bastide.site.config import site_text


@dataclass(frozen=True)
class CreatedSite:
    """What was made.

    Args:
        folder: The site's folder.
        name: The site's name.
        files: Files that were written.
        backups: Earlier files, under their new names.
        vault_password_file: The file without which the secrets cannot be opened.
    """

    folder: Path
    name: str
    files: tuple[Path, ...]
    backups: tuple[Path, ...]
    vault_password_file: Path


def create_site(
    folder: SiteFolder,
    site: Site,
    home: Home,
    now: datetime,
    *,
    force: bool = False,
    password_file: Path | None = None,
) -> CreatedSite:
    """Write a new site: vault password, secrets, CA certificate and, last, ``site.yaml``.

    Args:
        folder: Where; created with mode 0700 if need be.
        site: What ``site.yaml`` will say.
        home: Where a new vault password goes.
        now: The present time: start of the certificates, and part of backups' names.
        force: Replace an existing site, whose files then stay under other names.
        password_file: A file that has a vault password already, to be used instead of a new one;
            ``$BASTIDE_VAULT_PASSWORD_FILE`` if None.

    Raises:
        ConfigError: There is a site already, the password file cannot be used, or the folder
            cannot be written.
        LockedError: Another run works on this site.
    """
    if folder.config.exists() and not force:
        raise ConfigError(
            f"{folder.config} exists: this folder already holds a site",
            code=SITE_EXISTS,
            hint="edit that file, or choose another folder; --force starts anew and keeps the "
            "old files under other names",
        )
    try:
        folder.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive_lock(folder.lock, "init of a site"):
            backups = _set_aside(folder, now)
            label = f"{site.name}-{random.token_hex(4)}"
            password, source = _password(home, label, password_file)
            files = _write(folder, site, now, password, label)
            return CreatedSite(folder.root, site.name, files, backups, source)
    except OSError as error:
        raise ConfigError(
            f"the site cannot be written: {error.filename or folder.root}: {error.strerror}",
            code=SITE_UNWRITABLE,
            hint="choose a folder that this user may write",
        ) from error


def _write(
    folder: SiteFolder, site: Site, now: datetime, password: str, label: str
) -> tuple[Path, ...]:
    made = secrets.make_secrets(site, now, (random.token_urlsafe(32), random.token_urlsafe(32)))
    secrets.save_secrets(folder, made, password, label)
    # Last, because a folder with a site.yaml is a site.
    write_atomic(folder.config, site_text(site).encode(), mode=0o600)
    return folder.config, folder.secrets, folder.authority


def _password(home: Home, label: str, given: Path | None) -> tuple[str, Path]:
    """Return the vault password and its file: the given one, or a new one in the home."""
    override = given or os.environ.get(vault.PASSWORD_FILE_VARIABLE)
    if override:
        return vault.read_password_file(Path(override)), Path(override)
    path = vault.password_file(home, label)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    password = random.token_urlsafe(32)
    write_atomic(path, f"{password}\n".encode(), mode=0o600)
    return password, path


def _set_aside(folder: SiteFolder, now: datetime) -> tuple[Path, ...]:
    """Rename an earlier site's files, or what a killed `init` left; nothing is ever deleted."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    backups = []
    for path in (folder.config, folder.secrets, folder.authority):
        if path.exists():
            backup = _free_name(path, stamp)
            path.rename(backup)
            backups.append(backup)
    if backups:
        fsync_directory(folder.root)
    return tuple(backups)


def _free_name(path: Path, stamp: str) -> Path:
    for number in range(1000):
        suffix = f"-{number}" if number else ""
        backup = path.with_name(f"{path.name}.{stamp}{suffix}.bak")
        if not backup.exists():
            return backup
    raise FileExistsError(17, "too many backups", str(path))
