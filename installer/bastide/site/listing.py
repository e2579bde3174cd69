"""Every certificate of a site as a person wants to see it. Pure; without keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bastide.layout import HOST_SECRET_FILES
from bastide.plan.tls import SERVICES, client_hosts, speaks_tls
from bastide.schema.site import Group, Site
from bastide.site import delivery, pki, renewal
from bastide.site.material import Secrets


@dataclass(frozen=True)
class Use:
    """Where a certificate is used.

    Args:
        host: The host; ``control`` is this machine.
        by: Which service or program shows it.
        path: Its file on the host; empty if there is none.
        live: Whether the host has it now; None if it was not asked.
    """

    host: str
    by: str
    path: str = ""
    live: bool | None = None


@dataclass(frozen=True)
class Shown:
    """One certificate.

    Args:
        name: What Bastide calls it.
        subject: Its subject.
        names: DNS names and addresses that it is for.
        issuer: Who signed it.
        renewed_by: ``plan``, ``request`` (signed elsewhere) or ``nobody`` (a CA).
        not_before: From when it is valid, RFC 3339.
        not_after: When it ends.
        due: When it is to be made anew at the latest; of those without an end, by their age.
        days_left: Days until then.
        state: ``good``, ``due`` (the next plan renews it), ``warn`` (a person must see to it).
        why: Why it is not good.
        sha256: Its fingerprint.
        used: Where it is used.
    """

    name: str
    subject: str
    names: tuple[str, ...]
    issuer: str
    renewed_by: str
    not_before: str
    not_after: str
    due: str
    days_left: int
    state: str
    why: str
    sha256: str
    used: tuple[Use, ...]


Held = Mapping[str, Mapping[str, str]]  # by host: path → fingerprint of the file


def shown(
    secrets: Secrets, site: Site, now: datetime, salt: str = "", held: Held | None = None
) -> tuple[Shown, ...]:
    """Return every certificate of the site that is in use, and the CAs.

    Args:
        secrets: The site's secrets.
        site: The site.
        now: The present time.
        salt: Salt of the fingerprints in ``held``.
        held: What the hosts say of their files; a host that was not asked is missing.
    """
    dues = {each.name: each for each in renewal.due(secrets, site, now)}
    files = delivery.fingerprints(secrets, site, salt or "none")
    found = []
    for name, pem, made in _all(secrets, site):
        uses = tuple(
            Use(host, by, path, _is_live(files.of(host), file, path, (held or {}).get(host)))
            for host, by, file, path in _uses(site, name)
        )
        found.append(_one(name, pem, made, dues.get(name), uses, now, _who_renews(secrets, name)))
    return tuple(found)


def _all(secrets: Secrets, site: Site) -> Iterable[tuple[str, str, datetime | None]]:
    keyring = secrets.keyring
    yield renewal.SITE_CA, secrets.ca_certificate_pem, None
    if keyring.authority is not None:
        yield renewal.AUTHORITY, keyring.authority.chain_pem, None
    yield renewal.GATEWAY, secrets.gateway_certificate_pem, None
    yield renewal.DEPOT, secrets.depot_certificate_pem, None
    if keyring.machines_ca is not None and renewal.machine_names(site):
        yield renewal.MACHINES_CA, keyring.machines_ca.certificate_pem, None
    for name in renewal.machine_names(site):
        leaf = keyring.machines.get(name)
        if leaf is not None:
            yield name, leaf.certificate_pem, leaf.made


def _who_renews(secrets: Secrets, name: str) -> str:
    if name in {renewal.SITE_CA, renewal.AUTHORITY, renewal.MACHINES_CA}:
        return "nobody"
    elsewhere = secrets.keyring.gateway_issuer == "organisation"
    return "request" if name == renewal.GATEWAY and elsewhere else "plan"


def _uses(site: Site, name: str) -> Iterable[tuple[str, str, str, str]]:
    """Yield where a certificate is used: host, service, the file's name and path."""
    if name == renewal.DEPOT:
        yield "control", "depot, while a plan is applied", "", ""
    for host, by, file in _hosts_using(site, name):
        yield host, by, file, _path(file)


def _hosts_using(site: Site, name: str) -> Iterable[tuple[str, str, str]]:
    if name == renewal.GATEWAY:
        yield from ((host, "gateway", "gateway_pem") for host in site.hosts_in(Group.GATEWAY))
    elif name == renewal.SITE_CA:
        yield from ((host, "host agent", "ca_pem") for host in site.hosts)
    elif name == renewal.MACHINES_CA:
        having = (host for host in site.hosts if delivery.certificates_of(site, host))
        yield from ((host, "who speaks TLS with other hosts", "machines_ca_pem") for host in having)
    elif name.startswith(renewal.SERVICE):
        host = name.removeprefix(renewal.SERVICE)
        serving = [str(group) for group in SERVICES if speaks_tls(site, group, host)]
        yield host, ", ".join(serving), "service_pem"
    elif name.startswith(renewal.AGENT):
        yield name.removeprefix(renewal.AGENT), "host agent", "agent_pem"
    elif name.endswith(renewal.CLIENT):
        kind = name.removesuffix(renewal.CLIENT)
        yield from ((host, kind, f"{kind}_client_pem") for host in client_hosts(site, kind))


def _path(file: str) -> str:
    return str(HOST_SECRET_FILES[file][0])


def _is_live(
    wanted: Mapping[str, str], file: str, path: str, held: Mapping[str, str] | None
) -> bool | None:
    if held is None or not path:
        return None
    return held.get(path) == wanted.get(file)


def _one(  # noqa: PLR0913, PLR0917 - one of each certificate's facts
    name: str,
    pem: str,
    made: datetime | None,
    due: renewal.Due | None,
    uses: tuple[Use, ...],
    now: datetime,
    renewed_by: str,
) -> Shown:
    certificate = pki.certificate_of(pem)
    end = made + renewal.LIFE if made else certificate.not_valid_after_utc
    state = "good" if due is None else "warn" if due.action == "warn" else "due"
    return Shown(
        name=name,
        subject=certificate.subject.rfc4514_string(),
        names=tuple(sorted(pki.names_of(pem))),
        issuer=certificate.issuer.rfc4514_string(),
        renewed_by=renewed_by,
        not_before=_iso(certificate.not_valid_before_utc),
        not_after=_iso(certificate.not_valid_after_utc),
        due=_iso(end),
        days_left=(end - now).days,
        state=state,
        why=due.why if due else "",
        sha256=pki.fingerprint_of(pem),
        used=uses,
    )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")
