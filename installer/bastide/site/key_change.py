"""Changes the clients in a site's secrets, under the site's lock."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bastide.host.lock import exclusive_lock
from bastide.layout import Home, SiteFolder
from bastide.schema.access import Role
from bastide.schema.client_key import ClientKey, OwnLimits
from bastide.site import keystore, vault
from bastide.site.keystore import FULL, OWN, Clients
from bastide.site.material import Secrets
from bastide.site.secrets import KEY_PREFIX, open_secrets, save_secrets


@dataclass(frozen=True, repr=False)
class Changed:
    """What a change of the clients led to.

    Args:
        client: The client as it is now; as it was, if it is gone.
        clients: All clients.
        key: The new key, if one was made: shown once, kept nowhere.
    """

    client: ClientKey
    clients: Clients
    key: str = ""

    def __repr__(self) -> str:
        return f"Changed({self.client.name})"

    @property
    def keys_map(self) -> str:
        """What gateways must know now."""
        return keystore.keys_map(self.clients)


@dataclass(frozen=True)
class Vault:
    """Where a site's secrets are.

    Args:
        folder: The site's folder.
        home: Where the vault password is.
        publish: Told of a change as long as the lock is held, so that gateways learn of changes in
            the order in which they were made.
    """

    folder: SiteFolder
    home: Home
    publish: Callable[[Changed], None]

    def create(
        self, name: str, role: Role, limits: OwnLimits, now: datetime, lasts: timedelta | None
    ) -> Changed:
        """Make a client with its first key.

        Raises:
            ConfigError: There is one of that name, or the secrets cannot be opened.
            LockedError: A run is at work on this site.
        """
        key = _new_key()
        new = keystore.new_client(name, role, limits, keystore.digest_of(key), now, lasts)

        def change(secrets: Secrets) -> Secrets:
            return replace(secrets, clients=keystore.create(secrets.clients, new))

        return self._change(f"keys create {name}", now, change, name, key)

    def rotate(
        self, name: str, now: datetime, grace: timedelta, lasts: timedelta | None = None
    ) -> Changed:
        """Give a client a new key beside those that it has, which end after ``grace``.

        Args:
            name: The client.
            now: The present time.
            grace: How long the earlier keys hold still.
            lasts: How long the new one holds; None: until it is revoked.

        Raises:
            ConfigError: There is no such client, or the secrets cannot be opened.
            LockedError: A run is at work on this site.
        """
        key = _new_key("ro_" if name == keystore.READ_ONLY else "")

        def change(secrets: Secrets) -> Secrets:
            before = keystore.find(secrets.all_clients, name)
            after = keystore.rotated(before, keystore.digest_of(key), now, grace, lasts)
            others = tuple(client for client in secrets.clients if client.name != name)
            changed = replace(secrets, clients=(*others, after))
            return _with_own_key(changed, name, key) if name in OWN else changed

        return self._change(f"keys rotate {name}", now, change, name, key)

    def revoke(self, name: str, now: datetime) -> Changed:
        """Take a client out, with all its keys.

        Raises:
            ConfigError: There is no such client, it is Bastide's own, or the secrets cannot be
                opened.
            LockedError: A run is at work on this site.
        """

        def change(secrets: Secrets) -> Secrets:
            return replace(secrets, clients=keystore.revoke(secrets.clients, name))

        return self._change(f"keys revoke {name}", now, change, name)

    def _change(
        self,
        purpose: str,
        now: datetime,
        change: Callable[[Secrets], Secrets],
        name: str,
        key: str = "",
    ) -> Changed:
        # An apply carries the keys that it found when it began: no change may pass it unseen.
        with exclusive_lock(self.folder.lock, purpose):
            before = open_secrets(self.folder, self.home)
            after = change(before)
            after = replace(after, clients=keystore.without_dead(after.clients, now))
            sealed = self.folder.secrets.read_bytes()
            label = vault.label_of(sealed, where=str(self.folder.secrets))
            save_secrets(self.folder, after, vault.read_password(self.home, label), label)
            there = [*after.all_clients, *before.all_clients]
            client = next(each for each in there if each.name == name)
            changed = Changed(client, after.all_clients, key)
            self.publish(changed)
        return changed


def _with_own_key(secrets: Secrets, name: str, key: str) -> Secrets:
    """Return the secrets with a new key of Bastide's own; the vector DB keeps the one it has."""
    if name == FULL:
        kept = secrets.vectordb_api_key or secrets.api_key
        return replace(secrets, api_key=key, vectordb_api_key=kept)
    kept = secrets.vectordb_read_only_api_key or secrets.read_only_api_key
    return replace(secrets, read_only_api_key=key, vectordb_read_only_api_key=kept)


def _new_key(kind: str = "") -> str:
    return f"{KEY_PREFIX}{kind}{random.token_urlsafe(32)}"
