"""The clients of a gateway: make, rotate and revoke their keys. Pure; the time is passed in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from bastide.errors import ConfigError
from bastide.schema.access import Role
from bastide.schema.client_key import UNLIMITED, ClientKey, KeyDigest, OwnLimits
from bastide.site.codes import KEY_EXISTS, KEY_OWN, KEY_TIME, KEY_UNKNOWN

Clients = tuple[ClientKey, ...]

FULL, READ_ONLY = "full", "read-only"  # what init makes; Bastide's own checks use them
OWN = (FULL, READ_ONLY)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
MOST = timedelta(days=3660)


def digest_of(key: str) -> str:
    """Return what is kept of a key: its SHA-256, in hex."""
    return hashlib.sha256(key.encode()).hexdigest()


def parse_duration(text: str) -> timedelta:
    """Return the time that ``30m``, ``24h``, ``7d`` or ``0s`` says.

    Raises:
        ConfigError: It says none, or more than ten years.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= MOST.total_seconds():
        raise ConfigError(
            f"'{text}' is no time: expected a whole number and a unit, at most ten years",
            code=KEY_TIME,
            hint="write for example 30m, 24h, 7d or 52w; 0s means at once",
        )
    return timedelta(seconds=seconds)


def find(clients: Clients, name: str) -> ClientKey:
    """Return the client of that name.

    Raises:
        ConfigError: There is none.
    """
    for client in clients:
        if client.name == name:
            return client
    raise ConfigError(
        f"no client is called '{name}'",
        code=KEY_UNKNOWN,
        hint="`bastide keys list` shows all of them",
    )


def create(clients: Clients, new: ClientKey) -> Clients:
    """Return the clients with a new one.

    Raises:
        ConfigError: There is one of that name.
    """
    if new.name in {*OWN, *(client.name for client in clients)}:
        raise ConfigError(
            f"a client is called '{new.name}' already",
            code=KEY_EXISTS,
            hint="`bastide keys rotate` gives it a new key; or choose another name",
        )
    return (*clients, new)


def revoke(clients: Clients, name: str) -> Clients:
    """Return the clients without one; all its keys are refused from then on.

    Raises:
        ConfigError: There is none of that name, or it is one of Bastide's own.
    """
    if name in OWN:
        raise ConfigError(
            f"'{name}' is the key that Bastide's own checks use; it cannot be revoked",
            code=KEY_OWN,
            hint=f"`bastide keys rotate {name} --grace 0s` makes a new one and refuses the old",
        )
    gone = find(clients, name)
    return tuple(client for client in clients if client is not gone)


def rotated(
    client: ClientKey,
    sha256: str,
    now: datetime,
    grace: timedelta,
    lasts: timedelta | None = None,
) -> ClientKey:
    """Return a client with a new key; its earlier ones hold for ``grace`` at most.

    Args:
        client: The client.
        sha256: Digest of the new key.
        now: The present time.
        grace: How long earlier keys hold still; one that ends sooner does.
        lasts: How long the new key holds; None: until it is revoked.
    """
    end = _whole(now + grace)
    left = [
        digest.replace(expires=min(end, digest.expires or end))
        for digest in client.digests
        if digest.holds(now) and grace
    ]
    return client.replace(digests=(*left, _fresh(sha256, now, lasts)))


def new_client(
    name: str, role: Role, limits: OwnLimits, sha256: str, now: datetime, lasts: timedelta | None
) -> ClientKey:
    """Return a client with its first key, which ends after ``lasts``, if it ends at all."""
    return ClientKey(name=name, role=role, limits=limits, digests=(_fresh(sha256, now, lasts),))


def without_dead(clients: Clients, now: datetime) -> Clients:
    """Return the clients without digests that have ended; the last of each stays, to be seen."""
    kept = []
    for client in clients:
        held = [digest for digest in client.digests if digest.holds(now)]
        kept.append(client.replace(digests=tuple(held) or client.digests[-1:]))
    return tuple(kept)


def keys_map(clients: Iterable[ClientKey]) -> str:
    """Return what gateways look keys up in: a line each, digest and what belongs to it.

    It depends on nothing but the clients, so that equal clients give equal files at any time.
    """
    lines = (
        f"{digest.sha256} {_entry(client, digest)}\n"
        for client in clients
        for digest in client.digests
    )
    return "".join(lines)


def own_client(name: str, key: str, clients: Clients = ()) -> ClientKey:
    """Return one of the two clients that ``init`` makes.

    Args:
        name: ``full`` or ``read-only``.
        key: Its present key.
        clients: All clients; if it is among them, its earlier keys may hold still.
    """
    for client in clients:
        if client.name == name:
            return client
    digest = KeyDigest(sha256=digest_of(key), created=datetime.fromtimestamp(0, UTC))
    role = Role.ADMIN if name == FULL else Role.READER
    return ClientKey(name=name, role=role, limits=UNLIMITED, digests=(digest,))


def _entry(client: ClientKey, digest: KeyDigest) -> str:
    expires = 0 if digest.expires is None else int(digest.expires.timestamp())
    limits = (
        client.limits.requests_per_minute,
        client.limits.vectordb_requests_per_minute,
        client.limits.concurrent_requests,
        client.limits.tokens_per_day,
    )
    words = ["-" if limit is None else str(limit) for limit in limits]
    return ":".join([client.name, client.role, str(expires), *words])


def _fresh(sha256: str, now: datetime, lasts: timedelta | None) -> KeyDigest:
    expires = None if lasts is None else _whole(now + lasts)
    return KeyDigest(sha256=sha256, created=_whole(now), expires=expires)


def _whole(time: datetime) -> datetime:
    return time.replace(microsecond=0)
