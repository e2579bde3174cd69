"""``bastide keys create|rotate|revoke``: changes that running gateways learn of at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from pydantic import TypeAdapter

from bastide.cli.context import require_ssh_files, site_option
from bastide.cli.output import reports, stderr
from bastide.cli.recording import recorded
from bastide.errors import ApplyError, BastideError, ConfigError
from bastide.layout import Home, SiteFolder
from bastide.run.ask import Line
from bastide.run.gateways import GatewayKeys, push_keys
from bastide.schema.access import Role
from bastide.schema.base import Name
from bastide.schema.client_key import ClientKey, OwnLimits
from bastide.site.codes import KEY_FILE, KEY_NAME
from bastide.site.config import load_site
from bastide.site.key_change import Changed, Vault
from bastide.site.keystore import parse_duration

NOT_EVERYWHERE = "BAS-6100"
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True)
class ChangedKey:
    """A client that was changed, and which gateways know it already.

    Args:
        client: The client: name, role, limits, digests of its keys.
        key: The new key, unless it was written to a file or none was made.
        key_file: The file that the new key was written to.
        gateways: Each gateway's state.
        error: The key was revoked, but a gateway may still accept it.
    """

    client: ClientKey
    key: str | None
    key_file: Path | None
    gateways: tuple[GatewayKeys, ...]
    error: BastideError | None = None


def _view(result: ChangedKey) -> None:
    if result.key:
        click.echo(result.key)
    say = stderr()
    if result.key_file:
        say.print(f"the key of {result.client.name} is in {result.key_file}", markup=False)
    for gateway in result.gateways:
        how = {"live": "knows it now", "kept": "will know it", "pending": "does not know it yet"}
        why = f": {gateway.why}" if gateway.why else ""
        say.print(f"{gateway.host}: {how[gateway.state]}{why}", markup=False)


def _about(result: ChangedKey) -> Mapping[str, str]:
    late = [each.host for each in result.gateways if each.state != "live"]
    told = {
        "identity": result.client.name,
        "role": str(result.client.role),
        "keys": ", ".join(digest.id for digest in result.client.digests),
    }
    return {**told, "not_live": ", ".join(late)} if late else told


class _Site:
    """The site of a command, and what its gateways said."""

    def __init__(self, site_dir: Path) -> None:
        site = load_site(site_dir)
        folder = SiteFolder((site_dir if site_dir.is_dir() else site_dir.parent).resolve())
        require_ssh_files(site, folder)
        self._line = Line(site, folder.root)
        self.gateways: tuple[GatewayKeys, ...] = ()
        self.vault = Vault(folder, Home.default(), self._publish)

    def _publish(self, changed: Changed) -> None:
        self.gateways = push_keys(self._line, changed.keys_map)


_out = click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False),
    help="Write the key to this new file, mode 0600, instead of printing it.",
)  # fmt: skip
_expires = click.option("--expires", metavar="TIME", help="How long the key holds, such as 90d.")


@click.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice([str(role) for role in Role]), default=Role.USER.value,
              show_default=True, help="What the key may do: docs/gateway.md.")  # fmt: skip
@click.option("--requests-per-minute", type=click.IntRange(min=0),
              help="Requests below /v1/; 0: no limit.")  # fmt: skip
@click.option("--vectordb-requests-per-minute", type=click.IntRange(min=0),
              help="Requests below /vectordb/; 0: no limit.")  # fmt: skip
@click.option("--concurrent-requests", type=click.IntRange(min=0),
              help="Model requests at once; 0: no limit.")  # fmt: skip
@click.option("--tokens-per-day", type=click.IntRange(min=0),
              help="Tokens in a day, UTC; 0: no limit.")  # fmt: skip
@_expires
@_out
@site_option
@reports(_view)
@recorded("keys create", _about)
def create(
    name: str, role: str, expires: str | None, out: Path | None, site_dir: Path,
    **limits: int | None,
) -> ChangedKey:  # fmt: skip
    """Make a client NAME and print its key, once.

    Limits that are not given are those of `access.limits` in site.yaml.
    """
    lasts = None if expires is None else parse_duration(expires)
    site = _Site(site_dir)
    with _KeyFile(out) as file:
        own = OwnLimits.model_validate(limits)
        changed = site.vault.create(_name(name), Role(role), own, datetime.now(UTC), lasts)
        file.write(changed.key)
    return ChangedKey(changed.client, None if out else changed.key, out, site.gateways)


@click.command("rotate")
@click.argument("name")
@click.option("--grace", default="24h", show_default=True, metavar="TIME",
              help="How long the earlier key holds beside the new one.")  # fmt: skip
@_expires
@_out
@site_option
@reports(_view)
@recorded("keys rotate", _about)
def rotate(
    name: str, grace: str, expires: str | None, out: Path | None, site_dir: Path
) -> ChangedKey:
    """Give the client NAME a new key and print it, once.

    The earlier one ends by itself after --grace; nobody has to do anything for it.
    """
    time = parse_duration(grace)
    lasts = None if expires is None else parse_duration(expires)
    site = _Site(site_dir)
    with _KeyFile(out) as file:
        changed = site.vault.rotate(name, datetime.now(UTC), time, lasts)
        file.write(changed.key)
    return ChangedKey(changed.client, None if out else changed.key, out, site.gateways)


@click.command("revoke")
@click.argument("name")
@site_option
@reports(_view)
@recorded("keys revoke", _about)
def revoke(name: str, site_dir: Path) -> ChangedKey:
    """Refuse all keys of the client NAME, from its next request on.

    Answers that have begun are not cut off. Ends with exit code 6 if a gateway could not be told.
    """
    site = _Site(site_dir)
    changed = site.vault.revoke(name, datetime.now(UTC))
    late = [each.host for each in site.gateways if each.state != "live"]
    error = None
    if late:
        error = ApplyError(
            f"{name} is revoked, but not yet at {', '.join(late)}: a gateway that runs there may "
            "still accept its keys",
            code=NOT_EVERYWHERE,
            hint="`bastide apply` tells the gateway as soon as it can be reached",
        )
    return ChangedKey(changed.client, None, None, site.gateways, error)


def _name(name: str) -> str:
    try:
        return _NAME.validate_python(name)
    except ValueError as error:
        raise ConfigError(
            f"'{name}' cannot be a client's name",
            code=KEY_NAME,
            hint="lower-case letters, digits, dot, dash and underscore; at most 64",
        ) from error


class _KeyFile:
    """A new file for a key: made before the key is, so that none is lost for want of a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> _KeyFile:
        if self._path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            try:
                self._descriptor = os.open(self._path, flags, 0o600)
            except OSError as error:
                raise ConfigError(
                    f"{self._path} cannot be made for the key: {error.strerror}",
                    code=KEY_FILE,
                    hint="name a file that does not exist, in a folder that this user may write",
                ) from error
        return self

    def write(self, key: str) -> None:
        """Write the key, if there is a file for it."""
        if self._descriptor >= 0:
            os.write(self._descriptor, f"{key}\n".encode())
            os.fsync(self._descriptor)

    def __exit__(self, kind: object, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            if kind is not None and self._path is not None:
                self._path.unlink(missing_ok=True)
