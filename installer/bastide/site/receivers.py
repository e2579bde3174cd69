"""Passwords and tokens of those who are told of alerts, as the vault keeps them. Pure."""

from __future__ import annotations

import json

from pydantic import Field

from bastide.errors import ConfigError
from bastide.schema.base import Name, Value
from bastide.schema.site import Site
from bastide.site.codes import RECEIVER_NO_SECRET, RECEIVER_SECRET, RECEIVER_UNKNOWN

MOST = 4096  # bytes


class ReceiverSecrets(Value):
    """What receivers want to be shown.

    ``salt`` goes to the hosts with them: people choose passwords, and of a file that has nothing
    else in it a plan's fingerprint would be a way to try guesses.
    """

    salt: str = Field(default="", repr=False)
    secrets: dict[Name, str] = Field(default={}, repr=False)


def text_for_hosts(held: ReceiverSecrets, site: Site) -> str:
    """Return the file for the monitoring host; empty if the vault never had such a secret.

    What was forgotten since is not in it, so that the host forgets it, too.
    """
    if not held.salt:
        return ""
    wanted = {name: held.secrets[name] for name in site.monitoring.logins if name in held.secrets}
    return json.dumps({"salt": held.salt, "secrets": wanted}, sort_keys=True) + "\n"


def require_secrets(held: ReceiverSecrets, site: Site) -> None:
    """Refuse a site whose receivers want secrets that the vault does not have.

    Raises:
        ConfigError: One is missing; all are named.
    """
    missing = [name for name in site.monitoring.logins if name not in held.secrets]
    if missing and site.is_monitored:
        raise ConfigError(
            f"the vault has no password or token for the receiver {', '.join(missing)}",
            code=RECEIVER_NO_SECRET,
            hint=f"bastide receivers set {missing[0]}",
        )


def with_secret(
    held: ReceiverSecrets, site: Site, name: str, secret: str, salt: str
) -> ReceiverSecrets:
    """Return the secrets with a receiver's own.

    Args:
        held: What the vault has.
        site: The site, whose receivers may be named.
        name: The receiver.
        secret: Its password or token.
        salt: At least 256 random bits, used if there is none yet.

    Raises:
        ConfigError: No such receiver wants a secret, or this cannot be one.
    """
    if name not in site.monitoring.logins:
        known = ", ".join(site.monitoring.logins) or "none does"
        raise ConfigError(
            f"site.yaml has no receiver '{name}' that logs in; those that do: {known}",
            code=RECEIVER_UNKNOWN,
            hint="give it user or bearer below monitoring in site.yaml first",
        )
    if not secret or len(secret.encode()) > MOST or any(ord(each) < 32 for each in secret):
        raise ConfigError(
            "that is no password or token: it is empty, has a control character or a second line, "
            f"or is longer than {MOST} bytes",
            code=RECEIVER_SECRET,
            hint="put it alone into a file, on one line, and name that with --from",
        )
    return ReceiverSecrets(salt=held.salt or salt, secrets={**held.secrets, name: secret})


def without_secret(held: ReceiverSecrets, name: str) -> ReceiverSecrets:
    """Return the secrets without a receiver's own.

    Raises:
        ConfigError: There is none.
    """
    if name not in held.secrets:
        raise ConfigError(
            f"the vault has no secret of a receiver '{name}'",
            code=RECEIVER_UNKNOWN,
            hint="bastide receivers list",
        )
    return held.replace(secrets={n: text for n, text in held.secrets.items() if n != name})
