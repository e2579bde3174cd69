"""The site's secrets, opened for one run and sealed again for the hosts."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from bastide.layout import Home, SiteFolder
from bastide.plan.inputs import Fingerprints
from bastide.run.depot import Identity
from bastide.schema.site import Site
from bastide.site.secrets import ensure_certificates, fingerprints, host_secrets
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
        password_file: The file with the password that opens ``sealed``.
        notes: Certificates that were renewed on the way.
        fingerprints: What the plan may tell of them.
    """

    depot: Identity
    token: str
    pass_: str
    sealed: bytes
    digests: dict[str, str]
    password_file: Path
    notes: tuple[str, ...]
    fingerprints: Fingerprints

    def __repr__(self) -> str:
        return "Credentials(…)"


def open_credentials(site: Site, folder: SiteFolder, home: Home, salt: str = "") -> Credentials:
    """Open the site's secrets, renew certificates if need be, and seal what hosts get.

    Args:
        site: The site.
        folder: Its folder.
        home: Where the vault password is.
        salt: The plan's, for the fingerprints.

    Raises:
        ConfigError: There are no secrets, or they don't open.
    """
    found, notes = ensure_certificates(folder, home, site, datetime.now(UTC))
    token, pass_ = secrets.token_urlsafe(32), secrets.token_urlsafe(24)
    label = label_of(folder.secrets.read_bytes(), where=str(folder.secrets))
    carried = host_secrets(found, site, token, pass_)
    plain = json.dumps({"bastide_secrets": carried})
    return Credentials(
        depot=Identity(found.depot_certificate_pem, found.depot_key_pem),
        token=token,
        pass_=pass_,
        sealed=seal(plain.encode(), read_password(home, label), label),
        digests={name: sha256(text.encode()).hexdigest() for name, text in carried.items()},
        password_file=password_file(home, label),
        notes=notes,
        fingerprints=fingerprints(found, salt),
    )
