"""The site's secrets, opened for one run and sealed again for the hosts."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from bastide.layout import Home, SiteFolder
from bastide.plan.inputs import Fingerprints
from bastide.run.depot import Identity
from bastide.schema.site import Site
from bastide.site import delivery, pki
from bastide.site.receivers import require_secrets
from bastide.site.secrets import (
    host_secrets,
    keep_certificates,
    keep_reached,
    renew_in_memory,
)
from bastide.site.vault import label_of, password_file, read_password, seal


@dataclass(frozen=True, repr=False)
class Credentials:
    """What one run needs of the site's secrets.

    Args:
        depot: The depot's certificate and key.
        token: What hosts show to the depot; of this run only.
        pass_: What lets this run write vectors while clients may not.
        sealed: What travels to the hosts, encrypted with Ansible Vault.
        digests: SHA-256 of each secret in it, by name: what a host can compare without being told.
        own_digests: The same of secrets that are another one on each host, by host.
        password_file: The file with the password that opens ``sealed``.
        notes: Certificates that are made anew, and those that somebody must see to.
        fingerprints: What the plan may tell of them.
        keep: Writes the certificates that were made into the vault; called once the plan is
            agreed to.
        reached: Writes into the vault that every host has all this; called once an apply has ended
            well.
    """

    depot: Identity
    token: str
    pass_: str
    sealed: bytes
    digests: dict[str, str]
    own_digests: dict[str, dict[str, str]]
    password_file: Path
    notes: tuple[str, ...]
    fingerprints: Fingerprints
    keep: Callable[[], None]
    reached: Callable[[], None]

    def digests_of(self, host: str) -> dict[str, str]:
        """Return the SHA-256 of each secret that ``host`` may get, by name."""
        return {**self.digests, **self.own_digests.get(host, {})}

    def __repr__(self) -> str:
        return "Credentials(…)"


def open_credentials(
    site: Site, folder: SiteFolder, home: Home, salt: str = "", *, back: bool = False
) -> Credentials:
    """Open the site's secrets, make what is due in memory, and seal what hosts get.

    Args:
        site: The site.
        folder: Its folder.
        home: Where the vault password is.
        salt: The plan's, for the fingerprints.
        back: The way is back, which a receiver's secret that was forgotten since must not bar.

    Raises:
        ConfigError: There are no secrets, one of a receiver is missing, or they don't open.
    """
    renewed = renew_in_memory(folder, home, site, datetime.now(UTC))
    found = renewed.after
    if not back:
        require_secrets(found.receivers, site)
    token, pass_ = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
    label = label_of(folder.secrets.read_bytes(), where=str(folder.secrets))
    carried, own = host_secrets(found, site, token, pass_), delivery.host_files(found, site)
    of_run = peer_files(site)
    both = {host: {**files, **of_run.get(host, {})} for host, files in own.items()}
    plain = json.dumps({"bastide_secrets": carried, "bastide_host_secrets": both})
    told = delivery.fingerprints(found, site, salt)
    return Credentials(
        depot=Identity(found.depot_certificate_pem, found.depot_key_pem),
        token=token,
        pass_=pass_,
        sealed=seal(plain.encode(), read_password(home, label), label),
        digests=_digests(carried),
        own_digests={host: _digests(files) for host, files in own.items()},
        password_file=password_file(home, label),
        notes=tuple(f"certificate {each.name}: {each.why}" for each in renewed.dues),
        fingerprints=replace(told, certificates=renewed.changes),
        keep=lambda: keep_certificates(folder, home, found),
        reached=lambda: keep_reached(folder, home, found),
    )


def peer_files(site: Site) -> dict[str, dict[str, str]]:
    """Return by what hosts know each other while they give each other artifacts in this run.

    The CA is made for the run, and its key is forgotten here: who was not in the run cannot ask.
    """
    if not site.shares:
        return {}
    authority = pki.make_machines_authority(site.name)
    found = {}
    for host, described in site.hosts.items():
        leaf = pki.issue_peer(authority, host, str(described.address))
        found[host] = {
            "peer_pem": leaf.certificate_pem + leaf.key_pem,
            "peers_ca_pem": authority.certificate_pem,
        }
    return found


def _digests(files: Mapping[str, str]) -> dict[str, str]:
    return {name: sha256(text.encode()).hexdigest() for name, text in files.items()}
