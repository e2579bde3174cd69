"""The site's secrets: made once, kept in one Vault file, opened for a run."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields, replace
from datetime import datetime

from bastide.errors import ConfigError
from bastide.host.files import write_atomic
from bastide.layout import Home, SiteFolder
from bastide.plan.inputs import Fingerprints
from bastide.schema.client_key import ClientKey
from bastide.schema.plan import CertificateChange
from bastide.schema.site import Site
from bastide.site import delivery, pki, renewal, rolling, vault
from bastide.site.codes import CERTIFICATE_WRONG, SECRETS_DAMAGED, SECRETS_MISSING
from bastide.site.keyring import Keyring
from bastide.site.material import Secrets
from bastide.site.receivers import ReceiverSecrets, require_secrets

FORMAT = "bastide.secrets/1"
KEY_PREFIX = "bst_"  # so that scanners for leaked keys can know ours


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
    """Write the secrets, encrypted, and beside them the CAs that clients trust.

    Args:
        folder: The site's folder; it must exist.
        secrets: What to keep.
        password: The vault password.
        label: The name under which the password is found again.
    """
    # JSON is YAML, so Ansible reads it too.
    values = {each.name: getattr(secrets, each.name) for each in fields(secrets)}
    keyring = values.pop("keyring")
    values["clients"] = [client.model_dump(mode="json") for client in secrets.clients]
    receivers = values.pop("receivers")
    if keyring != Keyring():  # an earlier version reads a vault without one
        values["keyring"] = keyring.model_dump(mode="json", exclude_defaults=True)
    if receivers != ReceiverSecrets():
        values["receivers"] = receivers.model_dump(mode="json")
    plain = json.dumps({"format": FORMAT, **values}, indent=1).encode() + b"\n"
    write_atomic(folder.secrets, vault.seal(plain, password, label), mode=0o600)
    write_atomic(folder.authority, secrets.anchors_pem.encode(), mode=0o644)


@dataclass(frozen=True)
class Renewed:
    """A site's secrets, before and after what is due was made anew; nothing of it is written.

    Args:
        before: As the vault has them.
        after: With every certificate that is due.
        dues: What was due, and what somebody must see to.
        changes: The same for a plan.
    """

    before: Secrets
    after: Secrets
    dues: tuple[renewal.Due, ...]
    changes: tuple[CertificateChange, ...]

    def __repr__(self) -> str:
        return "Renewed(…)"


def renew_in_memory(folder: SiteFolder, home: Home, site: Site, now: datetime) -> Renewed:
    """Return the site's secrets with every certificate that is due made anew; writes nothing.

    Args:
        folder: The site's folder.
        home: Where the vault password is.
        site: The site as it is now.
        now: The present time.

    Raises:
        ConfigError: The secrets cannot be opened.
    """
    before = open_secrets(folder, home)
    dues = renewal.due(before, site, now)
    after = renewal.made_anew(before, site, dues, now)
    return Renewed(before, after, dues, renewal.changes(dues, now))


def keep_certificates(folder: SiteFolder, home: Home, made: Secrets) -> None:
    """Write certificates that were made in memory into the vault; keys of clients stay as they are.

    Args:
        folder: The site's folder.
        home: Where the vault password is.
        made: Secrets with the new certificates.

    Raises:
        ConfigError: The secrets cannot be opened.
    """
    held = open_secrets(folder, home)
    changed = replace(held, **{name: getattr(made, name) for name in _CERTIFICATES})
    if changed != held:
        label = vault.label_of(_read_sealed(folder), where=str(folder.secrets))
        save_secrets(folder, changed, vault.read_password(home, label), label)


def keep_reached(folder: SiteFolder, home: Home, applied: Secrets) -> None:
    """Write into the vault that every host has what ``applied`` says: a roll may go on.

    Args:
        folder: The site's folder; its lock is held.
        home: Where the vault password is.
        applied: The secrets of an apply that has ended well.

    Raises:
        ConfigError: The secrets cannot be opened.
    """
    if applied.keyring.roll is None:
        return
    held = open_secrets(folder, home)
    keyring = rolling.reached(held.keyring, applied.keyring)
    if keyring != held.keyring:
        label = vault.label_of(_read_sealed(folder), where=str(folder.secrets))
        changed = replace(held, keyring=keyring)
        save_secrets(folder, changed, vault.read_password(home, label), label)


_CERTIFICATES = (
    "gateway_certificate_pem",
    "gateway_key_pem",
    "depot_certificate_pem",
    "depot_key_pem",
    "keyring",
)


def host_secrets(secrets: Secrets, site: Site, depot_token: str, pass_: str = "") -> dict[str, str]:
    """Return ``bastide_secrets``: what a run carries to the hosts, as files' contents.

    Args:
        secrets: The site's secrets, every certificate that is due made.
        site: The site.
        depot_token: The token of this run's depot.
        pass_: What lets this run write vectors while clients may not.

    Raises:
        ConfigError: The gateway's certificate lacks a name that the site has now.
    """
    present, wanted = pki.names_of(secrets.gateway_certificate_pem), set(pki.gateway_names(site))
    if not wanted <= present:
        raise ConfigError(
            f"the gateway's certificate is for {', '.join(sorted(present))}, "
            f"but site {site.name} has {', '.join(sorted(wanted))}",
            code=CERTIFICATE_WRONG,
            hint="`bastide certificates csr` writes a request for one with the present names",
        )
    return {**delivery.shared_files(secrets), "depot_token": depot_token, "pass": pass_}


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
        ConfigError: The secrets cannot be opened, or one of a receiver of alerts is missing.
    """
    renewed = renew_in_memory(folder, home, site, now)
    require_secrets(renewed.after.receivers, site)
    found = delivery.fingerprints(renewed.after, site, salt, renewed.before)
    return replace(found, certificates=renewed.changes)


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
        needed = {n for n, f in known.items() if f.default is f.default_factory is MISSING}
        if values.pop("format") != FORMAT or not needed <= set(values) <= set(known):
            raise ValueError("another format")  # noqa: TRY301 - one message for all of them
        clients = tuple(ClientKey.model_validate(each) for each in values.pop("clients", ()))
        keyring = Keyring.model_validate(values.pop("keyring", {}))
        receivers = ReceiverSecrets.model_validate(values.pop("receivers", {}))
        texts = {name: str(text) for name, text in values.items()}
        return Secrets(**texts, clients=clients, keyring=keyring, receivers=receivers)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(
            f"{where} opens, but does not hold secrets in the format {FORMAT}",
            code=SECRETS_DAMAGED,
            hint="restore it from a backup of the site folder",
        ) from error
