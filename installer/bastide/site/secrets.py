"""The site's secrets: made once, kept in one Vault file, opened for a run."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime

from bastide.errors import ConfigError
from bastide.host.files import write_atomic
from bastide.layout import Home, SiteFolder
from bastide.plan.inputs import Fingerprints
from bastide.schema.client_key import ClientKey
from bastide.schema.site import Site
from bastide.site import pki, vault
from bastide.site.codes import CERTIFICATE_WRONG, SECRETS_DAMAGED, SECRETS_MISSING
from bastide.site.keystore import FULL, READ_ONLY, Clients, keys_map, own_client

FORMAT = "bastide.secrets/1"
KEY_PREFIX = "bst_"  # so that scanners for leaked keys can know ours


@dataclass(frozen=True, repr=False)
class Secrets:
    """All secrets of a site, in the clear: keep it in memory, never print or log it."""

    api_key: str
    read_only_api_key: str
    ca_certificate_pem: str
    ca_key_pem: str
    gateway_certificate_pem: str
    gateway_key_pem: str
    depot_certificate_pem: str
    depot_key_pem: str
    # The vector DB's own keys; empty if they are still those that clients began with.
    vectordb_api_key: str = ""
    vectordb_read_only_api_key: str = ""
    clients: Clients = ()

    def __repr__(self) -> str:
        return "Secrets(…)"

    @property
    def all_clients(self) -> Clients:
        """The gateway's clients: the two of ``init``, then those that were created."""
        own = {FULL: self.api_key, READ_ONLY: self.read_only_api_key}
        made = tuple(own_client(name, key, self.clients) for name, key in own.items())
        return made + tuple(client for client in self.clients if client.name not in own)

    @property
    def authority(self) -> pki.Certified:
        """The site CA with its key."""
        return pki.Certified(self.ca_certificate_pem, self.ca_key_pem)


def make_secrets(site: Site, now: datetime, random_urlsafe: tuple[str, str]) -> Secrets:
    """Return new secrets for a new site.

    Args:
        site: The site that they are for.
        now: The present time, from which the certificates count.
        random_urlsafe: Two random texts of at least 32 bytes each, for the API keys.
    """
    authority = pki.make_authority(site.name, now)
    gateway = pki.issue_gateway(authority, site, now)
    depot = pki.issue_depot(authority, site, now)
    return Secrets(
        api_key=KEY_PREFIX + random_urlsafe[0],
        read_only_api_key=f"{KEY_PREFIX}ro_{random_urlsafe[1]}",
        ca_certificate_pem=authority.certificate_pem,
        ca_key_pem=authority.key_pem,
        gateway_certificate_pem=gateway.certificate_pem,
        gateway_key_pem=gateway.key_pem,
        depot_certificate_pem=depot.certificate_pem,
        depot_key_pem=depot.key_pem,
    )


def open_secrets(folder: SiteFolder, home: Home) -> Secrets:
    """Return the site's secrets, opened with its vault password.

    Args:
        folder: The site's folder.
        home: Where the vault password is, unless ``$BASTIDE_VAULT_PASSWORD_FILE`` names a file.

    Raises:
        ConfigError: There are none, the password is missing or wrong, or the file is damaged.
    """
    sealed = _read_sealed(folder)
    where = str(folder.secrets)
    password = vault.read_password(home, vault.label_of(sealed, where=where))
    return _parse(vault.unseal(sealed, password, where=where), where)


def save_secrets(folder: SiteFolder, secrets: Secrets, password: str, label: str) -> None:
    """Write the secrets, encrypted, and the CA's public certificate beside them.

    Args:
        folder: The site's folder; it must exist.
        secrets: What to keep.
        password: The vault password.
        label: The name under which the password is found again.
    """
    # JSON is YAML, so Ansible reads it too.
    values = {field.name: getattr(secrets, field.name) for field in fields(secrets)}
    values["clients"] = [client.model_dump(mode="json") for client in secrets.clients]
    plain = json.dumps({"format": FORMAT, **values}, indent=1).encode() + b"\n"
    write_atomic(folder.secrets, vault.seal(plain, password, label), mode=0o600)
    write_atomic(folder.authority, secrets.ca_certificate_pem.encode(), mode=0o644)


def ensure_certificates(
    folder: SiteFolder, home: Home, site: Site, now: datetime
) -> tuple[Secrets, tuple[str, ...]]:
    """Renew the gateway's and the depot's certificate if need be; return secrets and what was done.

    They are renewed if the site's names or addresses changed or fewer than 30 days are left. Call
    it before a run that carries secrets to hosts.

    Args:
        folder: The site's folder.
        home: Where the vault password is.
        site: The site as it is now.
        now: The present time.

    Raises:
        ConfigError: The secrets cannot be opened.
    """
    secrets = open_secrets(folder, home)
    reasons = renewals(secrets, site, now)
    if not reasons:
        return secrets, ()
    if "gateway" in reasons:
        new = pki.issue_gateway(secrets.authority, site, now)
        secrets = replace(
            secrets, gateway_certificate_pem=new.certificate_pem, gateway_key_pem=new.key_pem
        )
    if "depot" in reasons:
        new = pki.issue_depot(secrets.authority, site, now)
        secrets = replace(
            secrets, depot_certificate_pem=new.certificate_pem, depot_key_pem=new.key_pem
        )
    label = vault.label_of(_read_sealed(folder), where=str(folder.secrets))
    save_secrets(folder, secrets, vault.read_password(home, label), label)
    return secrets, tuple(f"{name} certificate renewed: {why}" for name, why in reasons.items())


def renewals(secrets: Secrets, site: Site, now: datetime) -> dict[str, str]:
    """Return which certificates (``gateway``, ``depot``) must be renewed, each with the reason."""
    ca = secrets.ca_certificate_pem
    found = {
        "gateway": pki.why_renew(secrets.gateway_certificate_pem, pki.gateway_names(site), ca, now),
        "depot": pki.why_renew(secrets.depot_certificate_pem, pki.depot_names(site), ca, now),
    }
    return {name: why for name, why in found.items() if why}


def host_secrets(secrets: Secrets, site: Site, depot_token: str, pass_: str = "") -> dict[str, str]:
    """Return ``bastide_secrets``: what a run carries to the hosts, as files' contents.

    Args:
        secrets: The site's secrets, after `ensure_certificates`.
        site: The site.
        depot_token: The token of this run's depot.
        pass_: What lets this run write vectors while clients may not.

    Raises:
        ConfigError: The gateway's certificate is for other names than the site has now.
    """
    present, wanted = pki.names_of(secrets.gateway_certificate_pem), set(pki.gateway_names(site))
    if present != wanted:
        raise ConfigError(
            f"the gateway's certificate is for {', '.join(sorted(present))}, "
            f"but site {site.name} has {', '.join(sorted(wanted))}",
            code=CERTIFICATE_WRONG,
            hint="run `bastide apply`, which renews it",
        )
    return {**_files(secrets), "depot_token": depot_token, "pass": pass_}


def fingerprints(secrets: Secrets, salt: str, renewed: Iterable[str] = ()) -> Fingerprints:
    """Return what a plan may tell of the secrets that hosts get: salted, and cut short.

    All that is secret in them was made from at least 256 random bits, so that nobody who has plan
    and salt can find it by trying.

    Args:
        secrets: The site's secrets.
        salt: The plan's salt; without one nothing is told.
        renewed: Certificates that the apply will make anew (``renewals``).
    """
    if not salt:
        return Fingerprints()
    anew = {f"{name}_pem" for name in renewed}
    return Fingerprints(
        salt,
        {
            name: "" if name in anew else _fingerprint(salt, text)
            for name, text in _files(secrets).items()
        },
    )


def _fingerprint(salt: str, text: str) -> str:
    return hmac.new(salt.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]


def planned_fingerprints(
    folder: SiteFolder, home: Home, site: Site, now: datetime, salt: str
) -> Fingerprints:
    """Return the fingerprints for a plan; opens the secrets and changes nothing.

    Args:
        folder: The site's folder.
        home: Where the vault password is.
        site: The site as it is now.
        now: The present time.
        salt: The plan's salt.

    Raises:
        ConfigError: The secrets cannot be opened.
    """
    secrets = open_secrets(folder, home)
    return fingerprints(secrets, salt, renewals(secrets, site, now))


def _files(secrets: Secrets) -> dict[str, str]:
    full = secrets.vectordb_api_key or secrets.api_key
    read_only = secrets.vectordb_read_only_api_key or secrets.read_only_api_key
    return {
        "api_key": full,
        "read_only_api_key": read_only,
        "gateway_pem": secrets.gateway_certificate_pem + secrets.gateway_key_pem,
        "gateway_keys_map": keys_map(secrets.all_clients),
        "vectordb_keys_map": f"admin {full}\nuser {full}\nreader {read_only}\n",
        "ca_pem": secrets.ca_certificate_pem,
    }


def _read_sealed(folder: SiteFolder) -> bytes:
    try:
        return folder.secrets.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{folder.secrets} cannot be read: {error.strerror}",
            code=SECRETS_MISSING,
            hint="restore it from a backup of the site folder; `bastide init` makes a new site",
        ) from error


def _parse(plain: bytes, where: str) -> Secrets:
    try:
        values = json.loads(plain)
        known = {field.name: field for field in fields(Secrets)}
        needed = {name for name, field in known.items() if field.default is MISSING}
        if values.pop("format") != FORMAT or not needed <= set(values) <= set(known):
            raise ValueError("another format")  # noqa: TRY301 - one message for all of them
        clients = tuple(ClientKey.model_validate(each) for each in values.pop("clients", ()))
        return Secrets(**{name: str(text) for name, text in values.items()}, clients=clients)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{where} opens, but does not hold secrets in the format {FORMAT}",
            code=SECRETS_DAMAGED,
            hint="restore it from a backup of the site folder",
        ) from error
